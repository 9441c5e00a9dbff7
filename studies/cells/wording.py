"""What the pages of several studies say alike."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mammo import paths
from mammo.comparison.wording import NOTHING, interval, number, p_value, patients, table
from studies.cells.repeats import Difference, Measured, Repeats

Facts = Mapping[str, Mapping[str, dict[str, Any]]]  # of each training, by arm and by run

WORDS = {
    "kappa": "kappa",
    "kappa_quadratic": "quadratic kappa",
    "bal_acc_adj": "balanced accuracy above chance",
    "accuracy": "accuracy",
    "kappa_quadratic_patient": "quadratic kappa by patient (mean of the images)",
    "kappa_quadratic_patient_denser": "by patient (the breast that looks denser)",
}
COLUMNS = tuple(metric for metric in WORDS if metric != "accuracy")


def subject_of(dataset: str, root: str) -> str:
    """Say in words what the images are, by `dataset.name` and `dataset.root`."""
    return "synthetic phantoms" if root == str(paths.PHANTOM) else f"dataset `{dataset}`"


def as_values(result: Repeats) -> dict[str, Any]:
    """Return a comparison as plain values of 6 decimals, so that files compare by eye."""
    rounded: dict[str, Any] = _rounded(asdict(result))
    return rounded


def arms_table(result: Repeats, names: Sequence[str], said: Mapping[str, Sequence[str]]) -> str:
    """Write a row an arm: what is said of it, and its metrics with their intervals.

    Args:
        result: The comparison.
        names: Which arms, in order.
        said: What else is said of each arm; the key '' holds the headings.
    """
    rows = [
        [f"`{name}`", *said[name], *(interval(result.arms[name][metric]) for metric in COLUMNS)]
        for name in names
    ]
    return table(["", *said[""], *(WORDS[metric] for metric in COLUMNS)], rows)


def differences_table(differences: Sequence[Difference], rate: float) -> str:
    """Write a row a difference: size, interval, p, and whether it is shown."""
    rows = [
        [
            f"`{found.first}` − `{found.second}`", WORDS.get(found.metric, found.metric),
            interval(found, "+"), p_value(found.p_adjusted), _verdict(found, rate),
        ]
        for found in differences
    ]  # fmt: skip
    return table(["", "in", "difference", "adjusted p", ""], rows)


def _verdict(found: Difference, rate: float) -> str:
    if found.shown(rate):
        return "shown"
    if found.patients_needed is None:
        return "not shown"
    return f"not shown; {patients(found.patients_needed)} patients would show it"


def spread(found: Measured) -> str:
    """Write a standard deviation over repeats, and the least and most of them."""
    if found.deviation is None:
        return NOTHING
    return f"{number(found.deviation)} ({number(found.smallest)} to {number(found.largest)})"


def by_run(facts: Facts, kind: str, metric: str = "kappa_quadratic") -> str:
    """Write a table of each arm's runs: a metric, the epoch kept, whether it collapsed."""
    runs = list(next(iter(facts.values())))
    rows = [[f"`{name}`"] + [_run(arm[run], metric) for run in runs] for name, arm in facts.items()]
    return table(["", *(f"{kind} {run}" for run in runs)], rows)


def _run(facts: dict[str, Any], metric: str) -> str:
    mark = ", **collapsed**" if facts["collapsed"] else ""
    value = NOTHING if facts[metric] is None else number(facts[metric])
    return f"{value} ({facts['best_epoch']} of {facts['epochs']}{mark})"


def how_many(runs: Mapping[str, dict[str, Any]], fact: str) -> int:
    """Count the runs for which a fact holds."""
    return sum(bool(facts[fact]) for facts in runs.values())


def bullets(lines: Sequence[str]) -> str:
    """Write a list."""
    return "\n".join(f"- {line}" for line in lines)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return round(value, 6) if isinstance(value, float) else value
