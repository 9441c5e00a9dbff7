"""Measure an epoch: a row of the history from the logits of a split."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mammo.evaluation.collapse import assess
from mammo.evaluation.inference import predict
from mammo.evaluation.metrics import classification_metrics
from mammo.training.history import Row
from mammo.training.job import Job, learning_rate


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
