"""A moving average of a module's state, which is steadier than the state itself."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mammo.evaluation.suffix_file import State

Tensors = tuple[Tensor, ...] | list[Tensor]


class MovingAverage:
    """The exponential moving average of all floating-point state, BatchNorm's statistics included.

    After step t (from 1) average = d average + (1 - d) state with d = min(decay, (1 + t) / (10 +
    t)): a short training would otherwise never forget its first state.

    Source: Polyak & Juditsky 1992 (averaging); Tarvainen & Valpola 2017, arXiv:1703.01780
    (exponential); the bound for early steps is TensorFlow's, of
    `tf.train.ExponentialMovingAverage(num_updates=…)`.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.averaged = AveragedModel(module, multi_avg_fn=self._average, use_buffers=True)
        self.averaged.requires_grad_(False).eval()
        self.averaged.n_averaged += 1  # the first state counts; torch would overwrite it

    @property
    def module(self) -> nn.Module:
        """The module that holds the average."""
        return self.averaged.module

    def update(self, module: nn.Module) -> None:
        """Take in the module's state after a step of the optimizer."""
        self.averaged.update_parameters(module)

    def state(self) -> State:
        """Return what `restore` needs."""
        return self.averaged.state_dict()

    def restore(self, state: State) -> None:
        """Go on from a saved state."""
        self.averaged.load_state_dict(state)

    @torch.no_grad()
    def _average(self, averages: Tensors, news: Tensors, steps: Tensor | int) -> None:
        if averages[0].is_floating_point():
            step = int(steps)
            torch._foreach_lerp_(averages, news, 1 - min(self.decay, (1 + step) / (10 + step)))
        else:  # a count
            torch._foreach_copy_(averages, news)
