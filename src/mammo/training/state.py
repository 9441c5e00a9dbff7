"""The state of a training by gradient: what an interrupted one goes on from."""

from typing import Any

import torch
from torch import nn

from mammo.errors import UserError
from mammo.network.strategies import Suffix
from mammo.training.averaging import MovingAverage
from mammo.training.balancing import loss_weights, resolve
from mammo.training.history import Row
from mammo.training.job import Job
from mammo.training.losses import Loss
from mammo.training.optimizers import make_optimizer
from mammo.training.outcome import Best, copy_state
from mammo.training.watch import Watch


class Training:
    """The state of a training by gradient.

    Attributes:
        suffix: What trains.
        rows: The history.
        best: The best epoch so far.
        waited: Epochs since it.
        watch: For collapse.
    """

    def __init__(self, job: Job, suffix: Suffix):
        recipe, fabric = job.recipe, job.fabric
        self.suffix = suffix.to(fabric.device).to(memory_format=torch.channels_last)
        check_share(recipe.train.batch_size, fabric.world_size)
        if fabric.world_size > 1 and fabric.device.type == "cuda":  # torch has no other
            nn.SyncBatchNorm.convert_sync_batchnorm(self.suffix)  # in place, names kept
        params = recipe.train
        made = make_optimizer(suffix, recipe.strategy.lr, params.weight_decay, params.layer_decay)
        self.optimizer: Any = fabric.setup_optimizers(made)
        self.average = MovingAverage(suffix, params.ema_decay) if params.ema_decay else None
        self.balancing = resolve(recipe.balancing, recipe.loss, job.counts)
        weights = loss_weights(job.counts, self.balancing)
        self.loss = Loss(recipe.loss, weights, job.counts, fabric.device)
        self.rows: list[Row] = []
        self.best = Best()
        self.waited = 0
        self.watch = Watch(recipe, job.counts)

    @property
    def answering(self) -> nn.Module:
        """What is judged and kept: the moving average where there is one, else the suffix."""
        return self.average.module if self.average else self.suffix

    def state(self, epoch: int, done: bool) -> dict[str, Any]:
        """Return what `restore` needs."""
        return {
            "epoch": epoch,
            "done": done,
            "suffix": copy_state(self.suffix),
            "average": self.average.state() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "rows": self.rows,
            "best": vars(self.best),
            "waited": self.waited,
            "watch": self.watch.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.suffix.load_state_dict(state["suffix"])
        if self.average:
            self.average.restore(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rows, self.waited = list(state["rows"]), state["waited"]
        self.best = Best(**state["best"])
        self.watch.restore(state["watch"])


def check_share(batch_size: int, processes: int) -> None:
    """Refuse batches that would leave a process without an image.

    Raises:
        UserError: `train.batch_size` is too small. (`split_evenly` makes no batch smaller than
            half of it.)
    """
    if batch_size < 2 * processes:
        raise UserError(
            f"params.yaml: train.batch_size: must be at least 2 for each of the {processes} "
            f"processes, got {batch_size}"
        )
