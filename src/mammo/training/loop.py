"""Train a suffix by gradient: release the blocks, keep the best epoch, watch for collapse."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import trange

from mammo.cohort.cases import Fold
from mammo.embedding.sources import Source
from mammo.errors import UserError
from mammo.evaluation.collapse import assess
from mammo.evaluation.inference import Answers, predict, reads, split_evenly
from mammo.evaluation.metrics import classification_metrics
from mammo.evaluation.suffix_file import State
from mammo.network.compute import seed_everything
from mammo.network.devices import Devices
from mammo.network.strategies import Suffix
from mammo.training.averaging import MovingAverage
from mammo.training.balancing import class_counts, draw_epoch, loss_weights, resolve
from mammo.training.history import Row
from mammo.training.losses import Loss
from mammo.training.optimizers import make_optimizer, set_learning_rate
from mammo.training.progress import Progress
from mammo.training.settings import Recipe
from mammo.training.watch import Watch, epoch_line

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)


@dataclass
class Best:
    """The epoch that is kept: the best so far (`best_order`), or at the end the last one."""

    rank: tuple[float, ...] = ()
    epoch: int = 0
    state: State = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a training leaves behind: its history, the best and the last state, the alerts."""

    rows: list[Row]
    best: Best
    last: State
    alerts: list[str]


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


def train(job: Job, suffix: Suffix, start: Callable[[Suffix], list[Row]] | None = None) -> Outcome:
    """Train from the start, or from where an interrupted training of the same key stopped.

    Args:
        job: What to train with.
        suffix: What trains.
        start: Solves the head in place and returns the rows of epoch 0, which is a candidate for
            the best epoch; None where the head starts from chance.

    Raises:
        CollapseError: The model has collapsed and `collapse.action` is `fail`.
        UserError: The loss is no longer finite.
    """
    # The first process reads for all: each for itself might see another state of the same file.
    saved = job.fabric.broadcast(job.progress.load() if job.progress else None)
    rows = start(suffix) if start and saved is None else []
    training = Training(job, suffix)
    done = _resume(job, training, saved)
    for row in rows:
        _note(job, training, row)
    if rows:
        _rank(training, rows[-1])
    _run_epochs(job, training, done)
    last = copy_state(training.answering)
    ended = assess(training.rows[-1], job.fold.classes, job.recipe.collapse)
    if job.recipe.train.keep == "last" and ended.status != "collapsed":
        kept = training.rows[-1]
        training.best = Best(best_order(kept), kept["epoch"], last)
    return Outcome(training.rows, training.best, last, training.watch.alerts)


def _run_epochs(job: Job, training: Training, done: int) -> None:
    epochs, model = job.recipe.strategy.epochs, None
    with trange(
        done, epochs, initial=done, total=epochs, unit="epoch", mininterval=1,
        desc=f"train {job.recipe.name}", disable=None if job.fabric.is_global_zero else True,
    ) as bar:  # fmt: skip
        for epoch in range(done + 1, epochs + 1):
            if model is None or epoch == job.held + 1:
                model = _enter_phase(job, training, epoch)
            for row in (_train_epoch(job, training, model, epoch), _validate(job, training, epoch)):
                _note(job, training, row)
            ends = _judge(job, training, epoch, row) or epoch == epochs
            bar.update()
            if job.progress and (ends or job.progress.due()):
                job.progress.save(training.state(epoch, ends))
            if ends:
                break


def _note(job: Job, training: Training, row: Row) -> None:
    training.rows.append(row)
    job.record(row)


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


def _enter_phase(job: Job, training: Training, epoch: int) -> Any:
    """Hold or release the blocks, and wrap the module anew: DDP fixes what trains at set-up."""
    if epoch <= job.held:
        training.suffix.warm_up()
    else:
        training.suffix.release()
    return job.fabric.setup_module(training.suffix)


def _train_epoch(job: Job, training: Training, model: Any, epoch: int) -> Row:
    """Train one epoch; its metrics are those of the batches as they were drawn and seen."""
    fabric, params, number = job.fabric, job.recipe.train, job.epochs_before + epoch
    seed_everything(params.seed, number, fabric.global_rank)
    model.train()
    labels, train = job.fold.labels, job.fold.train
    order = train[draw_epoch(labels[train], training.balancing, params.seed, number)]
    # A view for every draw: an image that is drawn nine times is seen in nine ways.
    draws = np.random.default_rng([params.seed, number, 1]).integers(2**31, size=len(order))
    steps = split_evenly(np.arange(len(order)), params.batch_size)
    seen = Answers(fabric, steps)
    losses = torch.empty(len(steps), device=fabric.device)
    batches = reads(steps, fabric, lambda mine: job.source.train_batch(order[mine], draws[mine]))
    for step, (positions, read) in enumerate(batches):
        rate = learning_rate(job, epoch - 1 + step / len(steps))
        set_learning_rate(training.optimizer, rate)
        logits = model(*job.source.to_cut(read, fabric.device))
        loss = training.loss.share(
            logits, labels[order[positions]], fabric.global_rank, fabric.world_size
        )
        _step(job, training, model, loss)
        seen.add(logits)
        losses[step] = loss.detach() * len(positions)
    _share_statistics(job, training)
    total: Any = fabric.all_reduce(losses.sum())  # the mean over the processes
    _check_finite(job, epoch, total)
    return make_row(job, epoch, "train", seen.gather(), labels[order], float(total) / len(order))


