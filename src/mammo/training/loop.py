"""Train a suffix by gradient: release the blocks, keep an epoch, watch for collapse."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import trange

from mammo.errors import UserError
from mammo.evaluation.collapse import assess
from mammo.evaluation.inference import Answers, reads, split_evenly
from mammo.network.compute import seed_everything
from mammo.network.strategies import Suffix
from mammo.training.balancing import draw_epoch
from mammo.training.history import Row
from mammo.training.job import Job, learning_rate
from mammo.training.optimizers import set_learning_rate
from mammo.training.outcome import Best, Outcome, best_order, copy_state
from mammo.training.state import Training
from mammo.training.validation import make_row, predict_validation, validation_row
from mammo.training.watch import epoch_line

logger = logging.getLogger(__name__)


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


def _resume(job: Job, training: Training, saved: dict[str, Any] | None) -> int:
    """Restore an interrupted training; return the number of epochs that are done."""
    if saved is None:
        return 0
    training.restore(saved)
    for row in training.rows:
        job.record(row)
    logger.info("%s: goes on after epoch %d", job.recipe.name, saved["epoch"])
    return job.recipe.strategy.epochs if saved["done"] else int(saved["epoch"])
