"""What the pages of several studies say alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from mammo import paths
from mammo.comparison.results import Measured
from mammo.comparison.wording import number, table

Facts = dict[str, dict[str, dict[str, Any]]]  # of each training, by arm and by run


def subject_of(dataset: str, root: str) -> str:
    """Say in words what the images are, by `dataset.name` and `dataset.root`."""
    return "synthetic phantoms" if root == str(paths.PHANTOM) else f"dataset `{dataset}`"


def by_run(facts: Facts, kind: str) -> str:
    """Write a table of each arm's runs: kappa, the epoch kept, whether it collapsed."""
    runs = list(next(iter(facts.values())))
    rows = [[f"`{name}`"] + [_run(arm[run]) for run in runs] for name, arm in facts.items()]
    return table(["", *(f"{kind} {run}" for run in runs)], rows)


def _run(facts: dict[str, Any]) -> str:
    mark = ", **collapsed**" if facts["collapsed"] else ""
    return f"{number(facts['kappa'])} (epoch {facts['best_epoch']} of {facts['epochs']}{mark})"


def how_many(runs: Mapping[str, dict[str, Any]], fact: str) -> int:
    """Count the runs for which a fact holds."""
    return sum(bool(facts[fact]) for facts in runs.values())


def undefined(arms: Mapping[str, Measured], draws: int) -> list[str]:
    """Say how many draws left a metric with an interval undefined, if any did."""
    given = (e for arm in arms.values() for e in arm.image.values() if e.low is not None)
    return undefined_draws(max((entry.undefined_draws for entry in given), default=0), draws)


def undefined_draws(most: int, draws: int) -> list[str]:
    """Say that so many draws left some metric undefined, if any did."""
    if not most:
        return []
    return [
        f"Up to {most:,} of {draws:,} draws lack a class and leave some metric undefined; they are "
        "left out of its interval, which claims too much to that extent."
    ]


def bullets(lines: Sequence[str]) -> str:
    """Write a list."""
    return "\n".join(f"- {line}" for line in lines)
