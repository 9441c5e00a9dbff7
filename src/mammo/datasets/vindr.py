"""`vindr`: VinDr-Mammo (PhysioNet, 2022).

`root` is `images/`, holding `{study_id}/{image_id}.dicom`; `table` is
`breast-level_annotations.csv`. The density is of one breast, not of the patient: 32 studies differ
between left and right.
"""

from pathlib import Path

from mammo.datasets.folders import Finder, list_files
from mammo.datasets.label_tables import read_label_table
from mammo.datasets.rows import BIRADS_LETTERS, ImageRow, labelled, located, placed, published

COLUMNS = ("study_id", "image_id", "laterality", "view_position", "breast_density", "split")
LABELS = {f"DENSITY {letter}": label for letter, label in BIRADS_LETTERS.items()}


def read(root: Path, table: Path) -> list[ImageRow]:
    """Read the breast-level annotations: one row an image, split into training and test."""
    rows, finder = [], Finder(list_files(root))
    for cells in read_label_table(table, COLUMNS):
        row = ImageRow(f"{cells['study_id']}/{cells['image_id']}.dicom", cells["study_id"])
        row = labelled(located(row, finder), cells["breast_density"], LABELS)
        row = placed(row, cells["laterality"], cells["view_position"])
        rows.append(published(row, cells["split"]))
    return rows
