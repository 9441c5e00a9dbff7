"""What a training works with, and its learning rate at any time."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from mammo.cohort.cases import Fold
from mammo.embedding.sources import Source
from mammo.network.devices import Devices
from mammo.training.balancing import class_counts
from mammo.training.history import Row
from mammo.training.progress import Progress
from mammo.training.settings import Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Job:
    """What a training works with; nothing of it changes.

    Attributes:
        recipe: The parameters.
        fold: The labels.
        source: Where batches come from.
        devices: Device, precision and processes; a Fabric where anything trains by gradient.
        record: Called with each finished row of the history.
        progress: Where an interrupted training finds its state; None to keep none, and in every
            process but the first.
        epochs_before: Those of a training that this one follows; the history counts on.
    """

    recipe: Recipe
    fold: Fold
    source: Source
    devices: Devices
    record: Callable[[Row], None]
    progress: Progress | None = None
    epochs_before: int = 0

    @property
    def fabric(self) -> "Fabric":
        """The devices of a training by gradient."""
        return cast("Fabric", self.devices)

    @property
    def counts(self) -> np.ndarray:
        """Training images of each class: (K,)."""
        return class_counts(self.fold.labels[self.fold.train], len(self.fold.classes))

    @property
    def held(self) -> int:
        """Epochs in which the head alone trains; without blocks there is nothing to hold."""
        return self.recipe.strategy.held_epochs if self.recipe.trained_blocks else 0


def learning_rate(job: Job, epochs_done: float) -> float:
    """Compute the rate: constant while held, then a linear ramp, then constant or a half cosine.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983 (cosine annealing, without restarts); Goyal
    2017, arXiv:1706.02677, section 2.2 (gradual warm-up).
    """
    strategy, params = job.recipe.strategy, job.recipe.train
    released = epochs_done - job.held
    if released <= 0 and job.held:
        return strategy.lr
    ramp = min(1.0, released / params.ramp_epochs) if params.ramp_epochs else 1.0
    if params.schedule == "constant":
        return strategy.lr * ramp
    share = released / max(1, strategy.epochs - job.held)
    return strategy.lr * ramp * (1 + math.cos(math.pi * min(1.0, share))) / 2
