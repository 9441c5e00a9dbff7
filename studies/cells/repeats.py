"""Compare arms that were trained again and again: with other folds, or other seeds.

A value is the mean over repeats; its interval covers other patients and other repeats: each draw
resamples whole patients and, apart from them, the repeats. A handful of repeats tells their part
only roughly.

Source:
    Owen 2007, Ann Appl Stat 1:386 (the pigeonhole bootstrap: both factors of a crossed design).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mammo.cohort.classes import dense_positions
from mammo.comparison.bootstrap import (
    bootstrap_p,
    interval,
    metric_draws,
    patients_needed,
    resample_patients,
)
from mammo.comparison.paired_tests import benjamini_hochberg
from mammo.comparison.params import CompareParams
from mammo.errors import UserError
from mammo.evaluation.levels import PatientRule, aggregate, class_names

Tables = Mapping[str, Mapping[str, pd.DataFrame]]  # by arm and by repeat: predictions of test
Rows = dict[str, np.ndarray]  # by metric: (repeats, 1 + draws); column 0 is the sample itself

METRICS = ("kappa", "kappa_quadratic", "bal_acc_adj", "accuracy")
# What is judged, by the suffix of its metrics; a patient is the mean of all images, or of those of
# the breast that looks denser.
LEVELS: dict[str, tuple[str, PatientRule]] = {
    "": ("image", "mean"),
    "_patient": ("patient", "mean"),
    "_patient_denser": ("patient", "denser"),
}


@dataclass(frozen=True)
class Measured:
    """One metric of one arm.

    Attributes:
        value: Mean over repeats.
        low, high: Its interval; None where there is none.
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
        metric: What differs.
        value, low, high: Mean over the repeats that both have, with its interval.
        p: By the bootstrap; None where it says nothing.
        p_adjusted: By Benjamini and Hochberg, for all that was asked.
        patients_needed: How many would show a difference of this size; None where unknown.
    """

    first: str
    second: str
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
        repeats: Those of each arm.
        arms: By arm and metric.
        differences: Those that were asked for.
    """

    images: int
    patients: int
    repeats: dict[str, list[str]]
    arms: dict[str, dict[str, Measured]]
    differences: list[Difference]


def compare_repeats(
    tables: Tables,
    asked: Sequence[tuple[str, str]],
    tested: Sequence[str],
    params: CompareParams,
    rules: Mapping[str, str] | None = None,
) -> Repeats:
    """Compare arms that judged the same images.

    Args:
        tables: Rows of the split test count.
        asked: Pairs of arms: the first less the second.
        tested: Metrics of which those differences get a p value.
        params: Draws, level, seed.
        rules: How an arm's answers follow from its probabilities; argmax where it isn't named.

    Raises:
        UserError: Tables disagree on their images, or test holds one patient.
    """
    every = [table for by_repeat in tables.values() for table in by_repeat.values()]
    keys = [sorted(table.loc[table["split"] == "test", "key"]) for table in every]
    if any(found != keys[0] for found in keys):
        raise UserError("studies: all arms must have judged the same images; run `dvc repro` there")
    test = every[0][every[0]["split"] == "test"]
    patients = sorted(test["patient"].unique())
    if len(patients) < 2:
        raise UserError(f"studies: test must hold at least 2 patients, got {len(patients)}")
    weights = resample_patients(len(patients), params.draws, params.seed)
    rows = {
        name: _rows(list(by_repeat.values()), patients, weights, (rules or {}).get(name, "argmax"))
        for name, by_repeat in tables.items()
    }
    drawn = np.random.default_rng([params.seed, 1])
    arms = {
        name: {metric: _measured(values, drawn, params) for metric, values in found.items()}
        for name, found in rows.items()
    }
    differences = [
        _difference(pair, metric, tables, rows, drawn, params, len(patients))
        for pair in asked
        for metric in tested
    ]
    repeats = {name: list(by_repeat) for name, by_repeat in tables.items()}
    return Repeats(len(test), len(patients), repeats, arms, _adjusted(differences))


def _rows(
    tables: Sequence[pd.DataFrame], patients: list[str], weights: np.ndarray, rule: str
) -> Rows:
    """Compute every metric of every repeat, all on the same draws of patients."""
    classes = class_names(tables[0])
    dense = dense_positions(classes)
    found: dict[str, list[np.ndarray]] = {}
    for table in tables:
        test = table[table["split"] == "test"]
        for suffix, (level, patient_rule) in LEVELS.items():
            units = aggregate(test, level, classes, patients, patient_rule, rule)  # type: ignore[arg-type]
            draws = metric_draws(units, weights, dense)
            for metric in METRICS:
                found.setdefault(metric + suffix, []).append(draws[metric])
    return {metric: np.stack(draws) for metric, draws in found.items()}


def mean_draws(draws: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Average a metric over repeats: (repeats, 1 + draws) -> (1 + draws,).

    Args:
        draws: The metric of each repeat; column 0 is the sample itself.
        drawn: Which repeats count in which draw, with repetition: (repeats, draws).
    """
    resampled = np.take_along_axis(draws[:, 1:], drawn, axis=0).mean(axis=0)
    return np.concatenate([[draws[:, 0].mean()], resampled])


def _resampled(draws: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    repeats = len(draws)
    return mean_draws(draws, generator.integers(repeats, size=(repeats, draws.shape[1] - 1)))


def _measured(draws: np.ndarray, generator: np.random.Generator, params: CompareParams) -> Measured:
    values = draws[:, 0]
    found = interval(_resampled(draws, generator), params.confidence)
    deviation = float(values.std(ddof=1)) if len(values) > 1 else None
    return Measured(
        found.value, found.low, found.high, found.undefined_draws, deviation,
        float(values.min()), float(values.max()),
    )  # fmt: skip


def _difference(
    pair: tuple[str, str],
    metric: str,
    tables: Tables,
    rows: Mapping[str, Rows],
    generator: np.random.Generator,
    params: CompareParams,
    patients: int,
) -> Difference:
    first, second = pair
    common = [repeat for repeat in tables[first] if repeat in tables[second]]
    picked = [
        rows[name][metric][[list(tables[name]).index(repeat) for repeat in common]] for name in pair
    ]
    draws = _resampled(picked[0] - picked[1], generator)
    found = interval(draws, params.confidence)
    needed = patients_needed(draws, patients, params.confidence)
    p = bootstrap_p(draws) if np.nanstd(draws[1:]) else None
    return Difference(first, second, metric, found.value, found.low, found.high, p, None, needed)


def _adjusted(differences: list[Difference]) -> list[Difference]:
    asked = [n for n, difference in enumerate(differences) if difference.p is not None]
    adjusted = benjamini_hochberg([float(differences[n].p or 0) for n in asked])
    found = list(differences)
    for n, p in zip(asked, adjusted, strict=True):
        found[n] = replace(found[n], p_adjusted=float(p))
    return found
