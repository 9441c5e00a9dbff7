"""Put one training together from what earlier stages stored, and run it."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mammo.cohort.cases import make_fold
from mammo.embedding.augment import Augmentation
from mammo.embedding.features import Features, open_features
from mammo.embedding.grey import GREY_NAMES
from mammo.embedding.sources import open_source
from mammo.evaluation.collapse import assess
from mammo.network.compute import arithmetic, compile_module, compute_dtype
from mammo.network.devices import Devices, start, start_fabric
from mammo.network.head import make_head
from mammo.network.network import Design, Network, build_network, head_shape
from mammo.network.strategies import Suffix, fold_batchnorm
from mammo.storage.tensors import Tensors
from mammo.training.history import Row
from mammo.training.job import Job
from mammo.training.loop import train
from mammo.training.outcome import Best, Outcome, best_order, copy_state
from mammo.training.progress import Progress
from mammo.training.retraining import head_alone, retrain_head
from mammo.training.settings import Recipe
from mammo.training.solving import (
    Kept,
    Solved,
    place_head,
    solve,
    solve_again,
    solving_of,
)
from mammo.training.validation import predict_validation, validation_row
from mammo.training.watch import Watch, risks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """What a training starts from.

    Attributes:
        backbone: The file of the backbone's parameters.
        embeddings: The strategy's folder of features and activations.
        tensors: The folder of the images.
    """

    backbone: Path
    embeddings: Path
    tensors: Path


@dataclass(frozen=True)
class Trial:
    """One training, ready to run.

    Attributes:
        network: What trains.
        design: Of the network.
        features: What a head reads that is solved.
        job: All else.
        fitted_on: The splits whose images are the fold's `train`.
    """

    network: Network
    design: Design
    features: Features
    job: Job
    fitted_on: tuple[str, ...] = ("train",)

    @property
    def recipe(self) -> Recipe:
        """The parameters."""
        return self.job.recipe

    def facts(self, outcome: Outcome | None = None) -> dict[str, Any]:
        """List what is needed to use the trained suffix.

        Args:
            outcome: Of a training; None for a head that was solved alone.
        """
        recipe, fold = self.recipe, self.job.fold
        # at which prior it answers is decided by what the head has learnt from last
        last = head_alone(recipe) if outcome and outcome.head_retrained else recipe
        return {
            "strategy": recipe.name,
            "arch": recipe.backbone.arch,
            "cut": self.design.at,
            "reads": list(self.design.reads),
            "grey": self.design.grey,
            "head": self.design.head.as_values(),
            "classes": recipe.classes,
            "counts": self.job.counts.tolist(),
            "prior": solving_of(last).balance(fold.labels[fold.train]).prior.tolist(),
            "fitted_on": list(self.fitted_on),
            "backbone_sha256": self.network.backbone_sha256,
        }


def start_alone(recipe: Recipe) -> Devices:
    """Start what one process alone needs to train a recipe.

    Raises:
        UserError: There is no such accelerator.
    """
    return start_fabric(recipe.compute) if recipe.by_gradient else start(recipe.compute)


def prepare(recipe: Recipe, stored: Stored, cases: pd.DataFrame, devices: Devices) -> Trial:
    """Build the network and open its data.

    Args:
        recipe: Of the strategy.
        stored: Where the inputs are.
        cases: Columns key, patient, label, split.
        devices: Device, precision and processes; a Fabric where anything trains by gradient.
    """
    images = Tensors(stored.tensors)
    fold = make_fold(images.keys, cases, recipe.classes)
    design = make_design(recipe, fold.labels[fold.train])
    network = build_network(stored.backbone, recipe.backbone, design)
    compile_module(network.suffix, recipe.compute, devices.device)
    dtype = compute_dtype(recipe.compute)
    grey = recipe.strategy.grey
    source = open_source(
        stored.embeddings, images, fold_batchnorm(network.prefix, dtype), dtype,
        Augmentation(recipe.augment), devices.device, recipe.reads, grey,
    )  # fmt: skip
    job = Job(recipe, fold, source, devices, record=lambda row: None)
    return Trial(network, design, open_features(stored.embeddings, recipe.reads, grey), job)


def make_design(recipe: Recipe, labels: np.ndarray) -> Design:
    """Say what a recipe's network is made of.

    Args:
        recipe: Of the strategy.
        labels: Of the training images: a class that none has gets no parameters.
    """
    classes = len(recipe.classes)
    present = tuple(int(k) for k in np.unique(labels))
    grey = len(GREY_NAMES) if recipe.strategy.grey else 0
    shape = head_shape(
        recipe.backbone, recipe.reads, grey, recipe.head_kind, classes,
        kernel=recipe.head.rbf.features if recipe.head.kernel == "rbf" else 0,
        present=present if len(present) < classes else None,
    )  # fmt: skip
    params = recipe.train
    return Design(
        recipe.cut, recipe.reads, grey, shape, params.dropout, params.seed, params.scope,
        params.batchnorm,
    )  # fmt: skip


@dataclass(frozen=True)
class Refitted:
    """A network whose head was solved once more, on train and val, and which step that is."""

    trial: Trial
    kept: Kept


@dataclass(frozen=True)
class Trained:
    """What a trial leaves behind.

    Attributes:
        outcome: History, states, alerts.
        risks: Named before the training.
        solved: Step and penalty of the solved head that is kept or was started from; None
            without one.
        cpu: The arithmetic that the figures come from.
        refitted: What is deployed in place of what `outcome` keeps, which then answers val alone;
            None where blocks train or `head.refit` is off.
    """

    outcome: Outcome
    risks: list[str]
    solved: dict[str, float] | None
    cpu: str
    refitted: Refitted | None = None

    def notes(self) -> dict[str, Any]:
        """List what metrics/train/S.json says besides the epochs."""
        return {
            "solved_head": self.solved,
            "refitted_head": self.refitted.kept.facts() if self.refitted else None,
            "risks": self.risks,
            "alerts": self.outcome.alerts,
            "cpu": self.cpu,
        }


def run_trial(
    trial: Trial, record: Callable[[Row], None], progress: Progress | None = None
) -> Trained:
    """Solve the head, train what is to train; risks and alarms are logged.

    Args:
        trial: What to train.
        record: Called with each finished row of the history.
        progress: Where an interrupted run finds its state; None to keep none.

    Raises:
        CollapseError: The model has collapsed and `collapse.action` is `fail`.
    """
    job, recipe = replace(trial.job, record=record, progress=progress), trial.recipe
    found = risks(recipe, job.counts)
    for risk in found:
        logger.warning("risk: %s", risk)
    if len(np.unique(job.fold.labels[job.fold.val])) < 2:
        logger.warning(
            "%s: val holds one class: kappa and balanced accuracy say nothing there, so %s; see "
            "split.* for another val", recipe.name, _kept_instead(recipe),
        )  # fmt: skip
    solved: Solved | None = None
    refitted: Refitted | None = None
    if not recipe.by_gradient:
        solved = solve(job, trial.features)
        outcome = _solved_alone(job, trial.network.suffix, solved)
        refitted = _refit(trial, solved.step) if recipe.head.refit else None
    elif recipe.strategy.head == "solved":
        solved = solve(job, trial.features)
        start = solved  # what `place` closes over is never None

        def place(suffix: Suffix) -> list[Row]:
            place_head(suffix.head, start.head)
            return [_epoch_0(job, suffix)]

        outcome = train(job, trial.network.suffix, place)
    else:
        outcome = train(job, trial.network.suffix)
    if recipe.train.retrain_head_epochs and recipe.trained_blocks:
        outcome = retrain_head(job, trial.network.suffix, outcome)
    _say_how_it_ended(job, outcome)
    kept = solved.facts() if solved else None
    return Trained(outcome, found, kept, arithmetic(recipe.compute), refitted)


def _solved_alone(job: Job, suffix: Suffix, solved: Solved) -> Outcome:
    """Finish a strategy that trains nothing but its head: the path is its history."""
    place_head(suffix.head, solved.head)
    suffix.to(job.devices.device)
    for row in solved.rows:
        job.record(row)
    watch = Watch(job.recipe, job.counts)
    kept = next(r for r in solved.rows if r["epoch"] == solved.step and r["split"] == "val")
    watch.judge(assess(kept, job.fold.classes, job.recipe.collapse, at_end=True))
    state = copy_state(suffix)
    return Outcome(solved.rows, Best(best_order(kept), solved.step, state), state, watch.alerts)


def _refit(trial: Trial, step: int) -> Refitted:
    """Solve the head once more, on train and val: nothing of it is left for val to decide."""
    fold = trial.job.fold
    both = np.sort(np.concatenate([fold.train, fold.val]))
    job = replace(trial.job, fold=replace(fold, train=both))
    kept = solve_again(job, trial.features, step)
    design = make_design(trial.recipe, fold.labels[both])
    head = make_head(design.head, design.dropout)
    place_head(head, kept.head)
    suffix = Suffix(OrderedDict(), head, design.reads).to(job.devices.device)
    network = replace(trial.network, suffix=suffix)
    again = replace(trial, network=network, design=design, job=job, fitted_on=("train", "val"))
    return Refitted(again, kept)


def _kept_instead(recipe: Recipe) -> str:
    """Say what decides where val can't."""
    if not recipe.by_gradient:
        if recipe.head.select == "cross_fit":
            return "nothing but the status is read off it: cross-fitting on train keeps the penalty"
        return "the penalty of the least log-loss is kept"
    if recipe.train.keep == "last":
        return "the last epoch is kept, and after a collapse the one of the least loss"
    return "the epoch of the least loss is kept"


def _epoch_0(job: Job, suffix: Suffix) -> Row:
    suffix.to(job.devices.device).to(memory_format=torch.channels_last)
    return validation_row(job, 0, predict_validation(job, suffix), at_end=False)


def _say_how_it_ended(job: Job, outcome: Outcome) -> None:
    """After alarms, say whether what is kept has recovered."""
    kept = [r for r in outcome.rows if r["epoch"] == outcome.best.epoch and r["split"] == "val"]
    if outcome.alerts and kept:
        status = assess(kept[0], job.fold.classes, job.recipe.collapse, at_end=True).status
        logger.warning(
            "%s: ended %s: epoch %d is kept (kappa %.2f)",
            job.recipe.name, status, outcome.best.epoch, kept[0]["kappa"],
        )  # fmt: skip
