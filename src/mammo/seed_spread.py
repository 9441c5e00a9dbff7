"""Compare strategies over several training seeds: mean, spread, and an interval for both sources.

The interval covers other patients and other seeds: each draw resamples whole patients and, apart
from them, the seeds. With few seeds it errs on the wide side.

Source:
    Owen 2007, Ann Appl Stat 1:386 (resampling both factors of a crossed design; conservative).
"""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from mammo.comparison import DENSE, CompareParams, aggregate, check_arms, significant
from mammo.errors import UserError
from mammo.paired_tests import benjamini_hochberg
from mammo.statistics import Draws, bootstrap_p, interval, metric_draws, resample_patients

Tables = dict[str, dict[int, pd.DataFrame]]


def compare_over_seeds(tables: Tables, params: CompareParams) -> dict[str, Any]:
    """Compare strategies on images: floats of 9 significant digits.

    Args:
        tables: Predictions by strategy and seed; the test rows count.
        params: Draws, level, tested metrics.

    Raises:
        UserError: Tables disagree on their images, or test holds fewer than two patients.
    """
    arms = {
        f"{name} (seed {seed})": table
        for name, by_seed in tables.items()
        for seed, table in by_seed.items()
    }
    classes = check_arms(arms, ("test",))
    test = next(iter(arms.values())).query("split == 'test'")
    patients = sorted(test["patient"].unique())
    if len(patients) < 2:
        raise UserError("data/splits.csv: test must hold at least 2 patients, got 1")
    weights = resample_patients(len(patients), params.draws, params.seed)
    dense = [classes.index(label) for label in DENSE[classes]]
    by_arm = {
        name: metric_draws(
            aggregate(table.query("split == 'test'"), "image", classes, patients), weights, dense
        )
        for name, table in arms.items()
    }
    means: dict[str, Draws] = {}
    strategies: dict[str, Any] = {}
    for position, (name, by_seed) in enumerate(tables.items()):
        rows = [by_arm[f"{name} (seed {seed})"] for seed in by_seed]
        each = {metric: np.stack([row[metric] for row in rows]) for metric in rows[0]}
        generator = np.random.default_rng([params.seed, position])
        drawn = generator.integers(len(rows), size=(len(rows), params.draws))
        means[name] = {metric: mean_draws(draws, drawn) for metric, draws in each.items()}
        strategies[name] = {
            metric: _entry(draws[:, 0], means[name][metric], params.confidence)
            for metric, draws in each.items()
            if not np.isnan(draws[:, 0]).any()
        }
    pairs = [_pair(a, b, means, params) for a, b in combinations(tables, 2)]
    tests = [test for pair in pairs for test in pair["tests"] if test["p"] is not None]
    adjusted = benjamini_hochberg([test["p"] for test in tests])
    for found, p in zip(tests, adjusted, strict=True):
        found["p_adjusted"] = significant(p)
    return {
        "sample": {
            "classes": list(classes),
            "images": len(test),
            "patients": len(patients),
            "seeds": list(next(iter(tables.values()))),
            "draws": params.draws,
            "confidence": params.confidence,
            "tested_metrics": params.tested_metrics,
            "false_discovery_rate": params.false_discovery_rate,
            "tests_in_family": len(tests),
        },
        "strategies": strategies,
        "pairs": pairs,
    }


def mean_draws(draws: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Average a metric over seeds: (seeds, 1 + draws) -> (1 + draws,).

    Args:
        draws: The metric of each seed; column 0 is the sample itself.
        drawn: Which seeds count in which draw, with repetition: (seeds, draws).
    """
    resampled = np.take_along_axis(draws[:, 1:], drawn, axis=0).mean(axis=0)
    return np.concatenate([[draws[:, 0].mean()], resampled])


def _entry(values: np.ndarray, means: np.ndarray, confidence: float) -> dict[str, Any]:
    """Describe one metric: `values` of each seed, and the draws of their mean."""
    found = interval(means, confidence)
    return {
        "value": significant(found.value),
        "low": significant(found.low),
        "high": significant(found.high),
        "undefined_draws": found.undefined_draws,
        "standard_deviation": significant(float(values.std(ddof=1))),
        "smallest": significant(float(values.min())),
        "largest": significant(float(values.max())),
    }


def _pair(
    first: str, second: str, means: dict[str, Draws], params: CompareParams
) -> dict[str, Any]:
    """Compare two strategies: the difference of their means, on the same patients."""
    tests = []
    for metric in params.tested_metrics:
        differences = means[first][metric] - means[second][metric]
        found = interval(differences, params.confidence)
        tests.append(
            {
                "metric": metric,
                "value": significant(found.value),
                "low": significant(found.low),
                "high": significant(found.high),
                "p": significant(bootstrap_p(differences)),
                "p_adjusted": None,
            }
        )
    return {"first": first, "second": second, "tests": tests}
