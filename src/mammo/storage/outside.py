"""Files that stages read and DVC doesn't hash: their SHA-256 stands in an out of stage `check`.

A file named in params.yaml, such as `dataset.key_file`, may lie anywhere, and a secret is no
dependency that a remote should ever see. So `check` notes what it holds, the stages that read it
compare, and `make verify` does.
"""

from collections.abc import Mapping
from pathlib import Path

from mammo import paths
from mammo.errors import UserError
from mammo.storage.digests import file_sha256
from mammo.storage.files import read_json, write_json


def note_outside(files: Mapping[str, Path | None], target: Path = paths.OUTSIDE) -> None:
    """Write down the SHA-256 of each file by the key of params.yaml that names it; None stays."""
    write_json({key: path and file_sha256(path) for key, path in files.items()}, target)


def require_noted(key: str, path: Path, noted: Path = paths.OUTSIDE) -> None:
    """Refuse a file that isn't the one which `check` saw.

    Raises:
        UserError: Its content is another one, or wasn't noted.
    """
    expected, found = read_json(noted).get(key), file_sha256(path)
    if found != expected:
        raise UserError(
            f"{path}: must be the file that stage check saw ({key}, SHA-256 "
            f"{str(expected)[:16]}…), got {found[:16]}…; restore it, or run "
            "`dvc repro -f -s check` and then `dvc repro`"
        )
