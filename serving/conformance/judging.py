"""Asks cases, over gRPC or REST, and judges the answers."""

import dataclasses

import google.protobuf.message

# What reading an answer raises where it is not what the protocol has there.
_MALFORMED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    google.protobuf.message.DecodeError,
)

# How many cases in a row a server may leave without an answer until no more are asked.
_MOST_LOST = 3


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


def run(chosen, ask):
    """Asks each of the `chosen` cases, and judges the answers; yields the Results.

    Args:
        chosen: The Cases.
        ask: Sends what a Case, or a Beside, asks, and returns the Reply.
    """
    lost = 0
    for case in chosen:
        if lost == _MOST_LOST:
            detail = f"not asked, as the {lost} cases before it were not answered"
            yield Result(case, "fails", detail)
            continue
        try:
            reply = ask(case)
            result = _judge(case, reply, ask)
            lost = lost + 1 if reply.lost and result.outcome == "fails" else 0
        except _MALFORMED as error:
            lost = 0
            detail = f"the answer is malformed: {type(error).__name__}: {error}"
            result = Result(case, "fails", " ".join(detail.split()))
        yield result


def _judge(case, reply, ask):
    # First, as it is narrower where both fit.
    if case.deliberate is not None and case.deliberate.mismatch(reply) is None:
        return Result(case, "deliberate", case.why)
    detail = case.expected.mismatch(reply)
    if not detail and case.beside is not None:
        detail = case.beside.compare(reply, ask(case.beside))
    return Result(case, "fails" if detail else "agrees", detail or "")
