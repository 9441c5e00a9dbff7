"""Load sections of params.yaml into the models of the modules that use them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from mammo import paths
from mammo.errors import UserError


class Params(BaseModel):
    """A section of params.yaml: unknown and missing keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _no_number_is_a_yes(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        valid = validate(value)
        if isinstance(value, bool) and not isinstance(valid, bool):
            raise ValueError("must be a number, not true, false, yes, no, on or off")
        return valid


P = TypeVar("P", bound=BaseModel)


# Ten times what the longest sound file needs; a file of a few lines can unfold to gigabytes.
_MAX_BYTES = 2**20
_MAX_DEPTH = 50
_MAX_NODES = 100_000

# The compiled parser is ten times faster; it comes with PyYAML's wheels.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_params(path: Path = paths.PARAMS) -> dict[str, Any]:
    """Read the whole file as plain values.

    Raises:
        UserError: The file is missing, isn't YAML in UTF-8, is of a size or depth that no file of
            parameters has, or isn't a mapping.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: must be a mapping of sections, got {type(values).__name__}")
    return values


def read_yaml(path: Path) -> Any:
    """Read a YAML file of a bounded size, whatever was made of it.

    Raises:
        UserError: The file can't be read, isn't YAML in UTF-8, or exceeds a bound.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run from the repository's root") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise UserError(f"{path}: must have at most {_MAX_BYTES} bytes, got {len(content)}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: must be UTF-8, got byte 0x{content[error.start]:02x} in line {line}; "
            "save the file as UTF-8"
        ) from None
    try:
        _check_bounds(path, text)
        loader = _Loader(text)  # safe: plain values alone
        try:
            node = loader.get_single_node()
            _check_keys(path, node)
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: no date, no number
        raise UserError(f"{path}: not valid YAML: {error}") from None


def _check_bounds(path: Path, text: str) -> None:
    """Count nesting and nodes, aliases unfolded, before anything is built from them."""
    nodes, depth = 0, 0
    starts: list[tuple[str | None, int]] = []  # of open collections: anchor, nodes before
    sizes: dict[str, int] = {}  # of what an anchor names
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            starts.append((event.anchor, nodes))
            nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            anchor, before = starts.pop()
            if anchor:
                sizes[anchor] = nodes - before
        elif isinstance(event, yaml.AliasEvent):
            nodes += sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor:
                sizes[event.anchor] = 1
        if depth > _MAX_DEPTH:
            raise UserError(f"{path}: is nested deeper than {_MAX_DEPTH} levels")
        if nodes > _MAX_NODES:
            raise UserError(
                f"{path}: unfolds to more than {_MAX_NODES} values; "
                "are aliases (*name) nested in each other?"
            )


def _check_keys(path: Path, top: yaml.Node | None) -> None:
    """Refuse a key that stands twice in one mapping: PyYAML would take the last, DVC none."""
    waiting, met = [top], set()
    while waiting:
        node = waiting.pop()
        if not isinstance(node, yaml.CollectionNode) or id(node) in met:
            continue
        met.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
            continue
        keys: set[tuple[str, str]] = set()
        for key, value in node.value:
            waiting.append(value)
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in keys:
                    line = key.start_mark.line + 1
                    raise UserError(
                        f"{path}: line {line}: {key.value!r} stands there twice; "
                        "rename or remove one"
                    )
                keys.add((key.tag, key.value))


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
            f"{path}: {'.'.join([section, *_key(fault['loc'])])}: {_rule(fault)}"
            for fault in error.errors()
        ]
        raise UserError("\n".join(faults)) from None


def _key(parts: Sequence[str | int]) -> list[str]:
    """Name where a fault lies; pydantic also names which of several types it tried."""
    return [part for part in map(str, parts) if "[" not in part and part != "bool"]


def _rule(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "unknown key; check its spelling or remove it"
    if fault["type"] == "missing":
        return "missing; every key of params.yaml must be there"
    rule = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "model_type":
        rule = "must be a mapping of its keys"
    # A rule about a whole section says itself which values break it.
    said = rule if isinstance(fault["input"], dict) else f"{rule}, got {fault['input']!r}"
    if fault["type"] == "string_type" and isinstance(fault["input"], bool | int | float):
        return f"{said}; put it in quotes: YAML reads a bare no, yes, on, off or number as no text"
    return said
