"""One training of a study: the library's own, as stages train and evaluate run it."""

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo import paths
from mammo.cohort.cases import read_cases
from mammo.evaluation.inference import mean_probabilities, predict, predict_from_pixels
from mammo.evaluation.params import EvaluateParams
from mammo.evaluation.predictions import Judged, evaluate
from mammo.network.compute import compute_dtype
from mammo.network.devices import Devices
from mammo.params import load_params
from mammo.storage.tensors import Tensors
from mammo.training.settings import load_recipe
from mammo.training.trial import Stored, Trial, prepare, run_trial, start_alone
from studies.cells.workspace import run_stages, workspace

CELL_FACTS = (
    "trainable_parameters", "trainable_percent", "status", "collapsed", "kappa",
    "kappa_quadratic", "bal_acc_adj", "max_predicted_share", "best_epoch", "decision",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What one training needs.

    Attributes:
        strategy: Its name in `values`.
        values: All of params.yaml, as this training has it.
        inputs: Where lies what it reads: a path of `mammo.paths` -> the real one.
        stages: Stages of the pipeline to run before it, in order.
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
        facts: What pages say of it.
    """

    predictions: pd.DataFrame
    facts: dict[str, Any]


def run_cell(plan: Plan) -> Cell:
    """Train and judge val and test in a workspace.

    A network whose blocks trained answers from pixels, as deployed. A head that was solved alone
    answers from the stored features of the clean views, which the same prefix made of the same
    pixels: seconds in place of a minute, and a test holds the two to the same answers.
    """
    with workspace(plan.values, plan.inputs) as folder:
        run_stages(folder, plan.stages)
        with contextlib.chdir(folder), _quietly():
            return _train_and_judge(plan.strategy)


def _train_and_judge(name: str) -> Cell:
    recipe = load_recipe(name)
    devices, cases = start_alone(recipe), read_cases(paths.IMAGES, paths.LABELS, paths.SPLITS)
    stored = Stored(paths.BACKBONE, paths.EMBEDDINGS / name, paths.TENSORS)
    trial = prepare(recipe, stored, cases, devices)
    trained = run_trial(trial, lambda row: None)
    outcome = trained.outcome
    judged = cases[cases["split"].isin(["val", "test"])].sort_values(["split", "key"])
    params = load_params("evaluate", EvaluateParams)
    trial.network.suffix.load_state_dict(outcome.best.state)
    deployed = trained.refitted.trial if trained.refitted else trial
    asked: dict[Judged, Trial] = {"val": trial, "test": deployed}  # as `load_by_split` says
    probabilities = np.empty((len(judged), len(recipe.classes)))
    facts = {}
    for split, answering in asked.items():
        rows = (judged["split"] == split).to_numpy()
        keys = list(judged.loc[rows, "key"])
        probabilities[rows] = _answers(answering, keys, params, devices)
        trainable = answering.network.trainable()
        facts[split] = {**answering.facts(outcome), **trainable, "epoch": outcome.best.epoch}
    found = evaluate(name, judged, probabilities, facts, params, recipe.collapse)
    said = {fact: found.metrics[fact] for fact in CELL_FACTS}
    said |= {"epochs": outcome.rows[-1]["epoch"], "alerts": len(outcome.alerts)}
    return Cell(found.predictions, said)


def _answers(trial: Trial, keys: list[str], params: EvaluateParams, devices: Devices) -> np.ndarray:
    """Predict with what a trial has trained: (n, K) probabilities in the order of `keys`."""
    network, recipe = trial.network, trial.recipe
    if recipe.trained_blocks == 0 and not params.test_time_flip:
        positions = trial.features.pooled.positions(keys)
        source, size = trial.job.source, params.batch_size
        logits = predict(network.suffix.to(devices.device), source, positions, devices, size)
        return mean_probabilities([logits])
    dtype, images = compute_dtype(recipe.compute), Tensors(paths.TENSORS)
    return predict_from_pixels(network, images, keys, params, devices, dtype, trial.features.grey)


@contextlib.contextmanager
def _quietly() -> Any:
    """Leave out what a training says of itself: a study asks for many."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
