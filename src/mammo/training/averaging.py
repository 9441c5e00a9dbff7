"""A moving average of a module's state, which is steadier than the state itself."""

import copy
from typing import Any

import torch
from torch import nn

from mammo.evaluation.suffix_file import State


class MovingAverage:
    """The exponential moving average of all floating-point state, BatchNorm's statistics included.

    After step t (from 1) average = d average + (1 - d) state with d = min(decay, (1 + t) / (10 +
    t)): a short training would otherwise never forget its first state.

    Source: Polyak & Juditsky 1992 (averaging); Tarvainen & Valpola 2017, arXiv:1703.01780
    (exponential); the bound for early steps is TensorFlow's, of
    `tf.train.ExponentialMovingAverage(num_updates=…)`.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module's state after a step of the optimizer."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        new = module.state_dict()
        for key, average in self.module.state_dict().items():
            if average.is_floating_point():
                average.lerp_(new[key], 1 - decay)
            else:  # a count
                average.copy_(new[key])

    def state(self) -> dict[str, State | int]:
        """Return what `restore` needs."""
        return {"steps": self.steps, "module": self.module.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.steps = state["steps"]
        self.module.load_state_dict(state["module"])
