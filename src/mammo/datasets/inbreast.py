"""`inbreast`: INbreast (Moreira et al., Acad Radiol 2012).

`root` is `AllDICOMs/`, holding `{File Name}_{patient}_MG_{side}_{view}_ANON.dcm` or pictures so
named; `table` is `INbreast.csv`, separated by semicolons. Its column Patient ID reads "removed"
throughout, so the patient is the second token of the file's name. The view is the table's: the
names write ML where the table has MLO. One ACR is blank. Rows at the foot of the workbook name no
file.
"""

from collections import defaultdict
from pathlib import Path, PurePosixPath

from mammo.datasets.folders import DICOM_SUFFIXES, composed, is_image, list_files, originals
from mammo.datasets.label_tables import read_label_table
from mammo.datasets.rows import BIRADS_NUMBERS, ImageRow, labelled, placed

COLUMNS = ("File Name", "Laterality", "View", "ACR")


def read(root: Path, table: Path) -> list[ImageRow]:
    """Read one row an image."""
    files = defaultdict(list)
    for path in list_files(root):
        if is_image(path):
            files[PurePosixPath(composed(path)).stem.partition("_")[0]].append(path)
    return [_row(cells, files) for cells in read_label_table(table, COLUMNS)]


def _row(cells: dict[str, str], files: dict[str, list[str]]) -> ImageRow:
    name = cells["File Name"]
    if not name:
        return ImageRow("").rejected("path_missing", "File Name is blank")
    paths = originals(files.get(name, []), DICOM_SUFFIXES)
    tokens = PurePosixPath(paths[0]).stem.split("_") if paths else []
    row = ImageRow(paths[0] if paths else f"{name}_*.dcm", "".join(tokens[1:2]))
    if len(paths) != 1:
        reason = "file_ambiguous" if paths else "file_missing"
        row = row.rejected(reason, f"{len(paths)} files are named {name}_*.dcm")
    elif not row.patient_id:
        row = row.rejected("patient_missing", "the file name has no second token")
    return placed(labelled(row, cells["ACR"], BIRADS_NUMBERS), cells["Laterality"], cells["View"])
