"""What a comparison finds, as values: estimates, tests, pairs of arms, groups of images."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Family = Literal["strategies", "baseline", "majority"]
Estimates = dict[str, "Estimate"]  # by metric


@dataclass(frozen=True)
class Estimate:
    """A metric, or the difference of one, with its interval.

    Attributes:
        value: Of the sample.
        low: Lower end; None where there is no interval.
        high: Upper end, likewise.
        n_patients: That it rests on: a recall, on those of its class.
        undefined_draws: Draws in which it doesn't exist.
    """

    value: float
    low: float | None
    high: float | None
    n_patients: int
    undefined_draws: int


@dataclass(frozen=True)
class Test:
    """One question asked about two arms.

    Attributes:
        test: bootstrap, mcnemar or delong.
        level: image or patient.
        metric: What is compared.
        difference: First minus second; None where it doesn't exist.
        p: Two-sided; None where it can't be tested.
        p_adjusted: For the number of tests in the family; likewise.
        patients_needed: That would show a difference of this size, four times in five.
        only_first_right: McNemar's: patients on whom the first alone is right.
        only_second_right: Likewise.
        standard_error: DeLong's, of the difference.
        z: DeLong's.
    """

    __test__ = False  # not for pytest

    test: Literal["bootstrap", "mcnemar", "delong"]
    level: str
    metric: str
    difference: float | None
    p: float | None
    p_adjusted: float | None = None
    patients_needed: int | None = None
    only_first_right: int | None = None
    only_second_right: int | None = None
    standard_error: float | None = None
    z: float | None = None

    def is_shown(self, rate: float) -> bool:
        """Say whether the difference counts as shown."""
        return self.p_adjusted is not None and self.p_adjusted <= rate


@dataclass(frozen=True)
class Pair:
    """Two arms on the same images: first minus second.

    Attributes:
        first: A strategy.
        second: A strategy or a baseline.
        family: Whose tests are corrected together: strategies among themselves, against the
            better baseline, against the majority class.
        differences: By metric, of images.
        tests: Of the tested metrics, and by patient.
    """

    first: str
    second: str
    family: Family
    differences: Estimates
    tests: tuple[Test, ...]

    @property
    def by_image(self) -> list[Test]:
        """The tests of the metrics that were asked for."""
        return [test for test in self.tests if test.test == "bootstrap"]


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """Stated confidence against what is right; without a temperature, as stated alone."""

    reliability: tuple[Bin, ...]
    temperature: float | None = None
    temperature_at_bound: bool | None = None
    reliability_tempered: tuple[Bin, ...] | None = None


@dataclass(frozen=True)
class Measured:
    """One arm.

    Attributes:
        levels: Estimates by level: image, breast, patient.
        calibration: None for the ceiling, whose probabilities are certainties.
        rule: How its answers follow from its probabilities.
        parameters: The digest of the parameters that it was made with; '' for a baseline.
        status: healthy, warning or collapsed, on test; '' for a baseline.
    """

    levels: dict[str, Estimates]
    calibration: Calibration | None
    rule: str
    parameters: str
    status: str

    @property
    def image(self) -> Estimates:
        """The estimates by image."""
        return self.levels["image"]

    @property
    def patient(self) -> Estimates:
        """The estimates by patient."""
        return self.levels["patient"]


@dataclass(frozen=True)
class Group:
    """One group of the test images, such as those of one maker.

    Attributes:
        dimension: maker, view, laterality or age_band.
        value: Which.
        images: How many.
        patients: How many.
        strategies: Estimates by strategy, of images; empty where the patients are too few.
    """

    dimension: str
    value: str
    images: int
    patients: int
    strategies: dict[str, Estimates]


@dataclass(frozen=True)
class Sample:
    """What was judged, and how.

    Attributes:
        split: test.
        classes: In order.
        dense_classes: Those that count as dense.
        thin_classes: Patients of each class that has too few of them for an interval.
        images: How many; likewise breasts and patients.
        patient_rule: Whose probabilities a patient gets, `denser` or `mean`.
        reference: The better baseline; None where there is none but the majority's class.
        draws: Of the bootstrap.
        confidence: Of the intervals.
        tested_metrics: By image.
        false_discovery_rate: In each family.
        tests: How many there are in each family.
    """

    split: str
    classes: tuple[str, ...]
    dense_classes: tuple[str, ...]
    thin_classes: dict[str, int]
    images: int
    breasts: int
    patients: int
    patient_rule: str
    reference: str | None
    draws: int
    confidence: float
    tested_metrics: tuple[str, ...]
    false_discovery_rate: float
    tests: dict[Family, int]


@dataclass(frozen=True)
class Comparison:
    """The whole result.

    Attributes:
        sample: What was judged.
        strategies: By name.
        baselines: By name.
        ceiling: An observer who knows the phantom's true shares; None for other data.
        pairs: Of strategies, and of strategies with baselines.
        groups: Of the test images.
    """

    sample: Sample
    strategies: dict[str, Measured]
    baselines: dict[str, Measured]
    ceiling: Measured | None
    pairs: tuple[Pair, ...]
    groups: tuple[Group, ...]

    @property
    def arms(self) -> dict[str, Measured]:
        """Strategies and baselines."""
        return self.strategies | self.baselines

    def as_values(self) -> dict[str, Any]:
        """Lay it out as plain values, for JSON; what an arm or a test doesn't have is left out."""
        return {
            "sample": asdict(self.sample),
            "strategies": {name: _arm_values(arm) for name, arm in self.strategies.items()},
            "baselines": {name: _arm_values(arm) for name, arm in self.baselines.items()},
            "ceiling": None if self.ceiling is None else _arm_values(self.ceiling),
            "pairs": [_pair_values(pair) for pair in self.pairs],
            "groups": [asdict(group) for group in self.groups],
        }


def _arm_values(arm: Measured) -> dict[str, Any]:
    values: dict[str, Any] = {
        level: {metric: asdict(found) for metric, found in estimates.items()}
        for level, estimates in arm.levels.items()
    }
    if arm.calibration:
        values["calibration"] = _without_none(arm.calibration)
    values["decision"] = arm.rule
    for name in ("status", "parameters"):
        if getattr(arm, name):
            values[name] = getattr(arm, name)
    return values


def _pair_values(pair: Pair) -> dict[str, Any]:
    always = ("difference", "p", "p_adjusted")
    return {
        "first": pair.first,
        "second": pair.second,
        "family": pair.family,
        "differences": {metric: asdict(found) for metric, found in pair.differences.items()},
        "tests": [_without_none(test, always) for test in pair.tests],
    }


def _without_none(value: Any, always: tuple[str, ...] = ()) -> dict[str, Any]:
    names = [field.name for field in fields(value)]
    kept = [name for name in names if name in always or getattr(value, name) is not None]
    values = asdict(value)
    return {name: values[name] for name in kept}
