"""The folder of a run's results: what lies in it, and how it changes whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mammo.errors import UserError

WORK = ".work"
_WRITTEN = {
    "predictions.csv", "breasts.csv", "patients.csv", "quarantine.csv", "run.json", "maps", "dicom",
    "metrics.json", "report.md",
}  # fmt: skip


@contextmanager
def results(out: Path) -> Iterator[Path]:
    """Yield an empty folder; its entries take the places of an earlier run's if the block succeeds.

    Raises:
        UserError: `out` holds something that isn't a run's.
    """
    check_out(out)
    out.mkdir(parents=True, exist_ok=True)
    partial = out / WORK / f"results.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        # run.json goes first and comes back last: while it is missing, the run isn't whole.
        for name in ("run.json", *sorted(_WRITTEN)):
            shutil.rmtree(out / name, ignore_errors=True)
            (out / name).unlink(missing_ok=True)
        for entry in sorted(partial.iterdir(), key=lambda entry: entry.name == "run.json"):
            entry.replace(out / entry.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_out(out: Path) -> None:
    """Refuse a folder that holds what no run wrote.

    Raises:
        UserError: Names it.
    """
    if out.is_file():
        raise UserError(f"{out}: --out must be a folder, got a file")
    strange = sorted(entry.name for entry in out.glob("*") if entry.name not in {WORK, *_WRITTEN})
    if strange:
        raise UserError(
            f"{out}: --out must be empty or a folder of an earlier run, got {strange[0]!r} in it"
        )
