"""The sections `backbone`, `compute` and `strategies`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from mammo.errors import UserError
from mammo.params import Params


class ComputeParams(Params):
    """Section `compute`: results depend on it, so it is never guessed from the machine."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"]
    devices: Annotated[int, Field(ge=1)]
    num_nodes: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=1)]
    precision: Literal["bfloat16", "float32"]
    compile: bool
    deterministic: bool


Scope = Literal["all", "batchnorm", "head"]  # what of a suffix trains once it is released
BatchNormMode = Literal["train", "eval"]  # of released blocks: follow the data, or stay


Features = Literal["last", "inner", "all"] | Annotated[list[str], Field(min_length=1)]


class CutParams(Params, extra="ignore"):
    """The part of a strategy that its embedding depends on: where it cuts, what its head reads.

    Attributes:
        train_backbone: Train all blocks.
        unfreeze_last_blocks: Blocks after the cut.
        features: Whose pooled features the head reads: the `last` block's, those of all `inner`
            blocks (all but the last), of `all`, or of the blocks listed.
        grey: The head reads grey and texture features of the breast too.
    """

    train_backbone: bool
    unfreeze_last_blocks: Annotated[int, Field(ge=0)]
    features: Features
    grey: bool


class StrategyParams(CutParams, extra="forbid"):
    """One entry of `strategies`.

    Attributes:
        head: `solved` (the convex problem, to convergence; deeper strategies start from it), or
            trained by `gradient` from chance, blocks held for `warmup_epochs`.
        lr: Of the gradient's epochs.
        epochs: Of gradient training, warm-up included; a head that is solved alone has none.
        warmup_epochs: For `head: gradient`.
    """

    head: Literal["solved", "gradient"]
    lr: Annotated[float, Field(gt=0)]
    epochs: Annotated[int, Field(ge=1)]
    warmup_epochs: Annotated[int, Field(ge=0)]

    @property
    def trains_blocks(self) -> bool:
        """Whether anything of the backbone trains."""
        return self.train_backbone or self.unfreeze_last_blocks > 0

    @property
    def held_epochs(self) -> int:
        """Epochs in which the head alone trains: a solved head needs none."""
        return self.warmup_epochs if self.head == "gradient" else 0

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.trains_blocks and self.held_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must be less than epochs ({self.epochs}), or the blocks after "
                f"the cut never train; got {self.warmup_epochs}"
            )
        return self


def cut_position(strategy: CutParams, blocks: int, name: str) -> int:
    """Count the blocks before the cut, from 0 (all are trained) to `blocks` (the head alone).

    Raises:
        UserError: More blocks are to be unfrozen than there are.
    """
    if strategy.train_backbone:
        return 0
    if strategy.unfreeze_last_blocks > blocks:
        raise UserError(
            f"params.yaml: strategies.{name}.unfreeze_last_blocks: must be at most {blocks}, the "
            f"blocks of this backbone, got {strategy.unfreeze_last_blocks}"
        )
    return blocks - strategy.unfreeze_last_blocks


# The blocks of each architecture in order, and the channels that leave each: between two of them it
# can be cut, and pooled each gives so many features. Kept beside the parameters so that `check`
# needs no torch; a test compares the table with the networks.
RESNET = ("stem", "layer1", "layer2", "layer3", "layer4")
STAGES = ("stem", "stage1", "stage2", "stage3", "stage4")
DENSE = ("stem", "denseblock1", "denseblock2", "denseblock3", "denseblock4")
REGNET = ("stem", "block1", "block2", "block3", "block4")
VIT = ("stem", *(f"layer{n}" for n in range(12)))


def _named(names: tuple[str, ...], *widths: int) -> dict[str, int]:
    return dict(zip(names, widths, strict=True))


def _numbered(*widths: int) -> dict[str, int]:
    return {f"features{n}": width for n, width in enumerate(widths)}


