"""The record of a training: a CSV that grows while it runs, and a summary of its best epoch."""

import csv
import os
from pathlib import Path
from typing import Any, Self, TextIO

Row = dict[str, Any]


class HistoryWriter:
    """Writes one row at a time and flushes it, so that the file can be watched as it grows."""

    def __init__(self, path: Path, active: bool = True):
        """Open the file; with `active` off nothing is written (another process does it)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        target = path if active else Path(os.devnull)
        self._file: TextIO = target.open("w", encoding="utf-8", newline="")
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def write(self, row: Row) -> None:
        """Append a row; the first one sets the columns. Floats get 9 significant digits."""
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, list(row), lineterminator="\n")
            self._writer.writeheader()
        self._writer.writerow({key: _text(value) for key, value in row.items()})
        self._file.flush()


def _text(value: Any) -> Any:
    return f"{value:.9g}" if isinstance(value, float) else value


def summarise(rows: list[Row], best_epoch: int, counts: dict[str, Any]) -> dict[str, Any]:
    """Assemble metrics/train/S.json: the epochs, `counts`, and the best epoch's train and val."""
    facts = ("strategy", "epoch", "split", "lr", "penalty")
    best = {
        row["split"]: {key: value for key, value in row.items() if key not in facts}
        for row in rows
        if row["epoch"] == best_epoch
    }
    return {"best_epoch": best_epoch, "epochs": rows[-1]["epoch"], **counts, **best}
