"""Keys that params.yaml once had, and what to write instead: an old file is told so key by key."""

from collections.abc import Iterator
from typing import Any

# Dotted key -> what became of it. `key=value` is a value that is gone; `*` stands for any name.
RENAMED = {
    "backbone.procedural": "was removed: ImageNet's parameters come with a package "
    "(backbone.weights: packaged)",
    "backbone.weights=procedural": "was removed: write packaged (ImageNet's parameters) or random",
    "balancing.class_weights=True": "is now balanced",
    "balancing.class_weights=False": "is now none",
    "collapse.warning_share": "is now collapse.warning_excess: how far the largest predicted share "
    "may lie above that class's true share",
    "compute.precision=auto": "was removed: write bfloat16 or float32 (`make tune` measures both)",
    "compare.histogram.inverse_penalties": "was removed: the baselines' heads are solved as the "
    "strategies' are (head.penalties)",
}


def renamed_keys(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each key of a params.yaml that is of an earlier version, with what to do about it."""
    for entry, advice in RENAMED.items():
        key, _, value = entry.partition("=")
        for name, found in _matches(values, key.split("."), ""):
            if not value:
                yield name, advice
            elif str(found) == value:
                yield name, f"{found!r} {advice}"


def _matches(values: Any, parts: list[str], name: str) -> Iterator[tuple[str, Any]]:
    if not parts:
        yield name, values
        return
    if not isinstance(values, dict):
        return
    for key in values if parts[0] == "*" else [parts[0]] if parts[0] in values else []:
        yield from _matches(values[key], parts[1:], f"{name}.{key}" if name else str(key))
