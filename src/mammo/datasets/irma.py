"""`irma`: exams labelled by accession number, in `classificacao.csv`.

`root` holds a folder for each exam, `{AccessionNumber}/`, with DICOM files below it at any depth;
`table` has the columns AccessionNumber and Classification (and perhaps ClassificationDate). The
label is of the exam, so every image of it gets the label. Class 5 is no BI-RADS density.
"""

from collections import defaultdict
from pathlib import Path

from mammo.datasets.folders import composed, list_files, listing
from mammo.datasets.label_tables import read_label_table
from mammo.datasets.rows import BIRADS_NUMBERS, ImageRow, labelled

COLUMNS = ("AccessionNumber", "Classification")


def read(root: Path, table: Path) -> list[ImageRow]:
    """Read one row an exam and file; patient, side and view are the header's."""
    files = defaultdict(list)
    for path in list_files(root):
        files[composed(path).partition("/")[0]].append(path)
    return [
        row
        for cells in read_label_table(table, COLUMNS)
        for row in _exam(root, cells["AccessionNumber"], cells["Classification"], files)
    ]


def _exam(
    root: Path, accession_number: str, label: str, files: dict[str, list[str]]
) -> list[ImageRow]:
    if not accession_number:
        return [ImageRow("").rejected("path_missing", "AccessionNumber is blank")]
    paths = [path for path in files.get(composed(accession_number), []) if "/" in path]
    if not paths:
        return [
            ImageRow(accession_number, accession_number=accession_number).rejected(
                "file_missing",
                f"no folder {root / accession_number}, or an empty one; {listing(root)}",
            )
        ]
    rows = [ImageRow(path, accession_number=accession_number) for path in paths]
    if label in ("5", "5.0"):
        return [row.rejected("class_5", "Classification 5 is no BI-RADS density") for row in rows]
    return [labelled(row, label, BIRADS_NUMBERS) for row in rows]
