"""The folder of a run's results: what lies in it, and how it changes whole or not at all."""

import contextlib
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mammo.errors import UserError
from mammo.locks import only_one

WORK = ".work"
_WRITTEN = {
    "predictions.csv", "breasts.csv", "patients.csv", "quarantine.csv", "run.json", "maps", "dicom",
    "metrics.json", "report.md",
}  # fmt: skip
_DESKTOP = {".DS_Store", "Thumbs.db", "desktop.ini"}  # whoever looks at a folder leaves one
_MARKS = {WORK, "run.json", "metrics.json"}  # every run leaves one of them
_INSIDE = {  # what a run writes into its folders, under keys and UIDs
    "maps": re.compile(r"index\.html|[0-9a-f]+\.png"),
    "dicom": re.compile(r"(map-[0-9a-f]+|report-[0-9.]+)\.dcm"),
}

logger = logging.getLogger(__name__)


@contextmanager
def one_run(out: Path) -> Iterator[None]:
    """Keep a second run out of the folder while the block lasts: it would clear the first's work.

    Raises:
        UserError: `out` holds something that isn't a run's, or another run writes it; says which.
    """
    check_out(out)
    lock = out / WORK / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)  # where nothing can be written, that is all
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(only_one(lock, str(out)))
        except OSError as error:
            logger.warning("%s: no lock (%s): don't write %s by two runs at once", lock, error, out)
        yield


@contextmanager
def results(out: Path) -> Iterator[Path]:
    """Yield an empty folder; its entries take the places of an earlier run's if the block succeeds.

    Raises:
        UserError: `out` holds something that isn't a run's.
    """
    check_out(out)
    out.mkdir(parents=True, exist_ok=True)
    partial = out / WORK / "results"
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
    strange = _strangers(out)
    if strange:
        raise UserError(
            f"{out}: --out must be empty or a folder of an earlier run, got {strange[0]!r} in it"
        )


def _strangers(out: Path) -> list[str]:
    """List what no run wrote: a run removes what an earlier one left, and may remove nothing else.

    Mammograms lie in a folder `dicom` as well, and any tool's results in `predictions.csv`.
    """
    names = {entry.name for entry in out.glob("*")} - _DESKTOP
    known = {WORK, *_WRITTEN} if names & _MARKS else set()
    return sorted(names - known) + [
        f"{folder}/{entry.name}"
        for folder, written in _INSIDE.items()
        for entry in sorted((out / folder).glob("*"))
        if not written.fullmatch(entry.name) and entry.name not in _DESKTOP
    ]
