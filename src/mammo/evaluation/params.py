"""Section `evaluate` and the thresholds of section `collapse`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mammo.params import Params

Prior = Literal["uniform", "train", "as_trained"]


class EvaluateParams(Params):
    """Section `evaluate`.

    Attributes:
        batch_size: Images at once.
        test_time_flip: Answer with the mean over each image and its vertical flip.
        decision: The likeliest class (`argmax`), the `median` one, or whichever has the higher
            quadratic kappa on val (`auto`).
        prior: The class shares that the probabilities assume: those of balanced training
            (`as_trained`), equal ones (`uniform`), or those of the training images (`train`).
        patient: Whose probabilities a patient gets where breasts or images are labelled: those of
            the breast of higher expected class, or the mean of all images.
    """

    batch_size: Annotated[int, Field(ge=1)]
    test_time_flip: bool
    decision: Literal["argmax", "median", "auto"]
    prior: Prior
    patient: Literal["denser", "mean"]


class EnsembleParams(Params):
    """Section `ensemble`.

    Attributes:
        strategies: Whose probabilities are averaged as an arm of its own; none: no such arm.
    """

    strategies: list[str]

    @model_validator(mode="after")
    def _several(self) -> Self:
        if len(self.strategies) == 1 or len(set(self.strategies)) < len(self.strategies):
            raise ValueError(
                f"strategies must name two or more, each once, or none; got {self.strategies}"
            )
        return self


Fraction = Annotated[float, Field(ge=0, le=1)]


class CollapseParams(Params):
    """Section `collapse`: thresholds on validation metrics, and what to do.

    Attributes:
        action: Of the watch, once the warm-up is over.
        patience: Collapsed epochs in a row.
        min_support: Images that a class needs to count as never recalled.
        collapsed_share: Largest predicted share of a collapsed network, unless the class's true
            share is `natural_share` or more.
        collapsed_kappa: Kappa below it together with a class never recalled.
        standing_share: When training is over that counts as collapsed only from this largest
            predicted share on.
        natural_share: See `collapsed_share`.
        warning_excess: Predicted share above the class's true share.
        warning_kappa: Kappa below it while training.
        warning_kappa_at_end: And when training is over.
        warning_bal_acc_adj: Likewise.
    """

    action: Literal["warn", "stop", "fail"]
    patience: Annotated[int, Field(ge=1)]
    min_support: Annotated[int, Field(ge=1)]
    collapsed_share: Fraction
    collapsed_kappa: Fraction
    standing_share: Fraction
    natural_share: Fraction
    warning_excess: Fraction
    warning_kappa: Fraction
    warning_kappa_at_end: Fraction
    warning_bal_acc_adj: Fraction
