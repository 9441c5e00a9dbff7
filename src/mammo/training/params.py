"""The sections `train`, `balancing` and `loss`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mammo.network.params import BatchNormMode, Scope
from mammo.params import Params

# `weighted_sampler: auto` samples where the largest class has more than this times the smallest.
AUTO_IMBALANCE = 1.5

Positive = Annotated[float, Field(gt=0)]


class BalancingParams(Params):
    """Section `balancing`.

    Attributes:
        weighted_sampler: Draw images of a class by n^-power; `auto` where the set is imbalanced
            and nothing else makes up for it.
        class_weights: Weights in the loss: `none`, `balanced` (n^-power), or one a class.
        power: 0 balances nothing, 1 gives every class the same share.
        effective_beta: Weights by effective number of images instead; null: off.
        allow_double: Sampler and weights both.
    """

    weighted_sampler: bool | Literal["auto"]
    class_weights: Literal["none", "balanced"] | list[Positive]
    power: Annotated[float, Field(ge=0, le=1)]
    effective_beta: Annotated[float, Field(gt=0, lt=1)] | None
    allow_double: bool

    @property
    def weighs(self) -> bool:
        """Whether the loss has class weights, of whatever kind."""
        return self.class_weights != "none" or self.effective_beta is not None

    @model_validator(mode="after")
    def _only_one(self) -> Self:
        if self.class_weights != "none" and self.effective_beta is not None:
            raise ValueError(
                "class_weights and effective_beta are two choices of the same weights; set "
                "class_weights: none or effective_beta: null"
            )
        weights = "effective_beta" if self.effective_beta is not None else "class_weights"
        if self.weighted_sampler is True and self.weighs and not self.allow_double:
            raise ValueError(
                f"weighted_sampler and {weights} are both on: double balancing counts rare "
                "classes twice; switch one off, or set balancing.allow_double: true"
            )
        return self


class LossParams(Params):
    """Section `loss`.

    Attributes:
        name: Cross-entropy; `focal`; for a long tail `balanced_softmax` and `logit_adjusted`;
            `corn` with its own ordinal head.
        gamma: Of focal, which alone has one.
        tau: Strength of logit_adjusted, which alone has one.
        label_smoothing: Share of the target that is spread over all classes.
    """

    name: Literal["cross_entropy", "focal", "balanced_softmax", "logit_adjusted", "corn"]
    gamma: Annotated[float, Field(ge=0)]
    tau: Annotated[float, Field(gt=0)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]

    @property
    def adjusts(self) -> bool:
        """Whether the loss itself makes up for the class frequencies."""
        return self.name in ("balanced_softmax", "logit_adjusted")

    @model_validator(mode="after")
    def _smooths_a_softmax(self) -> Self:
        if self.name in ("corn", "focal") and self.label_smoothing:
            raise ValueError(
                f"label_smoothing spreads the target of a softmax; with {self.name} set it to 0, "
                f"got {self.label_smoothing}"
            )
        return self


def remedies(balancing: BalancingParams, loss: LossParams) -> dict[str, str]:
    """List what acts against imbalance: its name, and the setting that switches it off.

    With power 0 neither sampler nor `balanced` weights do anything. A sampler that is still
    `auto` doesn't count: it gives way to every other remedy.
    """
    found = {}
    if balancing.weighted_sampler is True and balancing.power:
        found["sampler"] = "balancing.weighted_sampler: false"
    if isinstance(balancing.class_weights, list) or (
        balancing.class_weights == "balanced" and balancing.power
    ):
        found["class weights"] = "balancing.class_weights: none"
    if balancing.effective_beta is not None:
        found["effective-number weights"] = "balancing.effective_beta: null"
    if loss.adjusts:
        found[f"loss {loss.name}"] = "loss.name: cross_entropy"
    return found


class TrainParams(Params):
    """Section `train`: what all strategies share.

    Attributes:
        keep: The epoch that is deployed: the `last` one, unless it has collapsed, or the `best`
            on val. On a small val the best is a lottery.
        ramp_epochs: The rate of released blocks grows linearly over so many epochs.
        clip_norm: Largest norm of the gradient; 0: no bound.
        batchnorm: BatchNorm of released blocks follows the data (`train`) or stays (`eval`).
    """

    seed: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=2)]
    weight_decay: Annotated[float, Field(ge=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    schedule: Literal["cosine", "constant"]
    keep: Literal["last", "best"]
    early_stopping_epochs: Annotated[int, Field(ge=0)]
    ramp_epochs: Annotated[float, Field(ge=0)]
    clip_norm: Annotated[float, Field(ge=0)]
    batchnorm: BatchNormMode
    batchnorm_only: bool
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    retrain_head_epochs: Annotated[int, Field(ge=0)]
    checkpoint_every_s: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _stops_for_the_best(self) -> Self:
        if self.early_stopping_epochs and self.keep == "last":
            raise ValueError(
                "early_stopping_epochs stops where no epoch is better, so keep must be best, "
                "got last; or set early_stopping_epochs: 0"
            )
        return self

    @property
    def scope(self) -> Scope:
        """What of a suffix trains once its blocks are released."""
        return "batchnorm" if self.batchnorm_only else "all"
