"""The logits of one pass over the images, collected batch by batch and from all processes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor


class Answers:
    """Room for all logits of a pass, taken when the first come.

    Kept one by one, the small tensors lie between the large ones that come and go with every
    batch, break up the heap, and let memory grow with the number of images.
    """

    def __init__(self, fabric: Fabric, batches: Sequence[np.ndarray]):
        self.fabric = fabric
        self.batches = batches
        self._mine: Tensor | None = None  # this process's, in the order of its batches
        self._filled = 0

    def add(self, logits: Tensor) -> None:
        """Take in this process's part of the next batch: (b, K)."""
        if self._mine is None:
            rank, ranks = self.fabric.global_rank, self.fabric.world_size
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
        rank, ranks = self.fabric.global_rank, self.fabric.world_size
        if ranks > 1:
            ends = np.cumsum([len(batch) for batch in self.batches])
            rows = np.split(np.arange(ends[-1]), ends[:-1])
            mine = np.concatenate([r[rank::ranks] for r in rows])
            whole = logits.new_zeros(ends[-1], logits.shape[1])
            whole[torch.from_numpy(mine).to(logits.device)] = logits
            logits = self.fabric.all_reduce(whole, reduce_op="sum")  # the others have zeros here
        return logits.cpu()
