"""What DVC will lock for a stage, read from dvc.yaml itself, so that no second list can drift.

DVC's own resolver takes a fifth of a second to import; this small one knows `foreach` over a
mapping or a list, `${key}`, `${item}` and dotted keys of params.yaml and of `vars`. Tests compare
it with DVC's and with dvc.lock.
"""

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammo.errors import UserError
from mammo.params import read_yaml

_PLACEHOLDER = re.compile(r"(?<!\\)\$\{\s*([^}]+?)\s*\}")


@dataclass(frozen=True)
class Stage:
    """One stage as DVC will lock it.

    Attributes:
        name: With the key of its `foreach`, such as `train@head_only`.
        folder: Where its command runs; the paths are relative to it.
        cmd: The command.
        deps: Files and folders that it depends on.
        outs: Files and folders that it writes.
        params: File -> dotted keys; no key at all stands for the whole file.
    """

    name: str
    folder: Path
    cmd: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    params: dict[str, tuple[str, ...]]


def running_stage(argv: list[str], environment: dict[str, str]) -> Stage | None:
    """Find the stage whose command is this process's, or None outside of a DVC pipeline.

    Args:
        argv: `sys.argv`: the script and its arguments.
        environment: In which DVC names the stage that it runs, also one of a dvc.yaml elsewhere.
    """
    file, _, name = environment.get("DVC_STAGE", "").rpartition(":")
    root = Path(environment.get("DVC_ROOT", "."))
    for candidate in (Path("dvc.yaml"), *([Path(file), root / file] if file else [])):
        if not candidate.is_file():
            continue
        calls = [s for s in stages_of(candidate) if _is_call_of(s.cmd, argv, s.folder)]
        named = [s for s in calls if s.name == name]
        if named or calls:
            return (named or calls)[0]
    return None


def stages_of(file: Path) -> list[Stage]:
    """Resolve every stage of a dvc.yaml; none where it can't be read."""
    try:
        entries = list(_entries(read_yaml(file), file.parent))
        return [_stage(name, body, file.parent, names) for name, body, names in entries]
    except (UserError, LookupError, TypeError, ValueError, AttributeError):
        return []  # DVC reads these files before it starts a stage: it has said what is wrong


def load_values(file: Path) -> dict[str, Any]:
    """Read a file of parameters as plain values.

    Raises:
        UserError: It can't be read.
    """
    values = read_yaml(file)
    return values if isinstance(values, dict) else {}


def find_value(values: Any, key: str) -> Any:
    """Find a value by its dotted key.

    Raises:
        KeyError: There is none.
    """
    for part in re.split(r"[.\[]", key.replace("]", "")):
        if isinstance(values, list):
            values = values[int(part)]
        elif isinstance(values, dict) and part in values:
            values = values[part]
        else:
            raise KeyError(key)
    return values


def _entries(text: Any, folder: Path) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield each stage's name, body and what its placeholders may name."""
    names = _names(text.get("vars", []), folder, "params.yaml")
    for name, entry in text["stages"].items():
        if "foreach" not in entry:
            yield name, entry, names
            continue
        over = _resolved(entry["foreach"], names)
        items = over.items() if isinstance(over, dict) else [(item, item) for item in over]
        for key, item in items:
            yield f"{name}@{key}", entry["do"], {**names, "key": key, "item": item}


def _names(variables: list[Any], folder: Path, default: str | None = None) -> dict[str, Any]:
    names: dict[str, Any] = {}
    if default and (folder / default).is_file():
        names |= load_values(folder / default)
    for entry in variables:
        if isinstance(entry, dict):
            names |= entry
            continue
        file, _, keys = entry.partition(":")
        values = load_values(folder / file)
        names |= {k: values[k] for k in keys.split(",")} if keys else values
    return names


def _stage(name: str, body: Any, folder: Path, names: dict[str, Any]) -> Stage:
    names = names | _names(body.get("vars", []), folder)
    body = _resolved({k: v for k, v in body.items() if k not in ("vars", "desc", "meta")}, names)
    cmd = body["cmd"]
    return Stage(
        name=name,
        folder=folder / body.get("wdir", "."),
        cmd=" && ".join(cmd) if isinstance(cmd, list) else cmd,
        deps=tuple(body.get("deps", [])),
        outs=tuple(
            next(iter(out)) if isinstance(out, dict) else out
            for kind in ("outs", "metrics", "plots")
            for out in body.get(kind, [])
        ),
        params=_params(body.get("params", [])),
    )


def _params(entries: list[Any]) -> dict[str, tuple[str, ...]]:
    params: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        files = {"params.yaml": [entry]} if isinstance(entry, str) else entry
        for file, keys in files.items():
            params[file] = params.get(file, ()) + tuple(keys or ())
    return params


def _resolved(value: Any, names: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {_resolved(k, names): _resolved(v, names) for k, v in value.items()}
    if isinstance(value, list):
        return [_resolved(v, names) for v in value]
    if not isinstance(value, str):
        return value
    alone = _PLACEHOLDER.fullmatch(value)
    if alone:
        return find_value(names, alone[1])
    text = _PLACEHOLDER.sub(lambda match: _as_text(find_value(names, match[1])), value)
    return text.replace(r"\${", "${")


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_call_of(cmd: str, argv: list[str], folder: Path) -> bool:
    """Tell whether a command, run in `folder`, starts this script with these arguments."""
    script = os.path.relpath(argv[0])
    try:
        words = shlex.split(cmd)
    except ValueError:
        return False
    if words[:1] == ["cd"] and words[2:3] == ["&&"]:
        folder, words = folder / words[1], words[3:]
    if folder.resolve() != Path.cwd():
        return False
    for place, word in enumerate(words):
        if word == "-m" and words[place + 1 :]:
            module = words[place + 1].replace(".", "/")
            start, found = place + 2, script in (f"{module}.py", f"{module}/__main__.py")
        else:
            start, found = place + 1, os.path.normpath(word) == script
        if found and words[start:] == argv[1:]:
            return True
    return False
