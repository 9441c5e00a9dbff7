"""Arms measured in groups of the test images: by maker, age band, view and side."""

from collections.abc import Mapping

import pandas as pd

from mammo.cohort.classes import dense_positions
from mammo.comparison.arms import Arm
from mammo.comparison.bootstrap import metric_draws
from mammo.comparison.measuring import FEWEST_PATIENTS, Drawn, Setting, estimates
from mammo.comparison.results import Estimates, Group
from mammo.evaluation.levels import aggregate

GROUPED_METRICS = ("accuracy", "kappa", "kappa_quadratic")


def measured_groups(
    strategies: Mapping[str, Drawn], groups: pd.DataFrame | None, setting: Setting
) -> list[Group]:
    """Measure every group of test images that has patients enough."""
    if not strategies:
        return []
    tables = {name: drawn.arm.of_split("test") for name, drawn in strategies.items()}
    first = next(iter(tables.values())).set_index("key")[["patient", "laterality", "view"]]
    if groups is not None:
        first = first.join(groups.set_index("key"), how="left").fillna("unknown")
    dimensions = [*first.columns[3:], "view", "laterality"]
    found = []
    for dimension in dimensions:
        for value in sorted(first[dimension].unique()):
            keys = first.index[first[dimension] == value]
            patients = int(first.loc[keys, "patient"].nunique())
            measured = {
                name: _of_group(table[table["key"].isin(keys)], strategies[name].arm, setting)
                for name, table in tables.items()
                if patients >= FEWEST_PATIENTS
            }
            found.append(Group(dimension, str(value), len(keys), patients, measured))
    return found


def _of_group(table: pd.DataFrame, arm: Arm, setting: Setting) -> Estimates:
    units = aggregate(table, "image", setting.classes, setting.patients, rule=arm.rule)
    draws = metric_draws(units, setting.weights, dense_positions(setting.classes))
    return estimates(units, {name: draws[name] for name in GROUPED_METRICS}, setting)
