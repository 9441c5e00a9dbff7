"""`rsna`: RSNA Screening Mammography Breast Cancer Detection (Kaggle, 2022).

`root` is `train_images/`, holding `{patient_id}/{image_id}.dcm`; `table` is `train.csv`. One of the
two sites reports no density: 25,236 of 54,706 rows are blank.
"""

from pathlib import Path

from mammo.datasets.label_tables import read_label_table
from mammo.datasets.rows import BIRADS_LETTERS, ImageRow, labelled, placed

COLUMNS = ("patient_id", "image_id", "laterality", "view", "density")


def read(root: Path, table: Path) -> list[ImageRow]:
    """Read `train.csv`: one row an image."""
    return [
        placed(
            labelled(
                ImageRow(f"{row['patient_id']}/{row['image_id']}.dcm", row["patient_id"]),
                row["density"],
                BIRADS_LETTERS,
            ),
            row["laterality"],
            row["view"],
        )
        for row in read_label_table(table, COLUMNS)
    ]