BLOCK_WIDTHS: dict[str, dict[str, int]] = {
    "efficientnet_lite0": _numbered(32, 16, 24, 40, 80, 112, 192, 320, 1280),
    "efficientnet_lite1": _numbered(32, 16, 24, 40, 80, 112, 192, 320, 1280),
    "efficientnet_lite2": _numbered(32, 16, 24, 48, 88, 120, 208, 352, 1280),
    "resnet18": _named(RESNET, 64, 64, 128, 256, 512),
    "resnet34": _named(RESNET, 64, 64, 128, 256, 512),
    "resnet50": _named(RESNET, 64, 256, 512, 1024, 2048),
    "densenet121": _named(DENSE, 64, 256, 512, 1024, 1024),
    "efficientnet_b0": _numbered(32, 16, 24, 40, 80, 112, 192, 320, 1280),
    "efficientnet_b1": _numbered(32, 16, 24, 40, 80, 112, 192, 320, 1280),
    "efficientnet_b2": _numbered(32, 16, 24, 48, 88, 120, 208, 352, 1408),
    "efficientnet_b3": _numbered(40, 24, 32, 48, 96, 136, 232, 384, 1536),
    "efficientnet_v2_s": _numbered(24, 24, 48, 64, 128, 160, 256, 1280),
    "mobilenet_v2": _numbered(
        32, 16, *[24] * 2, *[32] * 3, *[64] * 4, *[96] * 3, *[160] * 3, 320, 1280
    ),
    "mobilenet_v3_large": _numbered(
        16, 16, *[24] * 2, *[40] * 3, *[80] * 4, *[112] * 2, *[160] * 3, 960
    ),
    "convnext_tiny": _named(STAGES, 96, 96, 192, 384, 768),
    "regnet_y_400mf": _named(REGNET, 32, 48, 104, 208, 440),
    "swin_t": _named(STAGES, 96, 96, 192, 384, 768),
    "vit_b_16": _named(VIT, *[768] * 13),
}
BLOCK_NAMES = {arch: tuple(widths) for arch, widths in BLOCK_WIDTHS.items()}
# The one size that an architecture takes, where it has one: a ViT learnt a place for each patch.
FIXED_SIZE_PX = {"vit_b_16": 224}
WITHOUT_BATCHNORM = ("convnext_tiny", "swin_t", "vit_b_16")

# Architectures whose ImageNet parameters come as a package; torchvision has those of the others.
PACKAGED = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


class BackboneParams(Params):
    """Section `backbone`."""

    arch: str
    weights: Literal["packaged", "imagenet", "file", "random"]
    file: Path | None
    seed: Annotated[int, Field(ge=0)]

    @field_validator("arch")
    @classmethod
    def _is_known(cls, arch: str) -> str:
        if arch not in BLOCK_NAMES:
            raise ValueError(f"must be one of {', '.join(BLOCK_NAMES)}, got {arch!r}")
        return arch

    @model_validator(mode="after")
    def _file_is_named(self) -> Self:
        if (self.weights == "file") != (self.file is not None):
            raise ValueError("file must name a weights file with weights: file, and else be null")
        return self

    @model_validator(mode="after")
    def _weights_exist(self) -> Self:
        packaged = self.arch in PACKAGED
        if self.weights == "packaged" and not packaged:
            raise ValueError(
                f"weights must be imagenet, file or random with arch: {self.arch}, got packaged; "
                f"packages have {', '.join(PACKAGED)}"
            )
        if self.weights == "imagenet" and packaged:
            raise ValueError(
                f"weights must be packaged, file or random with arch: {self.arch}, got imagenet; "
                "its ImageNet parameters are the packaged ones"
            )
        return self


def strategy_cut(backbone: BackboneParams, strategy: CutParams, name: str) -> int:
    """Count the blocks before a strategy's cut in this architecture.

    Raises:
        UserError: The strategy unfreezes more blocks than there are.
    """
    return cut_position(strategy, len(BLOCK_NAMES[backbone.arch]), name)


def blocks_read(arch: str, features: Features, key: str) -> tuple[str, ...]:
    """Name the blocks whose pooled features a head reads, in the network's order.

    Raises:
        UserError: A block that the architecture doesn't have; `key` is where it stands.
    """
    names = BLOCK_NAMES[arch]
    if features == "all":
        return names
    if features == "inner":
        return names[:-1]
    if features == "last":
        return names[-1:]
    unknown = [name for name in features if name not in names]
    if unknown or len(set(features)) < len(features):
        raise UserError(
            f"params.yaml: {key}.features: must be last, inner, all or distinct blocks of {arch} "
            f"({', '.join(names)}), got {features}"
        )
    return tuple(name for name in names if name in features)
