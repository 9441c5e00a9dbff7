"""`cdd_cesm`: low-energy mammograms of CDD-CESM (The Cancer Imaging Archive, 2021).

`root` is `CDD-CESM/` or its folder `Low energy images of CDD-CESM/`, of JPEGs named
`P1_L_DM_MLO.jpg`; `table` is `Radiology-manual-annotations.xlsx`, whose sheet `all` has one row an
image, or that sheet saved as CSV. Names have stray spaces, in the table and on disk. Subtracted
images (Type CESM) show contrast agent and aren't mammograms in the usual sense.
"""

from collections import defaultdict
from pathlib import Path, PurePosixPath

from mammo.datasets.folders import composed, is_image, list_files, originals
from mammo.datasets.label_tables import SHEETS, read_label_table, read_sheet
from mammo.datasets.rows import BIRADS_LETTERS, ImageRow, labelled, placed

SHEET = "all"
DENSITY = "Breast density (ACR)"
COLUMNS = ("Image_name", "Patient_ID", "Side", "Type", "View", DENSITY)
LOW_ENERGY = "DM"
PUBLISHED = (".jpg", ".jpeg")


def read(root: Path, table: Path) -> list[ImageRow]:
    """Read one row an image."""
    files = defaultdict(list)
    for path in filter(is_image, list_files(root)):
        files["".join(composed(PurePosixPath(path).stem).split())].append(path)
    if table.suffix.lower() in SHEETS:
        rows = read_sheet(table, SHEET, COLUMNS)
    else:
        rows = read_label_table(table, COLUMNS)
    return [_row(cells, files) for cells in rows]


def _row(cells: dict[str, str], files: dict[str, list[str]]) -> ImageRow:
    name = "".join(composed(cells["Image_name"]).split())
    found = originals(files.get(name, []), PUBLISHED)
    path = found[0] if found else f"{name}.jpg"
    row = ImageRow(path, "".join(cells["Patient_ID"].split()))
    if len(found) > 1:
        row = row.rejected("file_ambiguous", f"{name} may be {' or '.join(found)}")
    row = placed(row, cells["Side"], cells["View"])
    if cells["Type"] != LOW_ENERGY:
        return row.rejected("not_low_energy", f"Type {cells['Type']!r}")
    return labelled(row, cells[DENSITY], BIRADS_LETTERS)
