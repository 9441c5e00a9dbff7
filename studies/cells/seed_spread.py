"""Compare strategies over several training seeds: mean, spread, and an interval for both sources.

The interval covers other patients and other seeds: each draw resamples whole patients and, apart
from them, the seeds. A handful of seeds tells the seeds' part only roughly.

Source:
    Owen 2007, Ann Appl Stat 1:386 (the pigeonhole bootstrap: both factors of a crossed design).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from mammo.cohort.classes import dense_positions
from mammo.comparison.arms import check_arms, of_split
from mammo.comparison.bootstrap import bootstrap_p, interval, metric_draws, resample_patients
from mammo.comparison.compare import check_tested, rests_on_few, significant, thin_classes
from mammo.comparison.paired_tests import benjamini_hochberg
from mammo.comparison.params import CompareParams
from mammo.errors import UserError
from mammo.evaluation.levels import aggregate
from mammo.evaluation.metrics import Draws

Tables = dict[str, dict[int, pd.DataFrame]]


@dataclass(frozen=True)
class Spread:
    """A metric over seeds: the mean with its interval, and what the seed alone changes."""

    value: float
    low: float | None
    high: float | None
    undefined_draws: int
    standard_deviation: float
    smallest: float
    largest: float


@dataclass(frozen=True)
class SeedTest:
    """The difference of two strategies' means in one metric, on the same patients."""

    metric: str
    value: float
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None = None


@dataclass(frozen=True)
class SeedPair:
    """Two strategies: first minus second."""

    first: str
    second: str
    tests: tuple[SeedTest, ...]


@dataclass(frozen=True)
class SeedComparison:
    """Strategies over seeds: metrics by strategy, and pairs."""

    classes: tuple[str, ...]
    images: int
    patients: int
    seeds: tuple[int, ...]
    draws: int
    confidence: float
    tested_metrics: tuple[str, ...]
    false_discovery_rate: float
    strategies: dict[str, dict[str, Spread]]
    pairs: tuple[SeedPair, ...]

    @property
    def family(self) -> int:
        """How many tests are corrected together."""
        return sum(test.p is not None for pair in self.pairs for test in pair.tests)


def compare_over_seeds(tables: Tables, params: CompareParams) -> SeedComparison:
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
    thin = thin_classes(test, classes)
    means: dict[str, Draws] = {}
    strategies: dict[str, dict[str, Spread]] = {}
    for position, (name, by_seed) in enumerate(tables.items()):
        draws = _draws_by_seed(list(by_seed.values()), classes, patients, weights)
        check_tested(params.tested_metrics, {m: rows[0] for m, rows in draws.items()})
        generator = np.random.default_rng([params.seed, position])
        drawn = generator.integers(len(by_seed), size=(len(by_seed), params.draws))
        means[name] = {metric: mean_draws(rows, drawn) for metric, rows in draws.items()}
        strategies[name] = {
            metric: _spread(
                rows[:, 0],
                means[name][metric],
                params.confidence,
                rests_on_few(metric, classes, thin),
            )
            for metric, rows in draws.items()
            if not np.isnan(rows[:, 0]).any()
        }
    few = {metric for metric in params.tested_metrics if rests_on_few(metric, classes, thin)}
    pairs = [_pair(a, b, means, params, few) for a, b in combinations(tables, 2)]
    return SeedComparison(
        classes=classes,
        images=len(test),
        patients=len(patients),
        seeds=tuple(next(iter(tables.values()))),
        draws=params.draws,
        confidence=params.confidence,
        tested_metrics=tuple(params.tested_metrics),
        false_discovery_rate=params.false_discovery_rate,
        strategies=strategies,
        pairs=_adjusted(pairs),
    )


def _draws_by_seed(
    tables: Sequence[pd.DataFrame],
    classes: tuple[str, ...],
    patients: Sequence[str],
    weights: np.ndarray,
) -> Draws:
    """Compute every metric of every seed, all on the same draws of patients: (seeds, 1 + draws)."""
    dense = dense_positions(classes)
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


def _spread(values: np.ndarray, means: np.ndarray, confidence: float, thin: bool) -> Spread:
    """Describe one metric: `values` of each seed, and the draws of their mean."""
    found = interval(means, confidence)
    return Spread(
        value=significant(found.value),
        low=None if thin else significant(found.low),
        high=None if thin else significant(found.high),
        undefined_draws=found.undefined_draws,
        standard_deviation=significant(float(values.std(ddof=1))),
        smallest=significant(float(values.min())),
        largest=significant(float(values.max())),
    )


def _pair(
    first: str, second: str, means: dict[str, Draws], params: CompareParams, few: set[str]
) -> SeedPair:
    """Compare two strategies: the difference of their means, on the same patients."""
    tests = []
    for metric in params.tested_metrics:
        differences = means[first][metric] - means[second][metric]
        found, thin = interval(differences, params.confidence), metric in few
        tests.append(
            SeedTest(
                metric=metric,
                value=significant(found.value),
                low=None if thin else significant(found.low),
                high=None if thin else significant(found.high),
                p=None if thin else significant(bootstrap_p(differences)),
            )
        )
    return SeedPair(first, second, tuple(tests))


def _adjusted(pairs: Sequence[SeedPair]) -> tuple[SeedPair, ...]:
    """Correct the p values of all pairs as one family."""
    tests = [test for pair in pairs for test in pair.tests]
    adjusted = iter(benjamini_hochberg([test.p for test in tests if test.p is not None]))
    return tuple(
        replace(
            pair,
            tests=tuple(
                test if test.p is None else replace(test, p_adjusted=significant(next(adjusted)))
                for test in pair.tests
            ),
        )
        for pair in pairs
    )
