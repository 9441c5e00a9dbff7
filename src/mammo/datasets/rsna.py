"""`rsna`: RSNA Screening Mammography Breast Cancer Detection (Kaggle, 2022).

`root` is `train_images/`, holding `{patient_id}/{image_id}.dcm`, or the same in another form
(`{patient_id}_{image_id}.png`); `table` is `train.csv`. One of the
two sites reports no density: 25,236 of 54,706 rows are blank.
"""

from pathlib import Path

from mammo.datasets.folders import Finder, list_files
from mammo.datasets.label_tables import read_label_table
from mammo.datasets.rows import BIRADS_LETTERS, ImageRow, labelled, located, placed

COLUMNS = ("patient_id", "image_id", "laterality", "view", "density")


def read(root: Path, table: Path) -> list[ImageRow]:
    """Read `train.csv`: one row an image."""
    finder = Finder(list_files(root))
    return [_row(cells, finder) for cells in read_label_table(table, COLUMNS)]


def _row(cells: dict[str, str], finder: Finder) -> ImageRow:
    row = ImageRow(f"{cells['patient_id']}/{cells['image_id']}.dcm", cells["patient_id"])
    row = labelled(located(row, finder), cells["density"], BIRADS_LETTERS)
    return placed(row, cells["laterality"], cells["view"])
