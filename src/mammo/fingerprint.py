"""What a stage's inputs are when it starts, compared with what they are when it ends.

DVC writes parameters and hashes down when a command has ended; the stage has read them long
before. What changes in between would be locked beside results that were never made from it.
"""

import fnmatch
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mammo.dvc_yaml import Stage, find_value, load_values

# A dependency up to this size is compared by content: an editor or Git that writes the same bytes
# again has changed nothing. Above it hashing would cost more than the whole comparison may.
_CONTENT_BYTES = 8 * 2**20
_CONTENT_FILES = 1000
_SHOWN = 5

_ABSENT = object()

# (file, dotted key of a parameter or "") -> value, digest, or (size, mtime, inode)
Fingerprint = dict[tuple[str, str], Any]


def take(stage: Stage) -> Fingerprint:
    """Note what DVC will lock for a stage: its parameters' values and its dependencies' files.

    Raises:
        UserError: A file of parameters can't be read.
    """
    ignored = _ignored_names(stage.folder)
    found: Fingerprint = {}
    for dependency in stage.deps:
        found |= _files(stage.folder / dependency, dependency, ignored)
    for file, keys in stage.params.items():  # last: what people edit, as late as possible
        found |= _parameters(stage.folder / file, file, keys)
    return found


def edited_since(stage: Stage, started: float) -> list[str]:
    """List the code of a stage that was written after the interpreter began to read it.

    Args:
        stage: Of this process.
        started: When the interpreter started, in seconds since the epoch.
    """
    now = time.time()
    ignored = _ignored_names(stage.folder)
    return [
        f"{name}: changed"
        for dependency in stage.deps
        for name, facts in _walk(stage.folder / dependency, dependency, ignored)
        # A time stamp in the future is a clock that goes wrong, not an edit.
        if name.endswith(".py") and started < facts.st_mtime <= now
    ]


def changes(before: Fingerprint, after: Fingerprint) -> list[str]:
    """Say what differs, each as `params.yaml: train.seed changed from 8 to 9` or `FILE changed`."""
    found = []
    for file, key in sorted(before.keys() | after.keys()):
        old, new = before.get((file, key), _ABSENT), after.get((file, key), _ABSENT)
        if old == new:
            continue
        name = f"{file}: {key}" if key else file
        if new is _ABSENT:
            found.append(f"{name} vanished")
        elif old is _ABSENT:
            found.append(f"{name} appeared")
        else:
            found.append(f"{name} changed" + (f" from {old!r} to {new!r}" if key else ""))
    return found


def complaint(stage: Stage, found: list[str]) -> str:
    """Word the end of a stage whose inputs changed."""
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    listed = "\n".join([*found[:_SHOWN], *more])
    return (
        f"{listed} while {stage.name} ran; its results belong to what was there before, "
        "so DVC may not lock them: run dvc repro again"
    )


def _parameters(path: Path, file: str, keys: tuple[str, ...]) -> Fingerprint:
    values = load_values(path)
    found: Fingerprint = {}
    for key in keys:
        try:
            found |= {(file, leaf): v for leaf, v in _leaves(find_value(values, key), key)}
        except (KeyError, IndexError, ValueError):
            continue  # absent: compared as such
    return found if keys else {(file, leaf): v for leaf, v in _leaves(values, "")}


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        yield key, value
        return
    for name, inner in value.items():
        yield from _leaves(inner, f"{key}.{name}" if key else str(name))


def _files(path: Path, name: str, ignored: re.Pattern[str]) -> Fingerprint:
    facts = dict(_walk(path, name, ignored))
    regular = all(stat.S_ISREG(f.st_mode) for f in facts.values())
    small = sum(f.st_size for f in facts.values()) <= _CONTENT_BYTES
    if regular and small and len(facts) <= _CONTENT_FILES:
        return {(file, ""): _content(path, name, file) for file in facts}
    return {(file, ""): (f.st_size, f.st_mtime_ns, f.st_ino) for file, f in facts.items()}


def _content(path: Path, name: str, file: str) -> str:
    inside = path if file == name else path / os.path.relpath(file, name)
    try:
        return hashlib.sha256(inside.read_bytes()).hexdigest()
    except OSError as error:
        return f"can't be read: {error.strerror}"


def _walk(path: Path, name: str, ignored: re.Pattern[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files at or below a path with their facts; links are followed, loops are not."""
    waiting, seen = [(str(path), name)], set()
    while waiting:
        here, called = waiting.pop()
        try:
            facts = os.stat(here)  # noqa: PTH116 - 55,000 Path objects cost more than the calls
            if not stat.S_ISDIR(facts.st_mode):
                yield called, facts
                continue
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            with os.scandir(here) as entries:
                for entry in entries:
                    if ignored.match(entry.name):
                        continue
                    below = f"{called}/{entry.name}"
                    if entry.is_dir():
                        waiting.append((entry.path, below))
                    else:
                        yield below, entry.stat()
        except OSError:
            continue  # absent or out of reach: then it is so at both ends, or it has changed


def _ignored_names(folder: Path) -> re.Pattern[str]:
    """Read the names of .dvcignore, as one pattern: caches come and go while a stage runs."""
    try:
        lines = (folder / ".dvcignore").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    names = {line.strip().strip("/").rpartition("/")[2] for line in lines}
    names = {n for n in names if n and not n.startswith(("#", "!"))} | {"__pycache__", ".git"}
    return re.compile("|".join(f"(?:{fnmatch.translate(name)})" for name in sorted(names)))