def _step(job: Job, training: Training, model: Any, loss: Tensor) -> None:
    training.optimizer.zero_grad(set_to_none=True)
    job.fabric.backward(loss)
    if job.recipe.train.clip_norm:
        job.fabric.clip_gradients(
            model, training.optimizer, max_norm=job.recipe.train.clip_norm,
            error_if_nonfinite=False,
        )  # fmt: skip
    training.optimizer.step()
    if training.average:
        training.average.update(training.suffix)


@torch.no_grad()
def _share_statistics(job: Job, training: Training) -> None:
    """Give every process the mean of their BatchNorm statistics.

    Where BatchNorm isn't synchronised, each process has only seen its own images. Parameters need
    no such care: equal gradients keep them equal.
    """
    if job.fabric.world_size == 1:
        return
    modules = [training.suffix, *([training.average.module] if training.average else [])]
    for buffer in (b for module in modules for b in module.buffers() if b.is_floating_point()):
        mean: Any = job.fabric.all_reduce(buffer.clone())
        buffer.copy_(mean)


def _validate(job: Job, training: Training, epoch: int) -> Row:
    """Measure the clean validation images; the loss is the plain cross-entropy."""
    logits = predict_validation(job, training.answering)
    _check_finite(job, epoch, logits.sum())
    return validation_row(job, epoch, logits, at_end=epoch == job.recipe.strategy.epochs)


def predict_validation(job: Job, suffix: nn.Module) -> Tensor:
    """Compute the logits of the clean validation images: (n, K)."""
    return predict(suffix, job.source, job.fold.val, job.devices, job.recipe.train.batch_size)


def validation_row(job: Job, epoch: int, logits: Tensor, at_end: bool) -> Row:
    """Assemble the row of an epoch's validation; (n, K) logits of the fold's val images."""
    truth = job.fold.labels[job.fold.val]
    loss = cross_entropy(logits, torch.from_numpy(truth)).item()
    row = make_row(job, epoch, "val", logits, truth, loss)
    row["status"] = assess(row, job.fold.classes, job.recipe.collapse, at_end).status
    return row


def make_row(
    job: Job, epoch: int, split: str, logits: Tensor, labels: np.ndarray, loss: float
) -> Row:
    """Assemble one row of the history: of an epoch by gradient, or 0 for the solved head."""
    probabilities = logits.float().softmax(dim=1).numpy()
    number = job.epochs_before + epoch
    lr = learning_rate(job, epoch - 1) if epoch else None
    head = {"strategy": job.recipe.name, "epoch": number, "split": split, "loss": loss}
    metrics = classification_metrics(labels, probabilities, job.fold.classes)
    return {**head, "lr": lr, "penalty": None, **metrics, "status": ""}


def _check_finite(job: Job, epoch: int, value: Tensor) -> None:
    if not torch.isfinite(value):
        name, lr = job.recipe.name, job.recipe.strategy.lr
        raise UserError(
            f"params.yaml: strategies.{name}.lr: the loss is not finite at epoch {epoch}: the "
            f"training diverges; lower the learning rate, got {lr:g}, or set train.clip_norm"
        )


def _judge(job: Job, training: Training, epoch: int, row: Row) -> bool:
    """Update the best epoch, the watch and the waiting; say whether to stop early."""
    released = epoch > job.held
    if released and not _rank(training, row):
        training.waited += 1
    assessment = assess(row, job.fold.classes, job.recipe.collapse)
    logger.info(epoch_line(row["epoch"], row, job.fold.classes, assessment))
    stop = training.watch.follow(row["epoch"], assessment, job.epochs_before + job.held)
    patience = job.recipe.train.early_stopping_epochs
    return stop or (0 < patience <= training.waited)


def _rank(training: Training, row: Row) -> bool:
    """Keep the state if its validation is the best so far; say whether it is."""
    rank = best_order(row)
    if rank <= training.best.rank:
        return False
    training.best = Best(rank, row["epoch"], copy_state(training.answering))
    training.waited = 0
    return True


def best_order(row: Row) -> tuple[float, ...]:
    """Order epochs: first bal_acc_adj, then kappa, then AUC (an undefined one comes last).

    Where val holds one class all of these are constant, and the loss decides.
    """
    if row["classes_present"] < 2:
        return (-row["loss"],)
    auc = row["auc_macro"]
    return (row["bal_acc_adj"], row["kappa"], -1.0 if auc is None else auc)


def copy_state(suffix: nn.Module) -> State:
    """Copy a module's state to the CPU."""
    return {key: value.detach().cpu().clone() for key, value in suffix.state_dict().items()}


def _resume(job: Job, training: Training, saved: dict[str, Any] | None) -> int:
    """Restore an interrupted training; return the number of epochs that are done."""
    if saved is None:
        return 0
    training.restore(saved)
    for row in training.rows:
        job.record(row)
    logger.info("%s: goes on after epoch %d", job.recipe.name, saved["epoch"])
    return job.recipe.strategy.epochs if saved["done"] else int(saved["epoch"])
