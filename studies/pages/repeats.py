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
from mammo.comparison.measuring import rests_on_few, thin_among
from mammo.comparison.paired_tests import benjamini_hochberg
from mammo.comparison.params import CompareParams
from mammo.errors import UserError
from mammo.evaluation.levels import PatientRule, aggregate, class_names
from studies.pages.results import Difference, Measured, Question, Repeats

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
class Setting:
    """What all arms are measured by.

    Attributes:
        classes: In order.
        patients: Of test, sorted.
        weights: (1 + draws, P), of the patients.
        params: Section `compare`.
        thin: By the suffix of a level: patients of each class that has too few of them there.
    """

    classes: tuple[str, ...]
    patients: list[str]
    weights: np.ndarray
    params: CompareParams
    thin: dict[str, dict[str, int]]

    def rests_on_few(self, metric: str) -> bool:
        """Say whether a metric, by image or by patient, is a mean that a thin class has part in."""
        name, of_patients, breast = metric.partition("_patient")
        return rests_on_few(name, self.classes, self.thin[of_patients + breast])


def compare_repeats(
    tables: Tables,
    asked: Sequence[Question],
    tested: Sequence[str],
    params: CompareParams,
    rules: Mapping[str, str] | None = None,
) -> Repeats:
    """Compare arms that judged the same images.

    Args:
        tables: Rows of the split test count.
        asked: Which arms to test against which.
        tested: Metrics of which those differences get a p value.
        params: Draws, level, seed.
        rules: How an arm's answers follow from its probabilities; argmax where it isn't named.

    Raises:
        UserError: Tables disagree on their images, or test holds one patient.
    """
    test = _test_of_all(tables)
    setting = _settle(test, params)
    rows = {
        name: _rows(list(by_repeat.values()), setting, (rules or {}).get(name, "argmax"))
        for name, by_repeat in tables.items()
    }
    drawn = np.random.default_rng([params.seed, 1])
    arms = {
        name: {metric: _measured(metric, values, drawn, setting) for metric, values in of.items()}
        for name, of in rows.items()
    }
    differences = [
        _difference(question, metric, tables, rows, drawn, setting)
        for question in asked
        for metric in tested
    ]
    return Repeats(
        images=len(test),
        patients=len(setting.patients),
        thin_classes={
            label: n for label, n in setting.thin[""].items() if label in setting.classes
        },
        repeats={name: list(by_repeat) for name, by_repeat in tables.items()},
        arms=arms,
        differences=adjusted(differences),
    )


def _test_of_all(tables: Tables) -> pd.DataFrame:
    """Return the rows of test, which must be of the same images in all tables."""
    every = [table for by_repeat in tables.values() for table in by_repeat.values()]
    keys = [sorted(table.loc[table["split"] == "test", "key"]) for table in every]
    if any(found != keys[0] for found in keys):
        raise UserError("studies: all arms must have judged the same images; run `dvc repro` there")
    return every[0][every[0]["split"] == "test"]


def _settle(test: pd.DataFrame, params: CompareParams) -> Setting:
    patients, classes = sorted(test["patient"].unique()), class_names(test)
    if len(patients) < 2:
        raise UserError(f"studies: test must hold at least 2 patients, got {len(patients)}")
    weights = resample_patients(len(patients), params.draws, params.seed)
    thin = {
        suffix: thin_among(aggregate(test, level, classes, patients, rule))
        for suffix, (level, rule) in LEVELS.items()
    }
    return Setting(classes, patients, weights, params, thin)


def _rows(tables: Sequence[pd.DataFrame], setting: Setting, rule: str) -> Rows:
    """Compute every metric of every repeat, all on the same draws of patients."""
    classes, dense = setting.classes, dense_positions(setting.classes)
    found: dict[str, list[np.ndarray]] = {}
    for table in tables:
        test = table[table["split"] == "test"]
        for suffix, (level, patient_rule) in LEVELS.items():
            units = aggregate(test, level, classes, setting.patients, patient_rule, rule)  # type: ignore[arg-type]
            draws = metric_draws(units, setting.weights, dense)
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


def _measured(
    metric: str, draws: np.ndarray, generator: np.random.Generator, setting: Setting
) -> Measured:
    values, thin = draws[:, 0], setting.rests_on_few(metric)
    found = interval(_resampled(draws, generator), setting.params.confidence)
    return Measured(
        value=found.value,
        low=None if thin else found.low,
        high=None if thin else found.high,
        undefined_draws=found.undefined_draws,
        deviation=float(values.std(ddof=1)) if len(values) > 1 else None,
        smallest=float(values.min()),
        largest=float(values.max()),
    )


def _difference(
    question: Question,
    metric: str,
    tables: Tables,
    rows: Mapping[str, Rows],
    generator: np.random.Generator,
    setting: Setting,
) -> Difference:
    pair = (question.first, question.second)
    common = [repeat for repeat in tables[pair[0]] if repeat in tables[pair[1]]]
    picked = [
        rows[name][metric][[list(tables[name]).index(repeat) for repeat in common]] for name in pair
    ]
    draws = _resampled(picked[0] - picked[1], generator)
    confidence, thin = setting.params.confidence, setting.rests_on_few(metric)
    found = interval(draws, confidence)
    return Difference(
        *pair,
        family=question.family,
        metric=metric,
        value=found.value,
        low=None if thin else found.low,
        high=None if thin else found.high,
        p=None if thin or not np.nanstd(draws[1:]) else bootstrap_p(draws),
        p_adjusted=None,
        patients_needed=(
            None if thin else patients_needed(draws, len(setting.patients), confidence)
        ),
    )


def adjusted(differences: Sequence[Difference]) -> list[Difference]:
    """Fill in `p_adjusted`, each family of tests apart from the others."""
    found = list(differences)
    for family in dict.fromkeys(difference.family for difference in found):
        members = {n: d.p for n, d in enumerate(found) if d.family == family and d.p is not None}
        for n, p in zip(members, benjamini_hochberg(list(members.values())), strict=True):
            found[n] = replace(found[n], p_adjusted=p)
    return found
