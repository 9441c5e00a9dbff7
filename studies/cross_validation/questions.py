"""What a cross-validation tests: arms with the reference, strategies with the baselines."""

from collections.abc import Mapping, Sequence

from mammo.comparison.baselines import MAJORITY_CLASS
from studies.cells.arms import ArmParams
from studies.pages.results import Question


def default_strategies(arms: Mapping[str, ArmParams], trained: Sequence[str]) -> list[str]:
    """Name the arms that are a strategy as params.yaml has it: nothing is set otherwise."""
    return [name for name, arm in arms.items() if not arm.set] + list(trained)


def asked(
    arms: Sequence[str], reference: str, strategies: Sequence[str], better: str
) -> list[Question]:
    """List what to test, in three families.

    Args:
        arms: All but the baselines, ensembles too.
        reference: The arm that the others are held against.
        strategies: Those of the arms that are held against the baselines.
        better: The better baseline.
    """
    return [
        *(Question(name, reference, "strategies") for name in arms if name != reference),
        *(Question(name, better, "baseline") for name in strategies),
        *(Question(name, MAJORITY_CLASS, "majority") for name in strategies),
    ]
