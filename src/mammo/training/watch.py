"""Watch a training for collapse: name the risks beforehand, raise the alarm when it happens."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mammo.cohort.recommendation import recommend
from mammo.errors import UserError
from mammo.evaluation.collapse import Assessment
from mammo.evaluation.metrics import Metrics
from mammo.training.balancing import imbalance_ratio, resolve
from mammo.training.params import remedies
from mammo.training.settings import Recipe

logger = logging.getLogger(__name__)


class CollapseError(UserError):
    """Training was ended by `collapse.action: fail`."""


def risks(recipe: Recipe, counts: np.ndarray) -> list[str]:
    """Name what is known to be risky in a recipe, before any time is spent on it.

    Args:
        recipe: Of the strategy.
        counts: Training images of each class: (K,).
    """
    balancing, strategy = resolve(recipe.balancing, recipe.loss, counts), recipe.strategy
    images, imbalance = int(counts.sum()), imbalance_ratio(counts)
    advice = recommend(images, imbalance)
    acting = remedies(balancing, recipe.loss)
    found = []
    if len(acting) > 1:
        found.append(
            f"balancing: {' and '.join(acting)} together count rare classes twice; "
            f"keep one ({list(acting.values())[-1]})"
        )
    elif not acting and imbalance > 1.5:
        found.append(
            f"balancing: neither sampler nor class weights nor an adjusted loss on an imbalanced "
            f"set ({imbalance:.1f} to 1); set balancing.weighted_sampler: auto"
        )
    if recipe.trained_blocks > advice.most_blocks(recipe.blocks):
        found.append(
            f"strategies.{recipe.name}: trains {recipe.trained_blocks} of {recipe.blocks} blocks "
            f"on {images} images; {advice.strategy} is recommended ({advice.reason})"
        )
    held = strategy.warmup_epochs if strategy.head == "gradient" else None
    if held is not None and recipe.trained_blocks and held < advice.warmup_epochs:
        found.append(
            f"strategies.{recipe.name}.warmup_epochs: an imbalance of {imbalance:.1f} to 1 asks "
            f"for a warm-up of at least {advice.warmup_epochs} epochs, got {held}"
        )
    return found


def defences(recipe: Recipe, counts: np.ndarray) -> list[str]:
    """List the defences that a recipe lacks, the strongest first."""
    strategy, balancing = recipe.strategy, resolve(recipe.balancing, recipe.loss, counts)
    acting = remedies(balancing, recipe.loss)
    lacking = []
    if recipe.trained_blocks > 0:
        advised = recommend(int(counts.sum()), imbalance_ratio(counts))
        more = advised.most_blocks(recipe.blocks) < recipe.trained_blocks
        lacking.append(
            f"freeze more of the network (strategy {advised.strategy if more else 'head_only'})"
        )
    if len(acting) > 1:
        lacking.append(f"switch one balancing off ({list(acting.values())[-1]})")
    elif not balancing.weighted_sampler:
        switches = ", ".join(["balancing.weighted_sampler: true", *acting.values()])
        lacking.append(f"balance the sampling ({switches})")
    if recipe.trained_blocks > 0 or strategy.head == "gradient":
        lacking.append(
            f"lower the learning rate (strategies.{recipe.name}.lr, now {strategy.lr:g})"
        )
    if recipe.trained_blocks > 0 and strategy.head == "gradient":
        lacking.append(
            f"start from a solved head (strategies.{recipe.name}.head: solved), or warm up longer "
            f"(strategies.{recipe.name}.warmup_epochs, now {strategy.warmup_epochs})"
        )
    if not recipe.trained_blocks:
        lacking.append(
            "more patients of the rare classes, or fewer classes (dataset.classes: ab_cd)"
        )
    return lacking


@dataclass
class Watch:
    """Follows the epochs of one training; its state can be saved and restored."""

    recipe: Recipe
    counts: np.ndarray
    streak: int = 0
    alerts: list[str] = field(default_factory=list)

    def follow(self, epoch: int, assessment: Assessment, held: int = 0) -> bool:
        """Take in one epoch; say whether the training should end now. Alarms are logged at once.

        Epochs of the warm-up raise no alarm: the head has only begun to learn.

        Args:
            epoch: Its number.
            assessment: Of the validation split.
            held: Epochs of the warm-up.

        Raises:
            CollapseError: The alarm is raised and the action is `fail`.
        """
        if epoch <= held:
            return False
        self.streak = self.streak + 1 if assessment.status == "collapsed" else 0
        if self.streak != self.recipe.collapse.patience:  # one alert for each streak
            return False
        when = f"collapsed at epoch {epoch}"
        return self._raise(when, assessment, f", {self.streak} epochs in a row")

    def judge(self, assessment: Assessment) -> None:
        """Take in the kept step of a solved head: there is no second one to wait for.

        Raises:
            CollapseError: It has collapsed and the action is `fail`.
        """
        if assessment.status == "collapsed":
            self._raise("the solved head has collapsed", assessment, "")

    def _raise(self, when: str, assessment: Assessment, how_long: str) -> bool:
        helps = "; ".join(defences(self.recipe, self.counts))
        alert = (
            f"{self.recipe.name}: {when} ({'; '.join(assessment.reasons)}){how_long}; "
            f"what helps: {helps}"
        )
        if self.recipe.collapse.action == "fail":
            raise CollapseError(alert)
        logger.warning("COLLAPSE: %s", alert)
        self.alerts.append(alert)
        return self.recipe.collapse.action == "stop"

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        return {"streak": self.streak, "alerts": list(self.alerts)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.streak, self.alerts = state["streak"], list(state["alerts"])


def epoch_line(epoch: int, metrics: Metrics, classes: Sequence[str], assessment: Assessment) -> str:
    """Say in one line what a validation looked like: predicted shares and status."""
    shares = "  ".join(
        f"{c} {100 * float(metrics[f'predicted_share_{c}'] or 0):.0f} %" for c in classes
    )
    why = f": {'; '.join(assessment.reasons)}" if assessment.reasons else ""
    return f"epoch {epoch}  {shares}  {assessment.status}{why}"
