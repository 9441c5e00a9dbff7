"""Model collapse: one answer for everybody while accuracy looks fine. Detect it; say what helps.

Three questions are answered here: which configurations are known to collapse (`risks`), whether
a set of predictions has collapsed (`assess`), and what to do when an alarm is raised (`Watch`).
"""

from dataclasses import dataclass, field
from typing import Any

from mammo.errors import UserError
from mammo.evaluation.collapse import Assessment
from mammo.evaluation.params import CollapseParams
from mammo.network.params import StrategyParams
from mammo.training.params import BalancingParams, LossParams, remedies


@dataclass(frozen=True)
class Setting:
    """What a training run is about to do, as far as it bears on collapse."""

    name: str
    strategy: StrategyParams
    balancing: BalancingParams
    blocks: int
    images: int
    imbalance: float
    loss: LossParams


def recommended_cut(images: int) -> str:
    """Name the strategy for a number of training images: the less data, the more is frozen."""
    for limit, name in ((500, "head_only"), (2_000, "last_block"), (10_000, "last_two_blocks")):
        if images < limit:
            return name
    return "full"


def risks(setting: Setting) -> list[str]:
    """Name what is known to be risky in a configuration, before any time is spent on it."""
    balancing, strategy = setting.balancing, setting.strategy
    trained = setting.blocks if strategy.train_backbone else strategy.unfreeze_last_blocks
    advised = recommended_cut(setting.images)
    blocks = {"head_only": 0, "last_block": 1, "last_two_blocks": 2, "full": setting.blocks}
    acting = remedies(balancing, setting.loss)
    found = []
    if len(acting) > 1:
        found.append(
            f"balancing: {' and '.join(acting)} together count rare classes twice; "
            f"keep one ({list(acting.values())[-1]})"
        )
    elif not acting and setting.imbalance > 1.5:
        found.append(
            f"balancing: neither sampler nor class weights nor an adjusted loss on an imbalanced "
            f"set ({setting.imbalance:.1f} to 1); set balancing.weighted_sampler: true"
        )
    if trained > blocks[advised]:
        found.append(
            f"strategies.{setting.name}: trains {trained} of {setting.blocks} blocks on "
            f"{setting.images} images; {advised} is recommended for a set of this size"
        )
    if setting.imbalance > 10 and not (balancing.weighted_sampler or setting.loss.adjusts):
        found.append(
            f"balancing: an imbalance of {setting.imbalance:.1f} to 1 asks for the sampler "
            "(balancing.weighted_sampler: true)"
        )
    if setting.imbalance > 10 and trained > 0 and strategy.warmup_epochs < 2:
        found.append(
            f"strategies.{setting.name}.warmup_epochs: an imbalance of {setting.imbalance:.1f} "
            f"to 1 asks for a warm-up of at least 2 epochs, got {strategy.warmup_epochs}"
        )
    return found


def defences(setting: Setting) -> list[str]:
    """List the defences that this configuration lacks, the strongest first."""
    strategy, balancing = setting.strategy, setting.balancing
    acting = remedies(balancing, setting.loss)
    trained = setting.blocks if strategy.train_backbone else strategy.unfreeze_last_blocks
    lacking = []
    if trained > 0:
        fewer = "head_only" if trained == 1 else recommended_cut(min(setting.images, 1_999))
        lacking.append(f"freeze more of the network (strategy {fewer})")
    if len(acting) > 1:
        lacking.append(f"switch one balancing off ({list(acting.values())[-1]})")
    elif not balancing.weighted_sampler:
        switches = ", ".join(["balancing.weighted_sampler: true", *acting.values()])
        lacking.append(f"balance the sampling ({switches})")
    lacking.append(f"lower the learning rate (strategies.{setting.name}.lr, now {strategy.lr:g})")
    if trained > 0:
        lacking.append(
            f"warm up longer (strategies.{setting.name}.warmup_epochs, "
            f"now {strategy.warmup_epochs})"
        )
    return lacking


class CollapseError(UserError):
    """Training was ended by `collapse.action: fail`."""


@dataclass
class Watch:
    """Follows the epochs of one run; its state is `streak`, so that a run can be resumed."""

    setting: Setting
    params: CollapseParams
    streak: int = 0
    alerts: list[str] = field(default_factory=list)

    def follow(self, epoch: int, assessment: Assessment) -> bool:
        """Take in one epoch; say whether the training should end now.

        Epochs of the warm-up raise no alarm: the head has only begun to learn.

        Raises:
            CollapseError: The alarm is raised and the action is `fail`.
        """
        if epoch <= self.setting.strategy.warmup_epochs:
            return False
        self.streak = self.streak + 1 if assessment.status == "collapsed" else 0
        if self.streak != self.params.patience:  # one alert for each streak
            return False
        alert = (
            f"{self.setting.name}: collapsed at epoch {epoch} ({'; '.join(assessment.reasons)}), "
            f"{self.streak} epochs in a row; what helps: {'; '.join(defences(self.setting))}"
        )
        if self.params.action == "fail":
            raise CollapseError(alert)
        self.alerts.append(alert)
        return self.params.action == "stop"

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        return {"streak": self.streak, "alerts": list(self.alerts)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.streak, self.alerts = state["streak"], list(state["alerts"])
