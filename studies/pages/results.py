"""What a comparison of repeated trainings finds, as values."""

from dataclasses import dataclass

from mammo.comparison.results import Family


@dataclass(frozen=True)
class Question:
    """Two arms to test, the first less the second, and whose tests are adjusted with theirs."""

    first: str
    second: str
    family: Family = "strategies"


@dataclass(frozen=True)
class Measured:
    """One metric of one arm.

    Attributes:
        value: Mean over repeats.
        low, high: Its interval; None where there is none, as of what rests on a thin class.
        undefined_draws: Draws left out because the metric doesn't exist there.
        deviation: Standard deviation over repeats, patients unchanged; None of one alone.
        smallest, largest: Of the repeats.
    """

    value: float
    low: float | None
    high: float | None
    undefined_draws: int
    deviation: float | None
    smallest: float
    largest: float


@dataclass(frozen=True)
class Difference:
    """An arm less another, on the same patients and repeats.

    Attributes:
        first, second: The arms.
        family: Whose tests are adjusted together.
        metric: What differs.
        value, low, high: Mean over the repeats that both have, with its interval.
        p: By the bootstrap; None where it says nothing, or a class is thin.
        p_adjusted: By Benjamini and Hochberg, for the tests of the family.
        patients_needed: How many would show a difference of this size; None where unknown.
    """

    first: str
    second: str
    family: Family
    metric: str
    value: float
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None
    patients_needed: int | None

    def shown(self, rate: float) -> bool:
        """Say whether it is shown at a false discovery rate."""
        return self.p_adjusted is not None and self.p_adjusted <= rate


@dataclass(frozen=True)
class Repeats:
    """The arms of a study compared.

    Attributes:
        images, patients: How many are judged.
        thin_classes: Patients of each class that has too few of them for an interval.
        repeats: Those of each arm.
        arms: By arm and metric.
        differences: Those that were asked for.
    """

    images: int
    patients: int
    thin_classes: dict[str, int]
    repeats: dict[str, list[str]]
    arms: dict[str, dict[str, Measured]]
    differences: list[Difference]

    def of_family(self, family: Family) -> list[Difference]:
        """List the differences whose tests are adjusted together."""
        return [found for found in self.differences if found.family == family]
