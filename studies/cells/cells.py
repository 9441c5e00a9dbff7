"""One training of a study: stages of the pipeline, run with other parameters."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mammo import paths
from mammo.storage.files import read_json, read_table
from studies.cells.workspace import run_stages, workspace

CELL_FACTS = (
    "trainable_parameters", "trainable_percent", "collapsed", "kappa", "kappa_quadratic",
    "bal_acc_adj", "max_predicted_share", "best_epoch",
)  # fmt: skip
UNNAMED = ("split", "weights")  # stages that take no strategy


@dataclass(frozen=True)
class Plan:
    """What one training needs.

    Attributes:
        strategy: Its name in `values`.
        values: All of params.yaml, as this training has it.
        inputs: Where lies what its stages read: a path of `mammo.paths` -> the real one.
        stages: Those to run, in order.
    """

    strategy: str
    values: dict[str, Any]
    inputs: dict[Path, Path]
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One training of a study and what it answered.

    Attributes:
        predictions: Of val and test, as in plots/evaluation/S/predictions.csv.
        facts: What pages say of it, from metrics/evaluate/S.json and metrics/train/S.json.
    """

    predictions: pd.DataFrame
    facts: dict[str, Any]


def run_cell(plan: Plan) -> Cell:
    """Run the stages of one training in a workspace and read what they wrote."""
    name = plan.strategy
    with workspace(plan.values, plan.inputs) as folder:
        run_stages(folder, [s if s in UNNAMED else f"{s} {name}" for s in plan.stages])
        predictions = read_table(folder / paths.EVALUATION_PLOTS / name / "predictions.csv")
        metrics = read_json(folder / paths.EVALUATION_PLOTS / name / "metrics.json")
        training = read_json(folder / paths.TRAIN_METRICS / f"{name}.json")
    facts = {fact: metrics[fact] for fact in CELL_FACTS}
    facts |= {"epochs": training["epochs"], "alerts": len(training["alerts"])}
    return Cell(predictions, facts)
