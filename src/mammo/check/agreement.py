"""Refuse settings that are sound each, and don't go together."""

from collections.abc import Sequence
from typing import Any

from mammo.cohort.classes import CLASSES
from mammo.cohort.params import SplitParams
from mammo.datasets.params import DatasetParams
from mammo.errors import UserError
from mammo.heads.params import HeadParams
from mammo.network.params import (
    BLOCK_NAMES,
    FIXED_SIZE_PX,
    WITHOUT_BATCHNORM,
    BackboneParams,
    StrategyParams,
    blocks_read,
    strategy_cut,
)
from mammo.preprocess.params import PreprocessParams
from mammo.training.params import BalancingParams, LossParams, TrainParams, remedies


def check_agreement(values: dict[str, Any]) -> None:
    """Refuse what two sections of params.yaml say against each other.

    Args:
        values: Whose sections are sound, each by itself.

    Raises:
        UserError: Names the first.
    """
    _check_split(
        DatasetParams.model_validate(values["dataset"]), SplitParams.model_validate(values["split"])
    )
    balancing = BalancingParams.model_validate(values["balancing"])
    loss = LossParams.model_validate(values["loss"])
    train = TrainParams.model_validate(values["train"])
    _check_weights(balancing, CLASSES[values["dataset"]["classes"]])
    _check_balance(balancing, loss, train)
    backbone = BackboneParams.model_validate(values["backbone"])
    _check_size(backbone, PreprocessParams.model_validate(values["preprocess"]))
    head = HeadParams.model_validate(values["head"])
    for name, entry in values["strategies"].items():
        strategy = StrategyParams.model_validate(entry)
        _check_reached(name, strategy, backbone)
        _check_batchnorm(name, strategy, backbone, train)
        _check_head(name, strategy, head, loss)


def _check_split(dataset: DatasetParams, split: SplitParams) -> None:
    """Refuse to follow a published split that no column of one's own table holds."""
    if split.source == "published" and dataset.name == "csv" and dataset.columns.split is None:
        raise UserError(
            "params.yaml: split.source: must be grouped while dataset.columns.split names no "
            "column, got published; name the column, or set split.source: grouped"
        )


def _check_reached(name: str, strategy: StrategyParams, backbone: BackboneParams) -> None:
    """Refuse blocks that are to train behind the last one that the head reads: none would learn."""
    key = f"strategies.{name}"
    cut = strategy_cut(backbone, strategy, name)
    deepest = blocks_read(backbone.arch, strategy.features, key)[-1]
    blocks = BLOCK_NAMES[backbone.arch]
    idle = blocks[max(cut, blocks.index(deepest) + 1) :]
    if idle:
        raise UserError(
            f"params.yaml: {key}.features: must hold {blocks[-1]}, the last block, where blocks "
            f"train, got {strategy.features}: no gradient would reach {', '.join(idle)}; set last, "
            f"all or a list with it, or {key}.unfreeze_last_blocks: 0 and train_backbone: false"
        )


def _check_batchnorm(
    name: str, strategy: StrategyParams, backbone: BackboneParams, train: TrainParams
) -> None:
    """Refuse to train BatchNorm alone where there is none: the blocks would stay as they are."""
    if train.batchnorm_only and strategy.trains_blocks and backbone.arch in WITHOUT_BATCHNORM:
        raise UserError(
            f"params.yaml: train.batchnorm_only: must be false with backbone.arch: {backbone.arch},"
            f" which has no BatchNorm, or strategies.{name} would train its head alone; got true"
        )


def _check_head(name: str, strategy: StrategyParams, head: HeadParams, loss: LossParams) -> None:
    """Refuse a head and a loss that don't fit each other."""
    if loss.name == "corn":
        if strategy.head == "solved":
            raise UserError(
                f"params.yaml: strategies.{name}.head: must be gradient with loss.name: corn, "
                "which brings a head of its own that isn't solved; or set loss.name: cross_entropy"
            )
    elif head.model == "ordinal" and (loss.name != "cross_entropy" or loss.label_smoothing):
        wrong = f"loss.name: {loss.name}" if loss.name != "cross_entropy" else "label smoothing"
        raise UserError(
            f"params.yaml: head.model: must be multinomial with {wrong}: an ordinal head has a "
            "likelihood of its own; or set loss.name: cross_entropy and loss.label_smoothing: 0"
        )
    if head.kernel != "none" and strategy.head == "gradient":
        raise UserError(
            f"params.yaml: strategies.{name}.head: must be solved with head.kernel: {head.kernel}, "
            "whose length scale is the training images'; or set head.kernel: none"
        )


def _check_size(backbone: BackboneParams, preprocess: PreprocessParams) -> None:
    """Refuse images of a size that the architecture doesn't take."""
    fixed = FIXED_SIZE_PX.get(backbone.arch)
    if fixed and preprocess.size_px != fixed:
        raise UserError(
            f"params.yaml: preprocess.size_px: must be {fixed} with backbone.arch: "
            f"{backbone.arch}, got {preprocess.size_px}"
        )


def _check_weights(balancing: BalancingParams, classes: Sequence[str]) -> None:
    """Refuse given weights that aren't one a class, before anything is decoded."""
    given = balancing.class_weights
    if isinstance(given, list) and len(given) != len(classes):
        raise UserError(
            f"params.yaml: balancing.class_weights: must be one weight for each of the "
            f"{len(classes)} classes of dataset.classes ({', '.join(classes)}), got {len(given)}"
        )


def _check_balance(balancing: BalancingParams, loss: LossParams, train: TrainParams) -> None:
    """Refuse two remedies for imbalance of different sections: together they overshoot.

    An adjusted loss makes up for the class frequencies of natural sampling. Where the sampler has
    levelled them it favours the rare classes once more, and so do weights. The same goes for the
    head that is re-trained on balanced sampling.
    """
    acting = remedies(balancing, loss)
    in_loss = {name: switch for name, switch in acting.items() if name != "sampler"}
    if train.retrain_head_epochs and in_loss and not balancing.allow_double:
        other, switch = next(iter(in_loss.items()))
        raise UserError(
            "params.yaml: train.retrain_head_epochs: balances the sampling for the head, and the "
            f"{other} would count rare classes there twice: double balancing; set {switch} or "
            "train.retrain_head_epochs: 0, or balancing.allow_double: true"
        )
    if loss.adjusts and len(acting) > 1 and not balancing.allow_double:
        other, switch = next(iter(acting.items()))
        raise UserError(
            f"params.yaml: loss.name: {loss.name} makes up for class frequencies that "
            f"the {other} has made up for already: double balancing; set {switch} or "
            "loss.name: cross_entropy, or balancing.allow_double: true"
        )
