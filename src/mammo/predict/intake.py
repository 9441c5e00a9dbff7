"""New files on their way in: the rules of ingestion and the preprocessing of the bundle.

A file, a folder of any depth, or a table without labels; what isn't answered is quarantined with
the reasons that training images are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from mammo.datasets.folders import Survey, is_utf8, shown, survey
from mammo.datasets.label_tables import columns_there, read_label_table
from mammo.datasets.rows import ImageRow, placed
from mammo.dicom.params import Limits
from mammo.errors import UserError
from mammo.ingest.acceptance import FILE_COLUMNS, accept, file_row
from mammo.ingest.keys import image_key, patient_key
from mammo.ingest.params import IngestParams
from mammo.ingest.sieve import Candidate, Sieve
from mammo.ingest.table_rows import files_in_no_row, one_row_a_path, rows_on_disk
from mammo.preprocess.dataset import FACTS, decode_files
from mammo.preprocess.params import PreprocessParams
from mammo.storage.files import read_table
from mammo.storage.scratch import Store

TABLE_SUFFIXES = (".csv", ".tsv")
_OPTIONAL = ("patient_id", "laterality", "view")


@dataclass(frozen=True)
class Sources:
    """What to look at.

    Attributes:
        root: The folder that paths are relative to.
        rows: One a file, without label.
    """

    root: Path
    rows: list[ImageRow]


@dataclass(frozen=True)
class Intake:
    """What came in.

    Attributes:
        files: Columns of data/files.csv, and patient (a key), study_instance_uid, sop_class_uid,
            voi: of the images prepared, sorted by key.
        quarantine: Columns path, patient_id, reason, detail.
    """

    files: pd.DataFrame
    quarantine: pd.DataFrame


def find_sources(place: Path, root: Path | None = None, out: Path | None = None) -> Sources:
    """List what a file, a folder or a table names.

    Args:
        place: A DICOM file or picture; a folder; or a CSV with a column image_path, and perhaps
            patient_id, laterality and view.
        root: Of a table's paths; None for the table's own folder.
        out: The folder of results; what an earlier run has left there is no mammogram.

    Raises:
        UserError: There is no such place, or nothing in it, or a root that isn't a table's folder.
    """
    is_table = place.suffix.lower() in TABLE_SUFFIXES and place.is_file()
    if root is not None and place.exists():
        _check_root(root, is_table, "a folder" if place.is_dir() else "a file")
    if place.is_dir():
        looked_at = survey(place)
        if out is not None and out.resolve().is_relative_to(place.resolve()):
            below = out.resolve().relative_to(place.resolve()).as_posix()
            looked_at.files = [f for f in looked_at.files if not f.startswith(f"{below}/")]
        found = files_in_no_row(place, set(), looked_at)
        rows = [
            ImageRow(path)
            if fault.reason == "file_not_in_table"  # there is no table to be in
            else ImageRow(path).rejected(fault.reason, fault.detail)
            for path, fault in found
        ]
        named = {row.path for row in rows}  # by their suffixes; but a name may end in any way
        others = (path for path in looked_at.files if path not in named)
        rows += [ImageRow(path) for path in others if _has_preamble(place / path)]
        if not rows:
            raise UserError(f"{place}: must hold DICOM files or pictures, got none")
        return Sources(place, rows)
    if not place.is_file():
        raise UserError(f"{place}: no such file or folder")
    if is_table:
        return Sources(root or place.parent, _table_rows(place))
    if not is_utf8(place.name):
        raise UserError(f"{shown(place.name)}: its name isn't UTF-8; rename the file")
    return Sources(place.parent, [ImageRow(place.name)])


def _check_root(root: Path, is_table: bool, kind: str) -> None:
    if not is_table:
        raise UserError(
            f"--root {root}: is for a table's paths, got {kind} to look at; leave it out"
        )
    if not root.is_dir():
        raise UserError(f"--root {root}: no such folder; a table's paths begin there")


def _has_preamble(file: Path) -> bool:
    """Tell a DICOM file by its first bytes (PS3.10 7.1)."""
    try:
        with file.open("rb") as content:
            return content.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _table_rows(table: Path) -> list[ImageRow]:
    rows = []
    there = columns_there(table, ("image_path", *_OPTIONAL))
    for cells in read_label_table(table, list(dict.fromkeys(["image_path", *there]))):
        patient, side, view = (cells.get(name, "") for name in _OPTIONAL)
        path = PurePosixPath(cells["image_path"].replace("\\", "/"))
        row = placed(ImageRow(path.as_posix(), patient_id=patient), side, view)
        if not cells["image_path"]:
            row = row.rejected("path_missing", "the row names no image: image_path is blank")
        elif path.is_absolute() or ".." in path.parts:
            row = row.rejected("path_outside_root", f"{path} leads out of the table's folder")
        rows.append(row)
    return rows


def take_in(
    sources: Sources,
    ingest: IngestParams,
    preprocess: PreprocessParams,
    limits: Limits,
    secret: bytes,
    store: Store,
    folder: Path,
) -> Intake:
    """Accept, decode and prepare images; write their tensors into a folder.

    Args:
        sources: What to look at.
        ingest: The rules.
        preprocess: The same as in training.
        limits: Bounds on a file.
        secret: Under which keys are made.
        store: Where prepared images are kept between runs.
        folder: An empty folder for the tensors; stays empty where nothing is accepted.

    Raises:
        UserError: Two patients share an image.
    """
    sieve = Sieve(ingest.policies)
    rows = one_row_a_path(sources.rows, sieve)
    # One file needs no look at all that lies beside it.
    found = survey(sources.root) if len(rows) > 1 else Survey([row.path for row in rows])
    rows = sorted(rows_on_disk(sources.root, rows, sieve, found), key=lambda row: row.path)
    candidates = accept(sources.root, rows, sieve, ingest, limits)
    files = _files_table(candidates, secret)
    quarantine = sieve.table()
    if files.empty:
        return Intake(files.assign(voi=""), quarantine)
    result = decode_files(files, sources.root, preprocess, limits, store, folder, may_be_none=True)
    prepared = result.quarantine
    quarantine = pd.concat([quarantine, prepared], ignore_index=True)
    lost = set(prepared["path"])
    files = files[~files["path"].isin(lost)].reset_index(drop=True)
    files = files.merge(grey_scales(folder), on="key") if len(files) else files.assign(voi="")
    return Intake(files, quarantine.sort_values("path"))


def _files_table(candidates: Sequence[Candidate], secret: bytes) -> pd.DataFrame:
    """Write the accepted files down, by key."""
    rows = []
    for image in candidates:
        header = image.file.header
        study = header.study_instance_uid if header else ""
        sop_class = header.sop_class_uid if header else ""
        patient = patient_key(secret, image.row.patient_id)
        key = image_key(secret, image.row.path)
        rows.append((*file_row(key, image), patient, study, sop_class))
    columns = [*FILE_COLUMNS, "patient", "study_instance_uid", "sop_class_uid"]
    return pd.DataFrame(rows, columns=columns).sort_values("key", ignore_index=True)


def grey_scales(tensors: Path) -> pd.DataFrame:
    """Read which grey scale each prepared image has: columns key, voi."""
    return read_table(tensors / FACTS)[["key", "voi"]]
