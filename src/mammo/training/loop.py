"""Train a suffix: warm up the head, release the blocks, keep the best epoch, watch for collapse."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import trange

from mammo.cohort.cases import Fold
from mammo.embedding.sources import Source
from mammo.errors import UserError
from mammo.evaluation.collapse import assess
from mammo.evaluation.inference import Answers, _reads, predict, split_evenly
from mammo.evaluation.metrics import classification_metrics
from mammo.evaluation.params import CollapseParams
from mammo.evaluation.suffix_file import State
from mammo.network.compute import seed_everything
from mammo.network.strategies import Suffix
from mammo.training.averaging import MovingAverage
from mammo.training.balancing import class_counts, draw_epoch, loss_weights
from mammo.training.history import Row
from mammo.training.losses import Loss
from mammo.training.optimizers import make_optimizer, set_learning_rate
from mammo.training.params import TrainParams
from mammo.training.progress import Progress
from mammo.training.watch import Setting, Watch

logger = logging.getLogger(__name__)


@dataclass
class Best:
    """The best epoch so far: by bal_acc_adj, then kappa, then AUC."""

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


@dataclass
class Run:
    """One training run: what determines it, and its state.

    Attributes:
        setting: The strategy, the balancing, the loss and the size of the set.
        params: What all strategies share.
        collapse: Thresholds and action.
        fold: The labels.
        source: Where batches come from.
        suffix: The part that trains.
        fabric: Device, precision and processes.
        record: Called with each finished row of the history.
        progress: Where an interrupted run finds its state; None to keep none, and in every
            process but the first.
        epochs_before: Those of a training that this one follows; the history counts on.
    """

    setting: Setting
    params: TrainParams
    collapse: CollapseParams
    fold: Fold
    source: Source
    suffix: Suffix
    fabric: Fabric
    record: Callable[[Row], None]
    progress: Progress | None = None
    epochs_before: int = 0

    rows: list[Row] = field(default_factory=list, init=False)
    best: Best = field(default_factory=Best, init=False)
    waited: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.watch = Watch(self.setting, self.collapse)
        # Without blocks after the cut there is nothing to hold back.
        self.warmup = self.setting.strategy.warmup_epochs if len(self.suffix.blocks) else 0
        self.suffix.to(self.fabric.device).to(memory_format=torch.channels_last)
        check_share(self.params.batch_size, self.fabric.world_size)
        if self.fabric.world_size > 1 and self.fabric.device.type == "cuda":  # torch has no other
            nn.SyncBatchNorm.convert_sync_batchnorm(self.suffix)  # in place, names kept
        optimizer = make_optimizer(
            self.suffix, self.lr, self.params.weight_decay, self.params.layer_decay
        )
        self.optimizer: Any = self.fabric.setup_optimizers(optimizer)
        decay = self.params.ema_decay
        self.average = MovingAverage(self.suffix, decay) if decay else None
        counts = class_counts(self.fold.labels[self.fold.train], len(self.fold.classes))
        weights = loss_weights(counts, self.setting.balancing)
        self.loss = Loss(self.setting.loss, weights, counts, self.fabric.device)

    @property
    def answering(self) -> nn.Module:
        """What is judged and kept: the moving average where there is one, else the suffix."""
        return self.average.module if self.average else self.suffix

    @property
    def lr(self) -> float:
        """The learning rate of the strategy."""
        return self.setting.strategy.lr

    @property
    def epochs(self) -> int:
        """The epochs of the strategy, warm-up included."""
        return self.setting.strategy.epochs


def train(run: Run) -> Outcome:
    """Train from the start, or from where an interrupted run of the same key stopped.

    Raises:
        CollapseError: The model has collapsed and `collapse.action` is `fail`.
    """
    start = _resume(run)
    model: Any = None
    with trange(
        start, run.epochs, initial=start, total=run.epochs, unit="epoch", mininterval=1,
        desc=f"train {run.setting.name}", disable=not run.fabric.is_global_zero,
    ) as bar:  # fmt: skip
        for epoch in range(start + 1, run.epochs + 1):
            if model is None or epoch == run.warmup + 1:
                model = _enter_phase(run, epoch)
            rows = [_train_epoch(run, model, epoch), _validate(run, epoch)]
            for row in rows:
                run.rows.append(row)
                run.record(row)
            done = _judge(run, epoch, rows[-1]) or epoch == run.epochs
            bar.set_postfix({key: f"{rows[-1][key]:.3f}" for key in ("kappa", "bal_acc_adj")})
            bar.update()
            _keep(run, epoch, done)
            if done:
                break
    return Outcome(run.rows, run.best, _copy(run.answering), run.watch.alerts)


def learning_rate(run: Run, epochs_done: float) -> float:
    """Compute the rate: constant in the warm-up, then constant or a half cosine to 0.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983 (cosine annealing, without restarts).
    """
    if run.params.schedule == "constant" or epochs_done <= run.warmup:
        return run.lr
    share = (epochs_done - run.warmup) / max(1, run.epochs - run.warmup)
    return run.lr * (1 + math.cos(math.pi * min(1.0, share))) / 2


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


def _enter_phase(run: Run, epoch: int) -> Any:
    """Hold or release the blocks, and wrap the module anew: DDP fixes what trains at set-up."""
    if epoch <= run.warmup:
        run.suffix.warm_up()
    else:
        run.suffix.release()
    return run.fabric.setup_module(run.suffix)


def _train_epoch(run: Run, model: Any, epoch: int) -> Row:
    """Train one epoch; its metrics are those of the batches as they were drawn and seen."""
    number = run.epochs_before + epoch
    seed_everything(run.params.seed, number, run.fabric.global_rank)
    model.train()
    labels, train = run.fold.labels, run.fold.train
    order = train[draw_epoch(labels[train], run.setting.balancing, run.params.seed, number)]
    batches = split_evenly(order, run.params.batch_size)
    seen = Answers(run.fabric, batches)
    losses = torch.empty(len(batches), device=run.fabric.device)
    reads = _reads(batches, run.fabric, lambda mine: run.source.train_batch(mine, number))
    for step, (batch, read) in enumerate(reads):
        set_learning_rate(run.optimizer, learning_rate(run, epoch - 1 + step / len(batches)))
        logits = model(run.source.to_cut(read, run.fabric.device))
        loss = run.loss.share(logits, labels[batch], run.fabric.global_rank, run.fabric.world_size)
        run.optimizer.zero_grad(set_to_none=True)
        run.fabric.backward(loss)
        run.optimizer.step()
        if run.average:
            run.average.update(run.suffix)
        seen.add(logits)
        losses[step] = loss.detach() * len(batch)
    _share_statistics(run)
    total: Any = run.fabric.all_reduce(losses.sum())  # the mean over the processes
    return _row(run, epoch, "train", seen.gather(), labels[order], float(total) / len(order))


@torch.no_grad()
def _share_statistics(run: Run) -> None:
    """Give every process the mean of their BatchNorm statistics.

    Where BatchNorm isn't synchronised, each process has only seen its own images. Parameters need
    no such care: equal gradients keep them equal.
    """
    if run.fabric.world_size == 1:
        return
    modules = [run.suffix, run.average.module] if run.average else [run.suffix]
    for buffer in (b for module in modules for b in module.buffers() if b.is_floating_point()):
        mean: Any = run.fabric.all_reduce(buffer.clone())
        buffer.copy_(mean)


def _validate(run: Run, epoch: int) -> Row:
    """Measure the clean validation images; the loss is the plain cross-entropy."""
    logits = predict(run.answering, run.source, run.fold.val, run.fabric, run.params.batch_size)
    truth = run.fold.labels[run.fold.val]
    loss = cross_entropy(logits, torch.from_numpy(truth)).item()
    row = _row(run, epoch, "val", logits, truth, loss)
    at_end = epoch == run.epochs
    row["status"] = assess(row, run.fold.classes, run.collapse, at_end).status
    return row


def _row(run: Run, epoch: int, split: str, logits: Tensor, labels: np.ndarray, loss: float) -> Row:
    """Assemble one row of the history."""
    probabilities = logits.float().softmax(dim=1).numpy()
    number = run.epochs_before + epoch
    head = {"strategy": run.setting.name, "epoch": number, "split": split, "loss": loss}
    metrics = classification_metrics(labels, probabilities, run.fold.classes)
    return {**head, "lr": learning_rate(run, epoch - 1), **metrics, "status": ""}


def _judge(run: Run, epoch: int, row: Row) -> bool:
    """Update the best epoch, the watch and the waiting; say whether to stop early."""
    released = epoch > run.warmup
    rank = best_order(row)
    if released and rank > run.best.rank:
        run.best = Best(rank, row["epoch"], _copy(run.answering))
        run.waited = 0
    elif released:
        run.waited += 1
    patience = run.params.early_stopping_epochs
    stop = run.watch.follow(row["epoch"], assess(row, run.fold.classes, run.collapse))
    return stop or (0 < patience <= run.waited)


def best_order(row: Row) -> tuple[float, ...]:
    """Order epochs: first bal_acc_adj, then kappa, then AUC (an undefined one comes last)."""
    auc = row["auc_macro"]
    return (row["bal_acc_adj"], row["kappa"], -1.0 if auc is None else auc)


def _copy(suffix: nn.Module) -> State:
    return {key: value.detach().cpu().clone() for key, value in suffix.state_dict().items()}


def _keep(run: Run, epoch: int, done: bool) -> None:
    """Save the run's state, if that is due, so that it can go on from this epoch."""
    if run.progress is None or not (done or run.progress.due()):
        return
    state = {
        "epoch": epoch,
        "done": done,
        "suffix": _copy(run.suffix),
        "average": run.average.state() if run.average else None,
        "optimizer": run.optimizer.state_dict(),
        "rows": run.rows,
        "best": vars(run.best),
        "waited": run.waited,
        "watch": run.watch.state(),
    }
    run.progress.save(state)


def _resume(run: Run) -> int:
    """Restore an interrupted run; return the number of epochs that are done.

    The first process reads for all: each for itself might see another state of the same file.
    """
    state = run.fabric.broadcast(run.progress.load() if run.progress else None)
    if state is None:
        return 0
    run.suffix.load_state_dict(state["suffix"])
    if run.average:
        run.average.restore(state["average"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.rows, run.waited = list(state["rows"]), state["waited"]
    run.best = Best(**state["best"])
    run.watch.restore(state["watch"])
    for row in run.rows:
        run.record(row)
    logger.info("%s: goes on after epoch %d", run.setting.name, state["epoch"])
    return run.epochs if state["done"] else state["epoch"]
