"""Read and write tables, JSON and folders; what is written appears whole or not at all."""

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammo.errors import UserError
from mammo.locks import only_one
from mammo.storage.manifest import MANIFEST, check_file, manifest_text

if TYPE_CHECKING:  # stages without a table, such as check, do without its half second
    import pandas as pd

_SYNC_THREADS = 8  # file systems gather what is synced at once: 400 files in .06 s instead of 1.4


def read_table(path: Path, **dtypes: Any) -> "pd.DataFrame":
    """Read a CSV of ours: every column as text but those named in `dtypes`, blanks as ''.

    Raises:
        UserError: The file is missing, no table, or not as the manifest beside it says.
    """
    import pandas as pd

    _require(path)
    try:
        with path.open("rb") as file:  # a spreadsheet's lines end with CRLF; our cells may hold CR
            end = None if file.readline().endswith(b"\r\n") else "\n"
        columns = pd.read_csv(path, nrows=0, lineterminator=end).columns
        types = {column: dtypes.get(column, str) for column in columns}
        return pd.read_csv(
            path, dtype=types, keep_default_na=False, na_values={}, lineterminator=end
        )
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise _damaged(path, f"not a readable table: {str(error).strip()}") from None


def write_table(table: "pd.DataFrame", path: Path) -> None:
    """Write a CSV with LF line ends and floats of 9 significant digits."""
    write_text(table_text(table), path)


def table_text(table: "pd.DataFrame") -> str:
    """Format a table as it is written."""
    return table.to_csv(index=False, lineterminator="\n", float_format="%.9g")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: The file is missing, cut, or not as the manifest beside it says.
    """
    _require(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path, f"not readable JSON: {error}") from None


def write_json(value: Any, path: Path) -> None:
    """Write JSON in the order given; NaN and infinity are refused."""
    write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write a text file whole."""
    write_bytes(text.encode("utf-8"), path)


def write_bytes(content: bytes, path: Path, durable: bool = True) -> None:
    """Write a file under a temporary name, then move it into place.

    Args:
        content: All of it.
        path: Its folder is made where there is none.
        durable: Wait until it is on the disk: a loss of power then leaves the old file or the new.
    """
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{_own_name()}.partial")
        try:
            with partial.open("wb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            partial.replace(path)
            if durable:
                _sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, manifest: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill; it takes the place of `path` only if the block succeeds.

    Args:
        path: The folder.
        manifest: Add a `manifest.json` of all files; whoever reads the folder compares them.

    Raises:
        UserError: Another process is writing `path`; says which.
    """
    lock = path.with_name(f".{path.name}.lock")
    with _named(path), only_one(lock, str(path)):
        # We hold the lock, so what lies here was left by a process that was killed.
        for left_over in path.parent.glob(f".{path.name}.*.partial"):
            shutil.rmtree(left_over, ignore_errors=True)
        partial = path.with_name(f".{path.name}.{_own_name()}.partial")
        old = path.with_name(f".{path.name}.{_own_name()}.partial")
        partial.mkdir()
        try:
            yield partial
            if manifest:
                (partial / MANIFEST).write_text(manifest_text(partial), encoding="utf-8")
            _sync(partial)
            with contextlib.suppress(FileNotFoundError):
                path.replace(old)
            partial.replace(path)
            _sync_folder(path.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def _require(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: not found; run `dvc repro` for the stage that writes it")
    check_file(path)


def _damaged(path: Path, fault: str) -> UserError:
    return UserError(
        f"{path}: {fault}; remove it and run `dvc repro` for the stage that writes it "
        "(`make verify` looks for damage in DVC's cache)"
    )


def _own_name() -> str:
    """Name this process and this moment, so that no two writers share a temporary file."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give the path to a fault that the system reports without one, such as a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def _sync(folder: Path) -> None:
    """Put the files and folders below a folder on the disk."""
    below = list(folder.rglob("*"))
    files: Iterable[Path] = (path for path in below if path.is_file() and not path.is_symlink())
    with ThreadPoolExecutor(_SYNC_THREADS) as pool:
        list(pool.map(_sync_file, files))
    for path in (folder, *below):
        if path.is_dir():
            _sync_folder(path)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Put a folder's entries on the disk, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
