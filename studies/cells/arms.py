"""An arm of a study: a strategy of params.yaml, and what is set otherwise, as `-S` takes it."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mammo.errors import UserError
from mammo.params import Params, load_leaf, parse_params

ARMS = Path("studies/arms.yaml")


class ArmParams(Params):
    """One entry of `arms`: the strategy, and `key=value` for each parameter that differs."""

    strategy: str
    set: list[str]


def load_arms(path: Path = ARMS) -> dict[str, ArmParams]:
    """Load all arms.

    Raises:
        UserError: A key is missing or unknown.
    """
    values = load_leaf("arms", dict[str, Any], path)
    return {
        name: parse_params(f"arms.{name}", arm, ArmParams, path) for name, arm in values.items()
    }


def overridden(values: dict[str, Any], changes: Sequence[str], where: str) -> dict[str, Any]:
    """Return params with some of them changed, as `dvc exp run -S key=value` changes them.

    Args:
        values: All of params.yaml.
        changes: `key=value` each; the key is dotted, the value is YAML.
        where: What the changes stand in, to word an error.

    Raises:
        UserError: A change has no `=`, or names a key that params.yaml lacks.
    """
    values = copy.deepcopy(values)
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise UserError(f"{where}: must be key=value, got {change!r}")
        *parents, last = key.split(".")
        section: Any = values
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        if not isinstance(section, dict) or last not in section:
            raise UserError(f"{where}: params.yaml has no {key}, got {change!r}")
        section[last] = yaml.safe_load(text)
    return values
