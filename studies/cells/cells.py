"""A cell is one training of a study: another fold, seed or architecture, judged on val and test.

It learns from stored inputs like stage `train`, and answers from pixels like stage `evaluate`.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from lightning_fabric import Fabric

from mammo.evaluation.inference import predict_from_pixels
from mammo.evaluation.params import EvaluateParams
from mammo.evaluation.predictions import prediction_table, test_metrics
from mammo.network.compute import compute_dtype
from mammo.network.network import build_network
from mammo.network.params import strategy_cut
from mammo.storage.files import whole_folder, write_json, write_table
from mammo.storage.tensors import Tensors
from mammo.training.settings import Settings
from mammo.training.trial import Stored, prepare, run_trial


@dataclass(frozen=True)
class Cell:
    """One training of a study and what it answered.

    Attributes:
        predictions: Of val and test, as in plots/evaluation/S/predictions.csv.
        metrics: As in metrics/S.json, and `epochs`, `alerts`, `status_at_end`.
        seconds: Of the training alone.
    """

    predictions: pd.DataFrame
    metrics: dict[str, Any]
    seconds: float


def of_architecture(settings: Settings, arch: str) -> Settings:
    """Put another backbone under a strategy; the cut is counted from the end."""
    backbone = settings.backbone.model_copy(update={"arch": arch})
    at = strategy_cut(backbone, settings.strategy, settings.name)
    return replace(settings, backbone=backbone, cut=at)


def run_cell(
    settings: Settings,
    stored: Stored,
    cases: pd.DataFrame,
    evaluate: EvaluateParams,
    fabric: Fabric,
) -> Cell:
    """Train on the train cases, choose the epoch on val, judge val and test from pixels.

    Args:
        settings: Of the strategy.
        stored: Where the inputs are.
        cases: Columns key, patient, laterality, view, label, split.
        evaluate: Batch size, test-time flip.
        fabric: Device, precision and processes.
    """
    trial = prepare(settings, stored, cases, fabric)
    trainable = trial.network.trainable()
    started = time.monotonic()
    outcome = run_trial(trial, record=lambda row: None)
    seconds = time.monotonic() - started
    network = build_network(
        stored.backbone, settings.backbone, settings.cut, settings.classes,
        dropout=0, seed=0, ordinal=settings.loss.ordinal,
    )  # fmt: skip
    network.suffix.load_state_dict(outcome.best.state)
    judged = cases[cases["split"].isin(["val", "test"])].sort_values(["split", "key"])
    probabilities = predict_from_pixels(
        network, Tensors(stored.tensors), list(judged["key"]), evaluate, fabric,
        compute_dtype(settings.compute),
    )  # fmt: skip
    predictions = prediction_table(settings.name, judged, probabilities, settings.classes)
    facts = {**trainable, "best_epoch": outcome.best.epoch}
    last = outcome.rows[-1]
    metrics = {
        **test_metrics(predictions, settings.classes, settings.collapse, facts),
        "epochs": last["epoch"],
        "status_at_end": last["status"],
        "alerts": outcome.alerts,
    }
    return Cell(predictions, metrics, seconds)


def write_cell(cell: Cell, folder: Path) -> None:
    """Write predictions.csv and metrics.json; the seconds, which never repeat, stay out."""
    with whole_folder(folder) as partial:
        write_table(cell.predictions, partial / "predictions.csv")
        write_json(cell.metrics, partial / "metrics.json")
