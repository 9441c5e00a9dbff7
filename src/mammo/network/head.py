"""Heads: from the pooled features of some blocks to one logit a class.

Every head answers with K logits whose softmax is the probability of each class, so nothing after
it needs to know which head it was.
"""

from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad

HeadKind = Literal["multinomial", "ordinal", "corn"]

# The logit of a class that no training image had: its probability is 0 in every precision.
ABSENT = -1e4


class ProportionalOdds(nn.Module):
    """From one score to K classes in order, by K - 1 ascending thresholds.

    P(class <= k) = sigmoid(threshold k - score). The thresholds ascend by construction: the first
    is free, each further one lies an exponential above the one before.

    Source: McCullagh 1980, J. R. Stat. Soc. B 42, 109-142 (the proportional odds model).
    """

    def __init__(self, classes: int):
        super().__init__()
        # the first threshold, then logarithms of the gaps
        self.steps = nn.Parameter(torch.empty(classes - 1))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Put the thresholds one apart, and in the middle of them 0."""
        self.steps.zero_()
        self.steps[0] = -0.5 * (len(self.steps) - 1)

    @property
    def thresholds(self) -> Tensor:
        """The thresholds: (K - 1,) ascending."""
        return torch.cumsum(torch.cat([self.steps[:1], self.steps[1:].exp()]), dim=0)

    @torch.no_grad()
    def place(self, thresholds: Tensor) -> None:
        """Take over thresholds: (K - 1,) strictly ascending."""
        self.steps.copy_(torch.cat([thresholds[:1], thresholds.diff().log()]))

    def forward(self, score: Tensor) -> Tensor:
        """Compute log-probabilities: (B, 1) -> (B, K)."""
        beyond = self.thresholds - score  # (B, K - 1)
        upper = logsigmoid(pad(beyond, (0, 1), value=torch.inf))  # P(class <= k)
        lower = logsigmoid(-pad(beyond, (1, 0), value=-torch.inf))  # P(class > k - 1)
        # P(class k) = P(<= k) P(> k - 1) (1 - exp(-gap)), exact where differences would cancel
        gaps = torch.log1p(-torch.exp(-self.thresholds.diff()))
        return upper + lower + pad(gaps, (1, 1))


class ConditionalRanks(nn.Module):
    """From K - 1 answers to "beyond class k, given beyond class k - 1?" to K classes.

    P(beyond k) is the product of the conditional probabilities up to k, hence never grows with
    k; P(class k) = P(beyond k - 1) - P(beyond k).

    Source: Shi 2021, arXiv:2111.08851 (CORN: the chain rule). The prediction here is the likeliest
    class, as for every other head, where the paper takes the median.
    """

    def forward(self, logits: Tensor) -> Tensor:
        """Compute log-probabilities: (B, K - 1) -> (B, K)."""
        beyond, within = logsigmoid(logits), logsigmoid(-logits)
        reached = [beyond[:, :k].sum(dim=1) for k in range(logits.shape[1] + 1)]
        return torch.stack(reached, dim=1) + pad(within, (0, 1))  # the last class has no beyond


class RandomFourier(nn.Module):
    """Features whose inner products approximate a Gaussian kernel: fixed, never trained.

    Source: Rahimi & Recht 2007, NeurIPS 20 (random Fourier features cos(w x + b); their
    common factor sqrt(2 / D) is left to the weights that follow).
    """

    weight: Tensor  # (D, F)
    phase: Tensor  # (D,)

    def __init__(self, features: int, dimension: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(dimension, features))
        self.register_buffer("phase", torch.zeros(dimension))

    def forward(self, features: Tensor) -> Tensor:
        """Compute the random features: (B, F) -> (B, D)."""
        angles = nn.functional.linear(features, self.weight, self.phase)
        return angles.cos()


class Present(nn.Module):
    """Spread the logits of the classes that training images had over all classes."""

    def __init__(self, classes: int, present: tuple[int, ...]):
        super().__init__()
        self.classes, self.present = classes, present

    def forward(self, logits: Tensor) -> Tensor:
        """Give absent classes probability 0: (B, K present) -> (B, K)."""
        columns = list(logits.unbind(dim=1))
        absent = torch.full_like(columns[0], ABSENT)
        spread = [absent] * self.classes
        for column, k in zip(columns, self.present, strict=True):
            spread[k] = column
        return torch.stack(spread, dim=1)


@dataclass(frozen=True)
class HeadShape:
    """What a head is made of, but for its parameters.

    Attributes:
        kind: `multinomial` (softmax), `ordinal` (proportional odds), `corn` (conditional ranks).
        features: Numbers that it reads of an image.
        classes: K.
        kernel: Random Fourier features between the two; 0 for none.
        present: Positions of the classes that training images had; None for all.
    """

    kind: HeadKind
    features: int
    classes: int
    kernel: int = 0
    present: tuple[int, ...] | None = None

    def as_values(self) -> dict[str, Any]:
        """Return plain JSON values, from which `of_values` makes the same again."""
        return asdict(self)

    @classmethod
    def of_values(cls, values: dict[str, Any]) -> "HeadShape":
        """Read what `as_values` wrote."""
        present = values["present"]
        return cls(**{**values, "present": tuple(present) if present is not None else None})


def make_head(shape: HeadShape, dropout: float = 0.0) -> nn.Sequential:
    """Make a head: (B, features) -> (B, K), initialised as torch does, behind dropout.

    Parameters: K (features + 1) of a multinomial head, features + K - 1 of an ordinal one.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if shape.kernel:
        parts["kernel"] = RandomFourier(shape.features, shape.kernel)
    parts["dropout"] = nn.Dropout(dropout)
    reads = shape.kernel or shape.features
    answered = shape.classes if shape.present is None else len(shape.present)
    if shape.kind == "ordinal":
        parts["linear"] = nn.Linear(reads, 1, bias=False)
        parts["order"] = ProportionalOdds(answered)
    elif shape.kind == "corn":
        parts["linear"] = nn.Linear(reads, answered - 1)
        parts["ranks"] = ConditionalRanks()
    else:
        parts["linear"] = nn.Linear(reads, answered)
    if answered < shape.classes:
        parts["present"] = Present(shape.classes, tuple(shape.present or ()))
    return nn.Sequential(parts)
