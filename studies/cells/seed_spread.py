"""Compare strategies over several training seeds: mean, spread, and an interval for both sources.

The interval covers other patients and other seeds: each draw resamples whole patients and, apart
from them, the seeds. A handful of seeds tells the seeds' part only roughly.

Source:
    Owen 2007, Ann Appl Stat 1:386 (the pigeonhole bootstrap: both factors of a crossed design).
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from mammo.comparison.arms import DENSE, aggregate, check_arms, of_split
from mammo.comparison.bootstrap import Draws, bootstrap_p, interval, metric_draws, resample_patients
from mammo.comparison.compare import adjust, check_tested, significant
from mammo.comparison.params import CompareParams
from mammo.errors import UserError

Tables = dict[str, dict[int, pd.DataFrame]]


def compare_over_seeds(tables: Tables, params: CompareParams) -> dict[str, Any]:
    """Compare strategies on images: floats of 9 significant digits.

    Args:
        tables: Predictions by strategy and seed; the test rows count.
        params: Draws, level, tested metrics.

    Raises:
        UserError: Tables disagree on their images, or test holds one patient.
    """
    arms = [table for by_seed in tables.values() for table in by_seed.values()]
    classes = check_arms({str(n): table for n, table in enumerate(arms)}, ("test",))
    test = of_split(arms[0], "test")
    patients = sorted(test["patient"].unique())
    if len(patients) < 2:
        raise UserError("data/splits.csv: test must hold at least 2 patients, got 1")
    weights = resample_patients(len(patients), params.draws, params.seed)
    means: dict[str, Draws] = {}
    strategies: dict[str, Any] = {}
    for position, (name, by_seed) in enumerate(tables.items()):
        draws = _draws_by_seed(list(by_seed.values()), classes, patients, weights)
        check_tested(params.tested_metrics, {m: rows[0] for m, rows in draws.items()})
        generator = np.random.default_rng([params.seed, position])
        drawn = generator.integers(len(by_seed), size=(len(by_seed), params.draws))
        means[name] = {metric: mean_draws(rows, drawn) for metric, rows in draws.items()}
        strategies[name] = {
            metric: _entry(rows[:, 0], means[name][metric], params.confidence)
            for metric, rows in draws.items()
            if not np.isnan(rows[:, 0]).any()
        }
    pairs = [_pair(a, b, means, params) for a, b in combinations(tables, 2)]
    family = adjust([test for pair in pairs for test in pair["tests"]])
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
            "tests_in_family": family,
        },
        "strategies": strategies,
        "pairs": pairs,
    }


def _draws_by_seed(
    tables: Sequence[pd.DataFrame],
    classes: tuple[str, ...],
    patients: Sequence[str],
    weights: np.ndarray,
) -> Draws:
    """Compute every metric of every seed, all on the same draws of patients: (seeds, 1 + draws)."""
    dense = [classes.index(label) for label in DENSE[classes]]
    units = [aggregate(of_split(table, "test"), "image", classes, patients) for table in tables]
    rows = [metric_draws(unit, weights, dense) for unit in units]
    return {metric: np.stack([row[metric] for row in rows]) for metric in rows[0]}


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
            }
        )
    return {"first": first, "second": second, "tests": tests}
