"""Folders that know themselves: `manifest.json` holds the size and SHA-256 of every file.

DVC restores what its cache holds without looking at it, and takes what a folder holds for what a
stage wrote. Readers of a folder with a manifest notice a byte or a file that isn't as written.
"""

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mammo.errors import UserError
from mammo.storage.digests import file_sha256

MANIFEST = "manifest.json"
_FORMAT = 1

Facts = dict[str, Any]  # bytes, sha256


def manifest_text(folder: Path, known: Mapping[str, Facts] | None = None, **more: Any) -> str:
    """Describe what a folder holds; a folder inside with a manifest of its own is left out.

    Args:
        folder: All its files are there.
        known: Facts that the writer has, by file name; the other files are read.
        more: Further facts, such as the number of rows.
    """
    known = known or {}
    files = {name: known.get(name) or _facts(folder / name) for name in _listed(folder)}
    return json.dumps({"format": _FORMAT, **more, "files": files}, indent=2) + "\n"


def check_folder(folder: Path) -> dict[str, Any]:
    """Compare a folder with its manifest, byte for byte, and return the manifest.

    Raises:
        UserError: There is none, or the folder holds something else; says which file.
    """
    manifest = _read(folder)
    files = manifest["files"]
    unknown = sorted(set(_listed(folder)) - set(files))
    if unknown:
        raise _fault(folder / unknown[0], f"isn't in {folder / MANIFEST}")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashing releases the GIL
        list(pool.map(lambda item: _compare(folder / item[0], item[1]), files.items()))
    return manifest


def check_file(path: Path) -> None:
    """Compare one file with the manifest beside it, if there is one.

    Raises:
        UserError: The file isn't as it was written.
    """
    if not (path.parent / MANIFEST).exists() or path.name == MANIFEST:
        return
    facts = _read(path.parent)["files"].get(path.name)
    if facts is None:
        raise _fault(path, f"isn't in {path.parent / MANIFEST}")
    _compare(path, facts)


def _listed(folder: Path) -> list[str]:
    """Name the files of a folder, sorted, and of those folders in it that don't know themselves."""
    names: list[str] = []
    for path in sorted(folder.iterdir()):
        if not path.is_dir():
            names += [path.name] if path.name != MANIFEST else []
        elif not (path / MANIFEST).exists():
            names += [f"{path.name}/{name}" for name in _listed(path)]
    return names


def _read(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.exists():
        raise UserError(f"{path}: not found; run `dvc repro` for the stage that writes {folder}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != _FORMAT:
            raise _fault(path, f"must have format {_FORMAT}, got {manifest['format']!r}")
        for facts in manifest["files"].values():
            int(facts["bytes"]), str(facts["sha256"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _fault(path, "isn't readable") from None
    return dict(manifest)


def _facts(path: Path) -> Facts:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _compare(path: Path, facts: Facts) -> None:
    if not path.is_file():
        raise _fault(path, "is missing")
    size = path.stat().st_size
    if size != facts["bytes"]:
        raise _fault(path, f"must have {facts['bytes']} bytes, got {size}")
    sha256 = file_sha256(path)
    if sha256 != facts["sha256"]:
        raise _fault(path, f"must have SHA-256 {facts['sha256'][:16]}…, got {sha256[:16]}…")


def _fault(path: Path, rule: str) -> UserError:
    return UserError(
        f"{path}: {rule}: not as it was written; `make verify` says whether DVC's cache holds a "
        "sound copy, `dvc repro -f` for the stage that writes it makes it anew"
    )
