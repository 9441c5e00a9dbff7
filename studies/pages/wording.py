"""What the pages of several studies say alike."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mammo import paths
from mammo.comparison.results import Family
from mammo.comparison.wording import (
    NOTHING,
    count,
    interval,
    number,
    p_value,
    patients,
    table,
)
from studies.pages.results import Difference, Measured, Repeats

Facts = Mapping[str, Mapping[str, dict[str, Any]]]  # of each training, by arm and by run

WORDS = {
    "kappa": "kappa",
    "kappa_quadratic": "quadratic kappa",
    "bal_acc_adj": "balanced accuracy above chance",
    "accuracy": "accuracy",
    "kappa_quadratic_patient": "quadratic kappa by patient (mean of the images)",
    "kappa_quadratic_patient_denser": "by patient (the breast that looks denser)",
}
FAMILIES: dict[Family, str] = {
    "strategies": "arms among themselves",
    "baseline": "strategies against the better baseline",
    "majority": "strategies against the majority's class",
}
COLUMNS = tuple(metric for metric in WORDS if metric != "accuracy")


def subject_of(dataset: str, root: str) -> str:
    """Say in words what the images are, by `dataset.name` and `dataset.root`."""
    return "synthetic phantoms" if root == str(paths.PHANTOM) else f"dataset `{dataset}`"


def as_values(result: Repeats) -> dict[str, Any]:
    """Return a comparison as plain values of 6 decimals, so that files compare by eye."""
    values: dict[str, Any] = rounded(asdict(result))
    return values


def rounded(value: Any) -> Any:
    """Round all floats in plain values to 6 decimals."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return round(value, 6) if isinstance(value, float) else value


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


def adjustment(differences: Sequence[Difference], rate: float) -> str:
    """Say within which families the p values are adjusted, and from where on one shows."""
    of = [found.family for found in differences if found.p is not None]
    sizes = {family: of.count(family) for family in dict.fromkeys(of)}
    if len(sizes) < 2:
        tests = count(len(of), "test")
        return f"P values are adjusted by Benjamini–Hochberg for {tests}; shown at {rate:g}."
    named = "; ".join(f"{FAMILIES[family]}: {n}" for family, n in sizes.items())
    return (
        f"P values are adjusted by Benjamini–Hochberg in {len(sizes)} families, each apart, so "
        f"that easy questions don't loosen hard ones (tests in each: {named}); shown at {rate:g}."
    )


def differences_table(differences: Sequence[Difference], rate: float) -> str:
    """Write a row a difference: size, interval, p, and whether it is shown."""
    rows = [
        [
            f"`{found.first}` − `{found.second}`", WORDS.get(found.metric, found.metric),
            interval(found, "+"), p_value(found.p), p_value(found.p_adjusted),
            _verdict(found, rate),
        ]
        for found in differences
    ]  # fmt: skip
    return table(["", "in", "difference", "p", "adjusted p", ""], rows)


def _verdict(found: Difference, rate: float) -> str:
    if found.p is None:
        return "can't be tested"
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
