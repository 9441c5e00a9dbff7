"""`cbis_ddsm`: CBIS-DDSM, curated digitised films (The Cancer Imaging Archive, 2017).

`root` is the downloaded folder of DICOM files, or of JPEGs named by series (`SERIES/1-007.jpg`), as
most people have it; `table` is the folder of the four tables
`{calc,mass}_case_description_{train,test}_set.csv`, one row an abnormality. The tables' paths are
those of an older download, so a file is found by the folder that the download made of its case
(`Calc-Test_P_00038_LEFT_CC`) or series, or by that as its own name.

31 patients are in a training table and in a test table. All their images go to train and carry the
flag `published_split_moved`: what is left of test is then a part of the published test set, and no
patient is on both sides.
"""

import logging
from collections import defaultdict
from dataclasses import replace
from pathlib import Path, PurePosixPath

from mammo.datasets.folders import (
    DICOM_SUFFIXES,
    composed,
    is_image,
    list_files,
    listing,
    originals,
)
from mammo.datasets.label_tables import read_label_table
from mammo.datasets.rows import BIRADS_NUMBERS, ImageRow, labelled, placed
from mammo.errors import UserError

logger = logging.getLogger(__name__)

PATH = "image file path"
COLUMNS = ("patient_id", "left or right breast", "image view", PATH)
DENSITY = {"calc": "breast density", "mass": "breast_density"}


def read(root: Path, table: Path) -> list[ImageRow]:
    """Read one row an abnormality; rows of one image are equal unless their labels differ.

    Raises:
        UserError: None of the four tables is in the folder.
    """
    files = _files_by_name(root)
    rows, missing = [], []
    for kind, density in DENSITY.items():
        for split in ("train", "test"):
            path = table / f"{kind}_case_description_{split}_set.csv"
            if not path.is_file():
                missing.append(path.name)
                continue
            for cells in read_label_table(path, (*COLUMNS, density)):
                rows.append(_row(cells, cells[density], split, files))
    if not rows:
        raise UserError(f"{table}: must hold {', '.join(missing)}; {listing(table)}")
    if missing:
        logger.warning("%s: goes without %s, which are not there", table, ", ".join(missing))
    return _without_shared_patients(rows)


def _files_by_name(root: Path) -> dict[str, list[str]]:
    """List the images below every folder by the folder's own name, and each by its stem."""
    files = defaultdict(list)
    for path in list_files(root):
        if is_image(path):
            name = PurePosixPath(composed(path))
            for part in {*name.parts[:-1], name.stem}:
                files[part].append(path)
    return files


def _row(cells: dict[str, str], density: str, split: str, files: dict[str, list[str]]) -> ImageRow:
    case, _, below = cells[PATH].partition("/")
    series = below.split("/")[-2] if below.count("/") else ""
    found = originals(files.get(composed(case)) or files.get(series) or [], DICOM_SUFFIXES)
    row = ImageRow(found[0] if found else cells[PATH], cells["patient_id"], published_split=split)
    if len(found) != 1:
        reason = "file_ambiguous" if found else "file_missing"
        row = row.rejected(
            reason,
            f"{len(found)} images lie in a folder {case} or {series}, or are so named; must be one",
        )
    row = labelled(row, density, BIRADS_NUMBERS)
    return placed(row, cells["left or right breast"], cells["image view"])


def _without_shared_patients(rows: list[ImageRow]) -> list[ImageRow]:
    splits = defaultdict(set)
    for row in rows:
        splits[row.patient_id].add(row.published_split)
    return [
        replace(row, published_split="train", flag="published_split_moved")
        if len(splits[row.patient_id]) > 1
        else row
        for row in rows
    ]
