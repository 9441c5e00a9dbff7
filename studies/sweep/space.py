"""What a sweep varies, and how an assignment becomes parameters."""

from typing import Annotated, Any, Self

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import Field, model_validator

from mammo.params import Params


class RangeParams(Params):
    """A number between two bounds; whole where both are."""

    low: float | int
    high: float | int
    log: bool

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be less than high ({self.high:g}), got {self.low:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 with log: true, got {self.low:g}")
        return self


class ChoiceParams(Params):
    """One of several values."""

    choices: Annotated[list[bool | int | float | str | None], Field(min_length=2)]


class SweepParams(Params):
    """Section `sweep` of the study's params.yaml."""

    strategy: str
    objective: str
    seed: Annotated[int, Field(ge=0)]
    space: Annotated[dict[str, RangeParams | ChoiceParams], Field(min_length=1)]

    def distributions(self) -> dict[str, BaseDistribution]:
        """Give the space in Optuna's terms."""
        return {key: _distribution(axis) for key, axis in self.space.items()}


def _distribution(axis: RangeParams | ChoiceParams) -> BaseDistribution:
    if isinstance(axis, ChoiceParams):
        return CategoricalDistribution(axis.choices)
    if isinstance(axis.low, int) and isinstance(axis.high, int):
        return IntDistribution(axis.low, axis.high, log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def as_changes(values: dict[str, Any]) -> list[str]:
    """Write an assignment as `dvc exp run -S` takes it: `key=value` each."""
    return [f"{key}={_text(value)}" for key, value in values.items()]


def _text(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


def as_lines(values: dict[str, Any]) -> str:
    """Write an assignment as the lines of params.yaml that it changes."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *parents, last = key.split(".")
        section = nested
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return yaml.safe_dump(nested, sort_keys=False).rstrip()
