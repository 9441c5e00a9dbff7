"""`cdd_cesm`: low-energy mammograms of CDD-CESM (The Cancer Imaging Archive, 2021).

`root` is `CDD-CESM/` or its folder `Low energy images of CDD-CESM/`, of JPEGs named
`P1_L_DM_MLO.jpg`; `table` is `Radiology-manual-annotations.xlsx`, whose sheet `all` has one row an
image. Names have stray spaces, in the table and on disk. Subtracted images (Type CESM) show
contrast agent and aren't mammograms in the usual sense.
"""

from pathlib import Path, PurePosixPath

from mammo.datasets.folders import list_files
from mammo.datasets.rows import BIRADS_LETTERS, ImageRow, labelled, placed
from mammo.datasets.spreadsheets import read_sheet

SHEET = "all"
DENSITY = "Breast density (ACR)"
COLUMNS = ("Image_name", "Patient_ID", "Side", "Type", "View", DENSITY)
LOW_ENERGY = "DM"


def read(root: Path, table: Path) -> list[ImageRow]:
    """Read one row an image."""
    files = {"".join(PurePosixPath(path).stem.split()): path for path in list_files(root)}
    return [_row(cells, files) for cells in read_sheet(table, SHEET, COLUMNS)]


def _row(cells: dict[str, str], files: dict[str, str]) -> ImageRow:
    name = "".join(cells["Image_name"].split())
    row = ImageRow(files.get(name, f"{name}.jpg"), "".join(cells["Patient_ID"].split()))
    row = placed(row, cells["Side"], cells["View"])
    if cells["Type"] != LOW_ENERGY:
        return row.rejected("not_low_energy", f"Type {cells['Type']!r}")
    return labelled(row, cells[DENSITY], BIRADS_LETTERS)
