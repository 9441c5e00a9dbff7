"""`embed`: the Emory Breast Imaging Dataset, open data (Jeong et al., Radiol Artif Intell 2023).

`root` is `images/`, holding `cohort_1/{empi_anon}/…/{uid}.dcm`; `table` is the folder `tables/`
with `EMBED_OpenData_metadata.csv` (one row an image) and `EMBED_OpenData_clinical.csv` (one row a
finding, density in `tissueden`), or the `_reduced` ones. An image takes the density of the findings
of its accession and side; a finding whose side is B or blank holds for both sides.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from mammo.datasets.folders import Finder, list_files, listing
from mammo.datasets.label_tables import read_label_table
from mammo.datasets.rows import (
    BIRADS_NUMBERS,
    LATERALITIES,
    ImageRow,
    is_blank,
    labelled,
    located,
    normalised,
    placed,
)
from mammo.errors import UserError

CLINICAL = ("acc_anon", "side", "tissueden")
METADATA = (
    "empi_anon",
    "acc_anon",
    "anon_dicom_path",
    "FinalImageType",
    "ImageLateralityFinal",
    "ViewPosition",
    "spot_mag",
)
MALE = ("5", "5.0")
_ROUNDED = re.compile(r"[\d.,]+E\+\d+", re.IGNORECASE)

Densities = Mapping[tuple[str, str], set[str]]


def read(root: Path, table: Path) -> list[ImageRow]:
    """Read one row an image, or several where findings of one breast disagree.

    Raises:
        UserError: A table isn't there, or a spreadsheet rounded its accessions.
    """
    densities = defaultdict(set)
    for cells in _rows(_table(table, "clinical"), CLINICAL):
        if not is_blank(cells["tissueden"]):
            for side in _sides(cells["side"]):
                densities[cells["acc_anon"], side].add(cells["tissueden"])
    finder = Finder(list_files(root))
    return [
        row
        for cells in _rows(_table(table, "metadata"), METADATA)
        for row in _image(cells, densities, finder)
    ]


def _sides(side: str) -> tuple[str, ...]:
    """Tell the sides that a finding holds for: none where its side is none that is known."""
    if is_blank(side) or normalised(side) == "B":
        return ("L", "R")
    return tuple(filter(None, [LATERALITIES.get(normalised(side))]))


def _table(folder: Path, name: str) -> Path:
    paths = [folder / f"EMBED_OpenData_{name}{suffix}.csv" for suffix in ("", "_reduced")]
    for path in paths:
        if path.is_file():
            return path
    raise UserError(f"{folder}: must hold {paths[0].name} or {paths[1].name}; {listing(folder)}")


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    rows = read_label_table(path, columns)
    for cells in rows:
        # An accession has 16 digits; many exams share the first six.
        if _ROUNDED.fullmatch(cells["acc_anon"]):
            raise UserError(
                f"{path}: acc_anon {cells['acc_anon']!r} is a number that a spreadsheet rounded, "
                "so exams can't be told apart; take the published file"
            )
    return rows


def _image(cells: Mapping[str, str], densities: Densities, finder: Finder) -> list[ImageRow]:
    accession, side = cells["acc_anon"], cells["ImageLateralityFinal"]
    # Published as /mnt/NAS2/mammo/anon_dicom/cohort_1/…; below images/ it begins with the cohort.
    start = max(cells["anon_dicom_path"].find("cohort_"), 0)
    path = cells["anon_dicom_path"][start:]
    row = located(ImageRow(path, cells["empi_anon"], accession), finder)
    row = placed(row, side, cells["ViewPosition"])
    if cells["FinalImageType"] != "2D":
        return [row.rejected("synthetic_2d", f"FinalImageType {cells['FinalImageType']!r}")]
    if not is_blank(cells["spot_mag"]) and cells["spot_mag"] not in ("0", "0.0"):
        return [row.rejected("spot_view", f"spot_mag {cells['spot_mag']!r}")]
    tokens = sorted(densities.get((accession, row.laterality), ()))
    if not tokens:
        return [
            row.rejected(
                "label_missing",
                f"no finding of accession {accession} tells the density of side {side}",
            )
        ]
    return [_labelled(row, token) for token in tokens]


def _labelled(row: ImageRow, token: str) -> ImageRow:
    if token in MALE:
        return row.rejected("male", "tissueden 5 is a normal male breast")
    return labelled(row, token, BIRADS_NUMBERS)
