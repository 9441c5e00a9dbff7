"""The sections `train`, `balancing` and `loss`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mammo.network.params import Scope
from mammo.params import Params


class BalancingParams(Params):
    """Section `balancing`."""

    weighted_sampler: bool
    class_weights: bool
    effective_beta: Annotated[float, Field(gt=0, lt=1)] | None
    allow_double: bool

    @model_validator(mode="after")
    def _only_one(self) -> Self:
        if self.class_weights and self.effective_beta is not None:
            raise ValueError(
                "class_weights and effective_beta are two choices of the same weights; set "
                "class_weights: false or effective_beta: null"
            )
        weights = "class_weights" if self.class_weights else "effective_beta"
        weighs = self.class_weights or self.effective_beta is not None
        if self.weighted_sampler and weighs and not self.allow_double:
            raise ValueError(
                f"weighted_sampler and {weights} are both on: double balancing counts rare "
                "classes twice; switch one off, or set balancing.allow_double: true"
            )
        return self


class LossParams(Params):
    """Section `loss`."""

    name: Literal["cross_entropy", "balanced_softmax", "logit_adjusted", "corn"]
    tau: Annotated[float, Field(gt=0)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]

    @property
    def adjusts(self) -> bool:
        """Whether the loss itself makes up for the class frequencies."""
        return self.name in ("balanced_softmax", "logit_adjusted")

    @property
    def ordinal(self) -> bool:
        """Whether the head must answer the K - 1 questions "beyond class k?"."""
        return self.name == "corn"

    @model_validator(mode="after")
    def _smooths_a_softmax(self) -> Self:
        if self.ordinal and self.label_smoothing:
            raise ValueError(
                "label_smoothing spreads the target over K softmax classes, but corn answers "
                f"K - 1 conditional yes-or-no questions; set it to 0, got {self.label_smoothing}"
            )
        return self


def remedies(balancing: BalancingParams, loss: LossParams) -> dict[str, str]:
    """List what acts against imbalance: its name, and the setting that switches it off."""
    found = {}
    if balancing.weighted_sampler:
        found["sampler"] = "balancing.weighted_sampler: false"
    if balancing.class_weights:
        found["class weights"] = "balancing.class_weights: false"
    if balancing.effective_beta is not None:
        found["effective-number weights"] = "balancing.effective_beta: null"
    if loss.adjusts:
        found[f"loss {loss.name}"] = "loss.name: cross_entropy"
    return found


class TrainParams(Params):
    """Section `train`: what all strategies share."""

    seed: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=2)]
    weight_decay: Annotated[float, Field(ge=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    schedule: Literal["cosine", "constant"]
    early_stopping_epochs: Annotated[int, Field(ge=0)]
    batchnorm_only: bool
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    retrain_head_epochs: Annotated[int, Field(ge=0)]
    checkpoint_every_s: Annotated[float, Field(ge=0)]

    @property
    def scope(self) -> Scope:
        """What of a suffix trains once its blocks are released."""
        return "batchnorm" if self.batchnorm_only else "all"
