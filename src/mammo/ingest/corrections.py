"""Labels that a reader changed after the table was written: dataset.corrections."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mammo.datasets.label_tables import read_label_table
from mammo.errors import UserError

COLUMNS = ("key", "old", "new", "who", "when")


def corrected(labels: pd.DataFrame, path: Path, classes: tuple[str, ...]) -> pd.DataFrame:
    """Apply the rows of a table of corrections; with its header alone it changes nothing.

    Args:
        labels: Columns key, label.
        path: A table with the columns key, old, new, who, when: of each image that a reader
            judged anew, its key in data/images.csv, the label it had, and the one it gets.
        classes: The labels there are.

    Raises:
        UserError: The table isn't there, names an image that isn't accepted or a label that isn't
            its, or names an image twice.
    """
    rows = _read(path)
    at = dict(zip(labels["key"], labels["label"], strict=True))
    seen: set[str] = set()
    for number, row in enumerate(rows, start=2):
        fault = _fault(row, at, seen, classes)
        if fault:
            raise UserError(f"{path}: row {number} (dataset.corrections): {fault}")
        seen.add(row["key"])
        at[row["key"]] = row["new"]
    return labels.assign(label=labels["key"].map(at))


def count(path: Path) -> int:
    """Count the corrections."""
    return len(_read(path))


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError(
            f"{path}: no such file (dataset.corrections); for no correction it holds the line "
            f"{','.join(COLUMNS)} alone"
        )
    return read_label_table(
        path, COLUMNS, dict.fromkeys(COLUMNS, "dataset.corrections"), rowless=True
    )


def _fault(
    row: Mapping[str, str], labels: Mapping[str, str], seen: set[str], classes: tuple[str, ...]
) -> str:
    """Say what is wrong with a row, or nothing."""
    key, old, new = row["key"], row["old"], row["new"]
    if key not in labels:
        return f"key {key!r} names no accepted image; remove the row, or see data/quarantine.csv"
    if key in seen:
        return f"key {key!r} stands in an earlier row too; keep the last reading alone"
    if new not in classes:
        return f"new must be one of {', '.join(classes)}, got {new!r}"
    if labels[key] != old:
        return (
            f"old must be the label that the table gives {key}, {labels[key]!r}, got {old!r}; "
            "where the table was changed since, remove the row"
        )
    return ""
