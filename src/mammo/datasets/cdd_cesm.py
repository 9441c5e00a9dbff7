"""`cdd_cesm`: low-energy mammograms of CDD-CESM (The Cancer Imaging Archive, 2021).

`root` is `CDD-CESM/` or its folder `Low energy images of CDD-CESM/`, of JPEGs named
`P1_L_DM_MLO.jpg`; `table` is `Radiology-manual-annotations.xlsx`, whose sheet `all` has one row an
image. Names have stray spaces, in the table and on disk. Subtracted images (Type CESM) show
contrast agent and aren't mammograms in the usual sense.
"""

from collections import defaultdict
from pathlib import Path, PurePosixPath

from mammo.datasets.folders import composed, is_image, list_files
from mammo.datasets.label_tables import read_sheet
from mammo.datasets.rows import BIRADS_LETTERS, ImageRow, labelled, placed

SHEET = "all"
DENSITY = "Breast density (ACR)"
COLUMNS = ("Image_name", "Patient_ID", "Side", "Type", "View", DENSITY)
LOW_ENERGY = "DM"


def read(root: Path, table: Path) -> list[ImageRow]:
    """Read one row an image."""
    files = defaultdict(list)
    for path in filter(is_image, list_files(root)):
        files["".join(composed(PurePosixPath(path).stem).split())].append(path)
    return [_row(cells, files) for cells in read_sheet(table, SHEET, COLUMNS)]


def _row(cells: dict[str, str], files: dict[str, list[str]]) -> ImageRow:
    name = "".join(composed(cells["Image_name"]).split())
    found = files.get(name, [])
    path = found[0] if found else f"{name}.jpg"
    row = ImageRow(path, "".join(cells["Patient_ID"].split()))
    if len(found) > 1:
        row = row.rejected("file_ambiguous", f"{name} may be {' or '.join(found)}")
    row = placed(row, cells["Side"], cells["View"])
    if cells["Type"] != LOW_ENERGY:
        return row.rejected("not_low_energy", f"Type {cells['Type']!r}")
    return labelled(row, cells[DENSITY], BIRADS_LETTERS)
