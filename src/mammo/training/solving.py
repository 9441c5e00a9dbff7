"""Solve a strategy's head on stored features: the regularisation path is its training curve."""

import logging
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mammo.embedding.features import Features
from mammo.evaluation.collapse import assess
from mammo.evaluation.metrics import classification_metrics
from mammo.heads.choosing import choose_step
from mammo.heads.ordinal import OrdinalHead
from mammo.heads.path import Head, Path
from mammo.network.head import Present, ProportionalOdds, RandomFourier
from mammo.training.history import Row
from mammo.training.job import Job
from mammo.training.problem import Solving
from mammo.training.settings import Recipe

logger = logging.getLogger(__name__)


def solving_of(recipe: Recipe) -> Solving:
    """Take out of a recipe how its head is solved."""
    return Solving(recipe.classes, recipe.head, recipe.balancing, recipe.loss)


@dataclass(frozen=True)
class Kept:
    """The step of a path that is kept: its head, its number from 1, and its penalty."""

    head: Head
    step: int
    penalty: float

    def facts(self) -> dict[str, float]:
        """Say which step it is."""
        return {"step": self.step, "penalty": self.penalty}


@dataclass(frozen=True)
class Solved(Kept):
    """A solved head of train, with the history of its path: two rows a step."""

    rows: list[Row]


def solve(job: Job, features: Features) -> Solved:
    """Solve the head of train for every penalty, write the path down, and keep a step."""
    recipe, fold = job.recipe, job.fold
    solving = solving_of(recipe)
    path = _path(solving, job, features)
    clean = {"train": features.clean(fold.train), "val": features.clean(fold.val)}
    answers = {
        split: [step.head.log_probabilities(values) for step in path.steps]
        for split, values in clean.items()
    }
    chosen = path.chosen
    if chosen is None:
        truth = fold.labels[fold.val]
        every = solving.balance(fold.labels[fold.train]).weights[truth]
        chosen = choose_step(truth, every, answers["val"], recipe.head.criterion)
    step = path.steps[chosen]
    logger.info(
        "%s: solved head, step %d of %d kept (penalty %.3g)",
        recipe.name, chosen + 1, len(path.steps), step.penalty,
    )  # fmt: skip
    return Solved(step.head, chosen + 1, step.penalty, _rows(job, path, answers, chosen))


def solve_again(job: Job, features: Features, step: int) -> Kept:
    """Solve the head of images that hold val too, once a step was kept without val's labels.

    Cross-fitting keeps a step anew, since it has more to go by now; a step that val has chosen
    stays.

    Args:
        job: Its fold's `train` are all of the images.
        features: What the head reads.
        step: The one kept before, from 1.
    """
    path = _path(solving_of(job.recipe), job, features)
    chosen = step - 1 if path.chosen is None else path.chosen
    return Kept(path.steps[chosen].head, chosen + 1, path.steps[chosen].penalty)


def _path(solving: Solving, job: Job, features: Features) -> Path:
    train = job.fold.train
    labels, patients = job.fold.labels[train], job.fold.patients[train]
    return solving.path(features.views(train), labels, patients, features.widths)


def _rows(job: Job, path: Path, answers: dict[str, list[np.ndarray]], chosen: int) -> list[Row]:
    """Write the path as a history.

    The kept step alone has a status, as the end of a training has: that the strongest penalties
    answer one class for everybody is no collapse.
    """
    rows = []
    fold, recipe = job.fold, job.recipe
    for number, step in enumerate(path.steps):
        for split in ("train", "val"):
            labels = fold.labels[getattr(fold, split)]
            logits = answers[split][number]
            metrics = classification_metrics(labels, np.exp(logits), fold.classes)
            loss = cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()
            row: Row = {
                "strategy": recipe.name, "epoch": number + 1, "split": split, "loss": loss,
                "lr": None, "penalty": step.penalty, **metrics, "status": "",
            }  # fmt: skip
            if split == "val" and number == chosen:
                row["status"] = assess(row, fold.classes, recipe.collapse, at_end=True).status
            rows.append(row)
    return rows


@torch.no_grad()
def place_head(module: nn.Module, head: Head) -> None:
    """Write a solved head into a network's head of the same shape (`network.head.make_head`)."""
    parts = dict(module.named_children())
    if head.kernel is not None:
        kernel = cast(RandomFourier, parts["kernel"])
        kernel.weight.copy_(_tensor(head.kernel.projection.T))
        kernel.phase.copy_(_tensor(head.kernel.offset))
    linear = cast(nn.Linear, parts["linear"])
    if isinstance(head.linear, OrdinalHead):
        linear.weight.copy_(_tensor(head.linear.weight)[None])
        cast(ProportionalOdds, parts["order"]).place(_tensor(head.linear.thresholds))
        return
    every = tuple(range(len(head.linear.bias)))
    rows = list(cast(Present, parts["present"]).present if "present" in parts else every)
    linear.weight.copy_(_tensor(head.linear.weight[rows]))
    linear.bias.copy_(_tensor(head.linear.bias[rows]))


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float64))
