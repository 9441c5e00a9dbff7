"""Predict as a deployed network does: pixels -> the whole network -> probabilities."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mammo.embedding.grey import Grey, no_grey, open_grey
from mammo.embedding.sources import Batch, CleanSource, FlippedPixels, Pixels
from mammo.evaluation.model import Model
from mammo.evaluation.params import EvaluateParams
from mammo.network.compute import compute_dtype
from mammo.network.devices import Devices
from mammo.network.inputs import read_ahead
from mammo.network.network import Network
from mammo.network.params import ComputeParams
from mammo.network.strategies import fold_batchnorm
from mammo.storage.tensors import Tensors


def predict_from_pixels(
    network: Network,
    tensors: Tensors,
    keys: Sequence[str],
    params: EvaluateParams,
    devices: Devices,
    dtype: torch.dtype,
    grey: Grey = no_grey,
) -> np.ndarray:
    """Predict images, never from stored activations: (n, K) probabilities in the order of `keys`.

    Args:
        network: With the trained suffix.
        tensors: The images.
        keys: Which ones.
        params: Batch size, test-time flip.
        devices: Device and processes.
        dtype: Of the prefix's arithmetic.
        grey: Grey features of the images, where the head reads them.
    """
    prefix = fold_batchnorm(network.prefix, dtype).to(devices.device)
    suffix, positions = network.suffix.to(devices.device), tensors.positions(keys)
    views = [Pixels, FlippedPixels] if params.test_time_flip else [Pixels]
    logits = [
        predict(suffix, view(tensors, prefix, dtype, grey), positions, devices, params.batch_size)
        for view in views
    ]
    return mean_probabilities(logits)


def predict_cases(
    model: Model,
    tensors: Path,
    keys: Sequence[str],
    params: EvaluateParams,
    compute: ComputeParams,
    devices: Devices,
) -> np.ndarray:
    """Predict stored images with a trained model: (n, K) probabilities in the order of `keys`.

    They assume the prior of the training.
    """
    grey = open_grey(tensors) if model.facts["grey"] else no_grey
    return predict_from_pixels(
        model.network, Tensors(tensors), keys, params, devices, compute_dtype(compute), grey
    )


def mean_probabilities(logits: Sequence[Tensor]) -> np.ndarray:
    """Average the probabilities of several views of the same images: each (n, K) -> (n, K).

    Source: Simonyan & Zisserman 2015, arXiv:1409.1556, section 3.2 (the image and its flip).
    """
    return torch.stack([view.softmax(dim=1) for view in logits]).mean(dim=0).numpy()


def predict(
    suffix: nn.Module, source: CleanSource, positions: np.ndarray, devices: Devices, batch_size: int
) -> Tensor:
    """Compute the logits of clean images, in the order of `positions`: (n, K) float32."""
    suffix.eval()
    batches = split_evenly(positions, batch_size)
    answers = Answers(devices, batches)
    with torch.inference_mode(), devices.autocast():
        for _, read in reads(batches, devices, source.clean_batch):
            answers.add(suffix(*source.to_cut(read, devices.device)))
        return answers.gather()


def split_evenly(positions: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Split into batches of about `batch_size` that differ by one image at most.

    No image is dropped, and none is left alone in a batch, where BatchNorm has no statistics: a
    batch may hold one image more than `batch_size` instead.
    """
    batches = max(1, min(math.ceil(len(positions) / batch_size), len(positions) // 2))
    return np.array_split(positions, batches)


def reads(
    batches: Sequence[np.ndarray], devices: Devices, read: Callable[[np.ndarray], Batch]
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Yield each whole batch with what this rank reads of it, reading ahead in a thread."""
    rank, ranks = devices.global_rank, devices.world_size
    return read_ahead((batch, read(batch[rank::ranks])) for batch in batches)


class Answers:
    """Room for all logits of a pass, taken when the first come.

    Kept one by one, the small tensors lie between the large ones that come and go with every
    batch, break up the heap, and let memory grow with the number of images.
    """

    def __init__(self, devices: Devices, batches: Sequence[np.ndarray]):
        self.devices = devices
        self.batches = batches
        self._mine: Tensor | None = None  # this process's, in the order of its batches
        self._filled = 0

    def add(self, logits: Tensor) -> None:
        """Take in this process's part of the next batch: (b, K)."""
        if self._mine is None:
            rank, ranks = self.devices.global_rank, self.devices.world_size
            count = sum(len(batch[rank::ranks]) for batch in self.batches)
            self._mine = logits.new_empty(count, logits.shape[1])
        end = self._filled + len(logits)
        self._mine[self._filled : end] = logits.detach()
        self._filled = end

    def gather(self) -> Tensor:
        """Put all processes' logits together: (n, K), in the order of the batches, on the CPU.

        Raises:
            ValueError: There was none, or not one for each image.
        """
        if self._mine is None or self._filled != len(self._mine):
            raise ValueError(f"{self._filled} images were answered, not all")
        logits: Any = self._mine
        rank, ranks = self.devices.global_rank, self.devices.world_size
        if ranks > 1:
            ends = np.cumsum([len(batch) for batch in self.batches])
            rows = np.split(np.arange(ends[-1]), ends[:-1])
            mine = np.concatenate([r[rank::ranks] for r in rows])
            whole = logits.new_zeros(ends[-1], logits.shape[1])
            whole[torch.from_numpy(mine).to(logits.device)] = logits
            logits = self.devices.all_reduce(whole, reduce_op="sum")  # the others have zeros here
        gathered: Tensor = logits.cpu()
        return gathered
