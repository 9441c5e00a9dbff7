"""Everything in params.yaml that determines the training of one strategy."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mammo.cohort.cases import Fold
from mammo.cohort.classes import CLASSES, ClassSet
from mammo.embedding.params import AugmentParams
from mammo.evaluation.params import CollapseParams
from mammo.network.params import BackboneParams, ComputeParams, StrategyParams, strategy_cut
from mammo.params import load_leaf, load_params
from mammo.training.balancing import class_counts, imbalance_ratio
from mammo.training.params import BalancingParams, LossParams, TrainParams
from mammo.training.watch import Setting


@dataclass(frozen=True)
class Settings:
    """The sections that one training reads; `cut` counts the blocks before the cut."""

    name: str
    classes: list[str]
    cut: int
    strategy: StrategyParams
    backbone: BackboneParams
    train: TrainParams
    balancing: BalancingParams
    loss: LossParams
    collapse: CollapseParams
    augment: AugmentParams
    compute: ComputeParams

    def describe(self, fold: Fold, blocks: int) -> Setting:
        """Say what bears on collapse: the strategy, the balancing, the size of the set."""
        labels = fold.labels[fold.train]
        imbalance = imbalance_ratio(class_counts(labels, len(self.classes)))
        images = len(np.unique(fold.train))
        return Setting(
            self.name, self.strategy, self.balancing, blocks, images, imbalance, self.loss
        )

    def facts(self) -> dict[str, Any]:
        """List what is needed to use the trained suffix."""
        return {
            "strategy": self.name,
            "arch": self.backbone.arch,
            "cut": self.cut,
            "classes": self.classes,
            "dropout": self.train.dropout,
            "ordinal": self.loss.ordinal,
        }

    def as_values(self) -> dict[str, Any]:
        """Return all settings as plain JSON values."""
        sections = (
            "strategy", "backbone", "train", "balancing", "loss", "collapse", "augment", "compute",
        )  # fmt: skip
        values = {name: getattr(self, name).model_dump(mode="json") for name in sections}
        return {**values, **self.facts()}


def load_settings(name: str) -> Settings:
    """Load the settings of the strategy called `name`.

    Raises:
        UserError: A key of params.yaml is missing, unknown or out of range.
    """
    strategy = load_params(f"strategies.{name}", StrategyParams)
    backbone = load_params("backbone", BackboneParams)
    return Settings(
        name=name,
        classes=list(CLASSES[load_leaf("dataset.classes", ClassSet)]),
        cut=strategy_cut(backbone, strategy, name),
        strategy=strategy,
        backbone=backbone,
        train=load_params("train", TrainParams),
        balancing=load_params("balancing", BalancingParams),
        loss=load_params("loss", LossParams),
        collapse=load_params("collapse", CollapseParams),
        augment=load_params("augment", AugmentParams),
        compute=load_params("compute", ComputeParams),
    )
