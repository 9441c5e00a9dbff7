"""Digests of files and of plain values."""

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any


def digest(value: Any) -> str:
    """Hash plain JSON values, in a fixed key order, to 64 hexadecimal digits (SHA-256)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def short_digest(value: Any) -> str:
    """Name plain JSON values by the first 12 digits of their `digest`."""
    return digest(value)[:12]


def file_sha256(path: Path) -> str:
    """Hash a file to 64 hexadecimal digits, without holding it in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_sha256(*packages: str) -> str:
    """Hash the modules of packages, by name and content: what a kept result depends on.

    Args:
        packages: Names as they are imported, such as `mammo.dicom`.
    """
    hashed = hashlib.sha256()
    for package in packages:
        folder = Path(str(importlib.import_module(package).__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            hashed.update(f"{package}/{path.relative_to(folder).as_posix()}\0".encode())
            hashed.update(hashlib.sha256(path.read_bytes()).digest())
    return hashed.hexdigest()
