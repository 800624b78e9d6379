"""A number and where it comes from."""

import dataclasses
import math
from typing import NamedTuple


class Estimate(NamedTuple):
    """The mean of a metric over parts of the data, and how much the parts differ.

    Attributes:
        value: mean over the parts.
        spread: standard deviation over the parts (population form, as reported by
            the reference implementations), 0 for a single part.
    """

    value: float
    spread: float


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One measured number with all that must be equal before two are compared.

    Example:
        >>> distance = Measurement(
        ...     "frechet_distance", 3.25, features="classifier_mnist", hash="5eed" * 16,
        ...     resize="none", real_count=10_000, generated_count=10_000, seed=0,
        ... )
        >>> print(distance)
        frechet_distance[classifier_mnist@5eed5eed, resize none]: 3.25 \
(10000 real, 10000 generated, seed 0)

    Attributes:
        name: what was measured, such as "kernel_distance".
        value: the number.
        spread: its standard deviation or standard error, None if it has none.
        features: preset name of the feature network or classifier, None where no
            network is involved (Parzen windows look at pixels).
        hash: SHA-256 of that preset, 64 hexadecimal digits, None without a network.
        resize: how images were brought to the network's size, None without one.
        real_count: number of real samples, 0 if the metric looks at none.
        train_count: number of those of the train split that the real samples are
            compared with, 0 if they are compared with none.
        generated_count: number of generated samples.
        seed: first seed of the generated samples and of any random subsets.
    """

    name: str
    value: float
    spread: float | None = None
    features: str | None = None
    hash: str | None = None
    resize: str | None = None
    real_count: int = 0
    train_count: int = 0
    generated_count: int = 0
    seed: int = 0

    def __post_init__(self):
        if not math.isfinite(self.value):
            raise ValueError(
                f"`value` of {self.name} must be finite. Received: {self.value}"
            )
        provenance = (self.features, self.hash, self.resize)
        if any(provenance) and not all(provenance):
            raise ValueError(
                "A number from a feature network needs `features`, `hash` and `resize` "
                "together. Received: features={!r}, hash={!r}, resize={!r}".format(
                    *provenance
                )
            )

    @property
    def label(self):
        """The name under which to print: it differs wherever the network does."""
        if self.features is None:
            return self.name
        return f"{self.name}[{self.features}@{self.hash[:8]}, resize {self.resize}]"

    @property
    def counts(self):
        """How many samples there were, and from which seed, in words."""
        if self.train_count:
            return f"{self.real_count} real against {self.train_count} of train"
        counts = ((self.real_count, "real"), (self.generated_count, "generated"))
        counted = [f"{count} {kind}" for count, kind in counts if count]
        return ", ".join([*counted, f"seed {self.seed}"])

    @property
    def provenance(self):
        """What must be equal before two numbers are compared, in words."""
        network = self.label.removeprefix(self.name).strip("[]")
        return f"{network}; {self.counts}" if network else self.counts

    @property
    def amount(self):
        """The number and its spread."""
        spread = "" if self.spread is None else f" ± {self.spread:.2g}"
        return f"{self.value:.6g}{spread}"

    def __str__(self):
        return f"{self.label}: {self.amount} ({self.counts})"


def table(measurements):
    """Returns measurements as lines of text, under headings of what they share.

    Numbers of two models may be compared where they stand under the same heading: it
    names the feature network, how images came to its size, the counts and the seed.

    Args:
        measurements: Iterable of `Measurement`.
    """
    measurements = list(measurements)
    groups = {}
    for each in measurements:
        groups.setdefault(each.provenance, []).append(each)
    width = max((len(each.name) for each in measurements), default=0)
    lines = []
    for heading, members in groups.items():
        lines.append(heading)
        lines += [f"  {each.name:<{width}}  {each.amount}" for each in members]
    return "\n".join(lines)
