"""A comparison laid out as flat tables, which the pictures are drawn from."""

import pandas as pd

from mammo.comparison.results import Comparison
from mammo.evaluation.levels import LEVELS

CEILING = "ceiling"


def comparison_table(result: Comparison) -> pd.DataFrame:
    """Flatten a result to strategy, level, metric, value, low, high (blank: no interval)."""
    arms = result.arms | ({CEILING: result.ceiling} if result.ceiling else {})
    rows = [
        (name, level, metric, found.value, found.low, found.high)
        for level in LEVELS
        for name, arm in arms.items()
        for metric, found in arm.levels[level].items()
    ]
    return pd.DataFrame(rows, columns=["strategy", "level", "metric", "value", "low", "high"])


def calibration_table(result: Comparison) -> pd.DataFrame:
    """Flatten the reliability diagrams: a row a bin, as stated and after the temperature."""
    rows = []
    for name, arm in result.arms.items():
        found = arm.calibration
        if found is None:
            continue
        for stated, bins in (
            ("as stated", found.reliability),
            ("tempered", found.reliability_tempered or ()),
        ):
            rows += [
                (name, stated, found.temperature, b.low, b.high, b.n, b.confidence, b.accuracy)
                for b in bins
            ]
    columns = ["strategy", "probabilities", "temperature", "low", "high", "n", "confidence"]
    return pd.DataFrame(rows, columns=[*columns, "accuracy"])
