"""The problem that a solved head is the solution of: balancing as weights, the loss as objective.

It knows the sections of params.yaml that state it, and nothing of a recipe: what solves heads
outside of training (the doubts of a review, a bundle's calibration) states the same problem.
"""

from dataclasses import dataclass, replace

import numpy as np

from mammo.heads.multinomial import Objective
from mammo.heads.params import HeadParams
from mammo.heads.path import Path, Table, solve_path
from mammo.training.balancing import class_counts, expected_weights, resolve, training_prior
from mammo.training.losses import logit_adjustment
from mammo.training.params import BalancingParams, LossParams


@dataclass(frozen=True)
class Balance:
    """What balancing makes of the classes that a head is fitted on.

    Attributes:
        counts: (K,) images of each class.
        weights: (K,) of an image of each class: the sampler's expectation times the loss's.
        prior: (K,) class shares that the head's probabilities assume.
        adjustment: (K,) that the loss adds to the logits.
    """

    counts: np.ndarray
    weights: np.ndarray
    prior: np.ndarray
    adjustment: np.ndarray


@dataclass(frozen=True)
class Solving:
    """How heads are solved: the same for every strategy.

    Attributes:
        classes: The class names.
    """

    classes: list[str]
    head: HeadParams
    balancing: BalancingParams
    loss: LossParams

    def plain(self) -> "Solving":
        """State the same for what is no network's: a linear head, its penalty cross-fitted."""
        head = self.head.model_copy(update={"kernel": "none", "select": "cross_fit"})
        return replace(self, head=head)

    def balance(self, labels: np.ndarray) -> Balance:
        """Balance the classes of some labels: (n,) positions among the classes."""
        counts = class_counts(labels, len(self.classes))
        balancing = resolve(self.balancing, self.loss, counts)
        adjustment = logit_adjustment(counts, self.loss)
        prior = training_prior(counts, balancing, adjustment)
        return Balance(counts, expected_weights(counts, balancing), prior, adjustment)

    def path(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        patients: np.ndarray,
        widths: tuple[int, ...] = (),
    ) -> Path:
        """Solve the head for every penalty.

        Args:
            features: (n, V, F) of all views; view 0 is the clean one.
            labels: (n,) positions among the classes.
            patients: (n,).
            widths: How many features each block has, one after the other; none where all are of
                one kind.
        """
        balance = self.balance(labels)
        objective = None  # an ordinal head has a likelihood of its own
        if self.head.model == "multinomial":
            gamma = self.loss.gamma if self.loss.name == "focal" else 0.0
            objective = Objective(balance.adjustment, self.loss.label_smoothing, gamma)
        table = Table(features, labels, balance.weights[labels], patients, widths)
        return solve_path(table, len(self.classes), self.head, objective)
