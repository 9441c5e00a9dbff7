"""Everything in params.yaml that determines the training of one strategy."""

from dataclasses import dataclass
from typing import Any

from mammo.cohort.classes import CLASSES, ClassSet
from mammo.embedding.params import AugmentParams
from mammo.evaluation.params import CollapseParams
from mammo.heads.params import HeadParams
from mammo.network.head import HeadKind
from mammo.network.params import (
    BLOCK_NAMES,
    BackboneParams,
    ComputeParams,
    StrategyParams,
    blocks_read,
    strategy_cut,
)
from mammo.params import load_leaf, load_params
from mammo.training.params import BalancingParams, LossParams, TrainParams

_SECTIONS = (
    "strategy", "backbone", "head", "train", "balancing", "loss", "collapse", "augment", "compute",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """The sections that one training reads.

    Attributes:
        name: The strategy's.
        classes: The class names.
    """

    name: str
    classes: list[str]
    strategy: StrategyParams
    backbone: BackboneParams
    head: HeadParams
    train: TrainParams
    balancing: BalancingParams
    loss: LossParams
    collapse: CollapseParams
    augment: AugmentParams
    compute: ComputeParams

    @property
    def cut(self) -> int:
        """The number of frozen blocks."""
        return strategy_cut(self.backbone, self.strategy, self.name)

    @property
    def blocks(self) -> int:
        """The number of all blocks."""
        return len(BLOCK_NAMES[self.backbone.arch])

    @property
    def trained_blocks(self) -> int:
        """The number of blocks after the cut."""
        return self.blocks - self.cut

    @property
    def by_gradient(self) -> bool:
        """Whether anything trains by gradient; a head alone may be solved instead."""
        return self.strategy.head == "gradient" or self.trained_blocks > 0

    @property
    def reads(self) -> tuple[str, ...]:
        """The blocks whose pooled features the head reads."""
        key = f"strategies.{self.name}"
        return blocks_read(self.backbone.arch, self.strategy.features, key)

    @property
    def head_kind(self) -> HeadKind:
        """What the head is: CORN brings its own, whatever `head.model` says."""
        return "corn" if self.loss.name == "corn" else self.head.model

    def as_values(self) -> dict[str, Any]:
        """Return all that determines the training as plain JSON values."""
        sections = {key: getattr(self, key).model_dump(mode="json") for key in _SECTIONS}
        return {**sections, "name": self.name, "classes": self.classes}


def load_recipe(name: str) -> Recipe:
    """Load the recipe of the strategy called `name`.

    Raises:
        UserError: A key of params.yaml is missing, unknown or out of range.
    """
    return Recipe(
        name=name,
        classes=list(CLASSES[load_leaf("dataset.classes", ClassSet)]),
        strategy=load_params(f"strategies.{name}", StrategyParams),
        backbone=load_params("backbone", BackboneParams),
        head=load_params("head", HeadParams),
        train=load_params("train", TrainParams),
        balancing=load_params("balancing", BalancingParams),
        loss=load_params("loss", LossParams),
        collapse=load_params("collapse", CollapseParams),
        augment=load_params("augment", AugmentParams),
        compute=load_params("compute", ComputeParams),
    )
