"""What a case's answer is compared with, and what becomes of the case."""

import dataclasses


class OneOf:
    """Several Answers, each of them right."""

    def __init__(self, *answers):
        self._answers = answers

    def mismatch(self, reply):
        """Returns how a reply differs from each of the answers, or nothing."""
        found = [answer.mismatch(reply) for answer in self._answers]
        return None if None in found else "; ".join(dict.fromkeys(found))


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a case: `agrees`, `deliberate` or `fails`, and how."""

    case: object
    outcome: str
    detail: str = ""


def judge(case, reply):
    """Returns the Result of a case whose request was answered with a Reply."""
    # First, as it is narrower where both fit.
    if case.deliberate is not None and case.deliberate.mismatch(reply) is None:
        return Result(case, "deliberate", case.why)
    detail = case.expected.mismatch(reply)
    return Result(case, "fails" if detail else "agrees", detail or "")
