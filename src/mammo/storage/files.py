"""Read and write tables, JSON and folders; what is written appears whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from mammo.errors import UserError


def read_table(path: Path, **dtypes: Any) -> pd.DataFrame:
    """Read a CSV of ours: every column as text but those named in `dtypes`, blanks as ''.

    Raises:
        UserError: The file is missing.
    """
    if not path.exists():
        raise UserError(f"{path}: not found; run `dvc repro` for the stage that writes it")
    columns = pd.read_csv(path, nrows=0).columns
    types = {column: dtypes.get(column, str) for column in columns}
    return pd.read_csv(path, dtype=types, keep_default_na=False, na_values={})


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV with LF line ends and floats of 9 significant digits."""
    write_text(table.to_csv(index=False, lineterminator="\n", float_format="%.9g"), path)


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    if not path.exists():
        raise UserError(f"{path}: not found; run `dvc repro` for the stage that writes it")
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(value: Any, path: Path) -> None:
    """Write JSON in the order given; NaN and infinity are refused."""
    write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write a text file whole."""
    write_bytes(text.encode("utf-8"), path)


def write_bytes(content: bytes, path: Path) -> None:
    """Write a file under a temporary name, then move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it takes the place of `path` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        shutil.rmtree(path, ignore_errors=True)
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
