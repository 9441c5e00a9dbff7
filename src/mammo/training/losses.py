"""What a training minimises: cross-entropy, its forms for a long tail, or an ordinal loss.

The network answers with K logits whatever the loss, so nothing after it needs to know which one
was chosen: the adjusted losses adjust only here, and CORN's head has turned its K - 1 conditional
logits into log-probabilities already (`mammo.network.head.ConditionalRanks`).
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mammo.training.params import LossParams


def logit_adjustment(counts: np.ndarray, params: LossParams) -> np.ndarray:
    """Compute what is added to the logits while training: (K,) -> (K,); 0 for the other losses.

    A class without images counts as one with a single image: the logarithm of 0 is of no use.

    Source:
        Menon 2021, arXiv:2007.07314, equation 10: tau log(prior). Ren 2020, arXiv:2007.10740,
        equation 4: log(count), which is the same with tau 1, up to a constant that the softmax
        doesn't see. At test time the plain logits answer.
    """
    counts = np.maximum(counts, 1)
    if params.name == "logit_adjusted":
        adjustment: np.ndarray = params.tau * np.log(counts / counts.sum())
        return adjustment
    return np.log(counts) if params.name == "balanced_softmax" else np.zeros(len(counts))


class Loss:
    """The loss of a batch that may be spread over several processes.

    Attributes:
        weights: (K,) of the classes; an image's whole loss is weighed, its smoothed part too.
        adjustment: (K,) added to the logits.
        terms: (K,) the number of terms that an image of a class has in the mean: 1, but for
            CORN its conditional questions, of which an image of class k is asked k + 1, at most
            K - 1 (it is in the training subsets S_1 to S_k+1). The sum of their binary
            cross-entropies is -log(probability of its class), for that probability is their
            product; so CORN's loss differs from cross-entropy in the denominator only.
        targets: (K, K) smoothed, by label: a share of each is spread over the classes that have
            images; None without smoothing.
        gamma: Of focal loss, else 0.

    Source:
        CORN: Shi 2021, arXiv:2111.08851 (conditional training subsets). Label smoothing:
        Szegedy 2016, arXiv:1512.00567, section 7. Focal loss: Lin 2017, arXiv:1708.02002,
        equation 5, with the class weights as alpha.
    """

    def __init__(
        self, params: LossParams, weights: np.ndarray, counts: np.ndarray, device: torch.device
    ):
        classes = len(counts)
        asked = np.minimum(np.arange(classes) + 1, max(1, classes - 1))

        def tensor(values: np.ndarray) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        self.weights = tensor(weights)
        self.adjustment = tensor(logit_adjustment(counts, params))
        self.terms = tensor(asked if params.name == "corn" else np.ones(classes))
        present = counts > 0
        spread = np.where(present, params.label_smoothing / present.sum(), 0.0)
        smooth = (1 - params.label_smoothing) * np.eye(classes) + spread
        self.targets = tensor(smooth) if params.label_smoothing else None
        self.gamma = params.gamma if params.name == "focal" else 0.0

    def share(self, logits: Tensor, labels: np.ndarray, rank: int = 0, ranks: int = 1) -> Tensor:
        """Compute one process's share of the batch's weighted mean.

        The mean over the processes, which DDP takes of the gradients, is the loss of the whole
        batch.

        Args:
            logits: (b, K) of the images that this process has: `rank`, `rank + ranks`, …
            labels: (B,) of the whole batch.
            rank: Of this process.
            ranks: The number of processes.
        """
        truth = torch.from_numpy(labels).to(logits.device)
        mine = truth[rank::ranks]
        target = mine if self.targets is None else self.targets[mine]
        each = cross_entropy(logits + self.adjustment, target, reduction="none")
        if self.gamma:
            # never 0, where the slope of a power below 1 is infinite
            wrong = (-torch.expm1(-each)).clamp(min=torch.finfo(each.dtype).tiny)
            each = each * wrong**self.gamma
        total = (self.weights[mine] * each).sum()
        return total * ranks / (self.weights * self.terms)[truth].sum()
