"""Load sections of params.yaml into the models of the modules that use them."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mammo import paths
from mammo.errors import UserError


class Params(BaseModel):
    """A section of params.yaml: unknown and missing keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


P = TypeVar("P", bound=BaseModel)


def read_params(path: Path = paths.PARAMS) -> dict[str, Any]:
    """Read the whole file as plain values.

    Raises:
        UserError: The file is missing, isn't YAML or isn't a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run from the repository's root") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: must be a mapping of sections, got {type(values).__name__}")
    return values


def load_params(section: str, model: type[P], path: Path = paths.PARAMS) -> P:
    """Load one section, named by its dotted key (`train`, `strategies.last_block`).

    Raises:
        UserError: A key is missing, unknown or out of range; the message names it.
    """
    return parse_params(section, _find(section, path), model, path)


def load_leaf(key: str, kind: Any, path: Path = paths.PARAMS) -> Any:
    """Load one value, named by its dotted key, as a type that pydantic knows.

    Raises:
        UserError: The key is missing or its value isn't of that type.
    """
    value = _find(key, path)
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{path}: {key}: {_rule(error.errors()[0])}") from None


def _find(key: str, path: Path) -> Any:
    values: Any = read_params(path)
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            known = ", ".join(map(str, values)) if isinstance(values, dict) else "no keys"
            raise UserError(f"{path}: {key}: missing; there are {known}")
        values = values[part]
    return values


def parse_params(section: str, values: Any, model: type[P], path: Path = paths.PARAMS) -> P:
    """Validate plain values as one section; `section` and `path` only word the errors.

    Raises:
        UserError: Lists every fault, one a line, as `file: key: rule, got value`.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [
            f"{path}: {'.'.join([section, *map(str, fault['loc'])])}: {_rule(fault)}"
            for fault in error.errors()
        ]
        raise UserError("\n".join(faults)) from None


def _rule(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "unknown key; check its spelling or remove it"
    if fault["type"] == "missing":
        return "missing; every key of params.yaml must be there"
    rule = fault["msg"].removeprefix("Value error, ")
    # A rule about a whole section says itself which values break it.
    return rule if isinstance(fault["input"], dict) else f"{rule}, got {fault['input']!r}"
