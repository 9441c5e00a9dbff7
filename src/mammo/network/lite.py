"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6 in place of swish.

Parameters trained in TensorFlow need its arithmetic: padding "SAME" and BatchNorm's epsilon.

Source: Tan & Le 2019, arXiv:1905.11946 (the family and its scaling); the Lite variants are
TensorFlow's, github.com/tensorflow/tpu, models/official/efficientnet/lite.
"""

import math
from collections import OrderedDict
from functools import partial

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn.functional import dropout, pad

# One row a stage: kernel, stride, expansion, output channels and repeats of Lite0.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM, HEAD = 32, 1280  # channels, the same at every scale
DROPPED_RESIDUALS = 0.2  # the last residual's probability; the first one's is 0


@torch.fx.wrap  # a leaf to the tracer that folds BatchNorm: the shape is known only when it runs
def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad so that the strided convolution gives ceil(size / stride), the odd row at the end."""
    margins = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        margins += [total // 2, total - total // 2]
    return pad(x, margins)


class SamePadding(nn.Module):
    """TensorFlow's "SAME" padding before a strided convolution: (B, C, H, W) -> (B, C, H', W')."""

    def __init__(self, kernel: int, stride: int):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """Pad; how much depends on whether the size is even."""
        return pad_same(x, self.kernel, self.stride)


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True
) -> nn.Sequential:
    """Make a convolution with BatchNorm, and ReLU6 unless it ends a residual branch."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if stride > 1:
        layers["padding"] = SamePadding(kernel, stride)
    margin = 0 if stride > 1 else kernel // 2  # at stride 1 "SAME" is symmetric
    layers["conv"] = nn.Conv2d(inputs, outputs, kernel, stride, margin, groups=groups, bias=False)
    layers["norm"] = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
    if active:
        layers["relu"] = nn.ReLU6(inplace=True)
    return nn.Sequential(layers)


class StochasticDepth(nn.Module):
    """Drop an image's whole residual in training, and scale up those that stay.

    Torchvision has one too, but takes seconds to import.

    Source: Huang et al. 2016, arXiv:1603.09382.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape: (B, C, H, W) -> (B, C, H, W)."""
        if not self.training or self.p == 0:
            return x
        return x * dropout(x.new_ones(len(x), 1, 1, 1), self.p)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; with a shortcut where the shape stays the same."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, dropped: float
    ):
        super().__init__()
        inner = inputs * expansion
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion > 1:
            layers["expand"] = convolution(inputs, inner, 1)
        layers["depthwise"] = convolution(inner, inner, kernel, stride, groups=inner)
        layers["project"] = convolution(inner, outputs, 1, active=False)
        self.branch = nn.Sequential(layers)
        self.shortcut = stride == 1 and inputs == outputs
        self.depth = StochasticDepth(dropped)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, C, H, W) -> (B, C', H', W')."""
        y: Tensor = x + self.depth(self.branch(x)) if self.shortcut else self.branch(x)
        return y


class EfficientNetLite(nn.Module):
    """The network with ImageNet's 1,000 classes; `features` are its nine blocks."""

    def __init__(self, width: float, depth: float, dropout: float):
        super().__init__()
        plan = _plan(width, depth)
        total = sum(len(stage) for stage in plan)
        blocks: list[nn.Module] = [convolution(3, STEM, 3, stride=2)]
        inputs, built = STEM, 0
        for stage in plan:
            residuals = []
            for kernel, stride, expansion, outputs in stage:
                dropped = DROPPED_RESIDUALS * built / total
                residuals.append(
                    InvertedResidual(inputs, outputs, kernel, stride, expansion, dropped)
                )
                inputs, built = outputs, built + 1
            blocks.append(nn.Sequential(*residuals))
        blocks.append(convolution(inputs, HEAD, 1))
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(HEAD, 1000))
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ImageNet's logits: (B, 3, H, W) -> (B, 1000)."""
        logits: Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return logits


def _plan(width: float, depth: float) -> list[list[tuple[int, int, int, int]]]:
    """Scale the stages: for each its residuals' kernel, stride, expansion and output channels."""
    plan = []
    for number, (kernel, stride, expansion, outputs, repeats) in enumerate(STAGES):
        ends = number in (0, len(STAGES) - 1)  # Lite doesn't deepen its first and last stage
        count = repeats if ends else math.ceil(repeats * depth)
        channels = _scaled(outputs, width)
        plan.append([(kernel, stride if i == 0 else 1, expansion, channels) for i in range(count)])
    return plan


def _scaled(channels: int, width: float) -> int:
    """Multiply, and round to a multiple of 8 that is at least nine tenths of it."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def _initialise(network: nn.Module) -> None:
    """Draw fresh parameters as torchvision does for EfficientNet; on meta there is nothing to."""
    for module in network.modules():
        if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
            continue  # drawing would import torch's compiler, which takes seconds
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.out_features)
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)


efficientnet_lite0 = partial(EfficientNetLite, width=1.0, depth=1.0, dropout=0.2)
efficientnet_lite1 = partial(EfficientNetLite, width=1.0, depth=1.1, dropout=0.2)
efficientnet_lite2 = partial(EfficientNetLite, width=1.1, depth=1.2, dropout=0.3)
