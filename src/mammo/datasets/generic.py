"""`csv`: any folder of images with a table of one row an image, whose columns params.yaml names."""

from collections.abc import Mapping
from pathlib import Path

from mammo.datasets.label_tables import read_label_table
from mammo.datasets.params import PLACEHOLDER, Columns
from mammo.datasets.rows import ImageRow, labelled, normalised, placed, published


def read(root: Path, table: Path, columns: Columns, labels: Mapping[str, str]) -> list[ImageRow]:
    """Read the rows of a table; `labels` maps its tokens to A-D and nothing else is a label."""
    pattern = columns.image if "{" in columns.image else f"{{{columns.image}}}"
    keys = dict.fromkeys(PLACEHOLDER.findall(pattern), "dataset.columns.image")
    for field in ("patient_id", "laterality", "view", "label", "split"):
        if column := getattr(columns, field):
            keys.setdefault(column, f"dataset.columns.{field}")
    tokens = {normalised(token): label for token, label in labels.items()}
    return [
        _row(cells, pattern, columns, tokens) for cells in read_label_table(table, list(keys), keys)
    ]


def _row(
    cells: Mapping[str, str], pattern: str, columns: Columns, tokens: Mapping[str, str]
) -> ImageRow:
    def cell(column: str | None) -> str:
        return cells[column] if column else ""

    names = PLACEHOLDER.findall(pattern)
    path = PLACEHOLDER.sub(lambda match: cells[match[1]], pattern)
    row = ImageRow(path, patient_id=cell(columns.patient_id))
    if not all(cells[name] for name in names):
        row = row.rejected("path_missing", f"the row names no image: {columns.image} is blank")
    elif columns.patient_id and not row.patient_id:
        row = row.rejected("patient_missing", f"{columns.patient_id} is blank")
    row = labelled(row, cells[columns.label], tokens)
    row = placed(row, cell(columns.laterality), cell(columns.view))
    return published(row, cell(columns.split))
