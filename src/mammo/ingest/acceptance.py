"""Label table and image files -> the images to believe, and one reason for each of the others."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mammo.cohort.classes import CLASSES
from mammo.datasets.folders import composed, survey
from mammo.datasets.params import DatasetParams
from mammo.datasets.readers import read_dataset
from mammo.datasets.rows import LATERALITIES, ImageRow
from mammo.dicom.params import Limits
from mammo.errors import FileFault, UserError
from mammo.ingest.corrections import corrected, count
from mammo.ingest.duplicates import without_repeated_pixels, without_repeated_uids
from mammo.ingest.groups import age_band_of, maker_of
from mammo.ingest.header_rules import header_faults, is_for_processing
from mammo.ingest.inspection import Inspection, inspect_files
from mammo.ingest.keys import PUBLIC, image_key, patient_key, read_dataset_key
from mammo.ingest.params import IngestParams
from mammo.ingest.sieve import Candidate, Sieve
from mammo.ingest.summary import summarise
from mammo.ingest.table_rows import (
    files_in_no_row,
    one_row_a_path,
    require_readable,
    rows_on_disk,
)

FILE_COLUMNS = [
    "key",
    "path",
    "sha256",
    "patient_id",
    "accession_number",
    "sop_instance_uid",
    "laterality",
    "view",
    "transfer_syntax_uid",
    "photometric_interpretation",
    "rows",
    "columns",
    "bits_stored",
    "manufacturer",
    "pixel_intensity_relationship",
    "flags",
]
IMAGE_COLUMNS = ["key", "patient", "laterality", "view", "published_split"]
GROUP_COLUMNS = ["key", "maker", "age_band"]
VIEWS = ("CC", "MLO")


@dataclass(frozen=True)
class Ingested:
    """The tables and metrics that the stage writes."""

    files: pd.DataFrame
    images: pd.DataFrame
    labels: pd.DataFrame
    groups: pd.DataFrame
    quarantine: pd.DataFrame
    metrics: dict[str, Any]


def ingest(dataset: DatasetParams, params: IngestParams, limits: Limits) -> Ingested:
    """Read the label table, inspect every file that it names, apply the rules.

    Raises:
        UserError: The table or folder as a whole can't be used, nothing is accepted, all images
            are of one patient, or two patients share an image.
    """
    root = Path(dataset.root)
    secret = read_dataset_key(dataset.key_file, root)
    table = read_dataset(dataset)
    sieve, found = Sieve(params.policies), survey(root)
    require_readable(root, found, table, stop=not sieve.flags("unreadable_folder"))
    rows = rows_on_disk(root, one_row_a_path(table, sieve), sieve, found)
    rows = one_row_a_path(rows, sieve)  # two Unicode forms of one name
    for path, fault in files_in_no_row(root, {row.path for row in table}, found):
        sieve.reject(ImageRow(path), fault)
    candidates = accept(root, rows, sieve, params, limits)
    quarantine = sieve.table()
    _require_patients(dataset, candidates, quarantine)
    return _tables(candidates, quarantine, secret, dataset)


def accept(
    root: Path, rows: Sequence[ImageRow], sieve: Sieve, params: IngestParams, limits: Limits
) -> list[Candidate]:
    """Inspect the files of rows that are on disk, and apply every rule that needs no label.

    Args:
        root: The folder that paths are relative to.
        rows: One a file.
        sieve: Takes what isn't accepted, each with its reason.
        params: Section `ingest`.
        limits: Section `dicom`.

    Raises:
        UserError: Two patients share an image.
    """
    inspections = inspect_files(root, [row.path for row in rows], limits, params.workers)
    candidates = _with_exams_patient(list(map(completed, inspections, rows)))
    candidates = sieve.passed(candidates, own_faults)
    candidates = _without_mixed_processing(sieve, candidates)
    candidates = without_repeated_uids(sieve, candidates)
    return without_repeated_pixels(sieve, candidates)


def completed(file: Inspection, row: ImageRow) -> Candidate:
    """Fill from the header what the table leaves open."""
    header = file.header
    flags = (*file.flags, row.flag) if row.flag else file.flags
    if header is None:
        return Candidate(replace(row, patient_id=composed(row.patient_id)), file, flags)
    accession_number = row.accession_number or header.accession_number
    row = replace(
        row,
        patient_id=composed(row.patient_id or header.patient_id or row.accession_number),
        accession_number=accession_number,
        laterality=row.laterality or LATERALITIES.get(header.image_laterality, ""),
        view=row.view or header.view_position,
    )
    return Candidate(row, file, flags)


def _with_exams_patient(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Where the accession stands in for the patient, take whom the exam's other images name.

    By the accession alone one person would be two. Where they name several, it is nobody.
    """
    named: dict[str, set[str]] = defaultdict(set)
    for image in candidates:
        if image.file.header and image.file.header.patient_id:
            named[image.row.accession_number].add(image.row.patient_id)

    def completed_by_exam(image: Candidate) -> Candidate:
        row, header = image.row, image.file.header
        stands_in = row.patient_id and row.patient_id == composed(row.accession_number)
        names = named.get(row.accession_number, set())
        if header is None or header.patient_id or not stands_in or not names:
            return image
        return replace(
            image, row=replace(row, patient_id=next(iter(names)) if len(names) == 1 else "")
        )

    return list(map(completed_by_exam, candidates))


def own_faults(candidate: Candidate) -> Iterable[FileFault]:
    """Yield what is wrong with an image by itself, the gravest first."""
    row, file = candidate.row, candidate.file
    if file.header:
        yield from header_faults(file.header, row)
    if file.fault:
        yield file.fault
        return
    if not row.patient_id:
        yield FileFault("patient_missing", "neither the table nor (0010,0020) PatientID names one")
    header = "(0020,0062)" if file.header else "a header, which a picture lacks,"
    if not row.laterality:
        yield FileFault(
            "laterality_missing",
            f"neither the table nor {header} says left or right; dataset.columns.laterality names "
            "the table's column",
        )
    if row.view not in VIEWS:
        known = ", ".join(VIEWS)
        where = "" if row.view else "; dataset.columns.view names the table's column"
        yield FileFault(
            "not_cc_mlo", f"view {row.view!r} is none of those understood: {known}{where}"
        )


def _without_mixed_processing(sieve: Sieve, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Judge FOR PROCESSING images where there are others too: their grey values differ."""
    raw = {c.row.path for c in candidates if c.file.header and is_for_processing(c.file.header)}
    if len(raw) == len(candidates):
        return list(candidates)
    detail = f"(0008,0068) FOR PROCESSING among {len(candidates) - len(raw)} images that are not"
    return sieve.passed(
        candidates,
        lambda c: [FileFault("for_processing_mixed", detail)] if c.row.path in raw else [],
    )


def _require_patients(
    dataset: DatasetParams, candidates: Sequence[Candidate], quarantine: pd.DataFrame
) -> None:
    """Refuse a dataset that can't be split by patient."""
    patients = {candidate.row.patient_id for candidate in candidates}
    if len(patients) > 1:
        return
    if patients:
        raise UserError(
            f"{dataset.table}: needs images of at least two patients, got only patient "
            f"{patients.pop()!r}; check which column (or header) names the patient"
        )
    reasons = quarantine.groupby("reason").agg(n=("path", "size"), detail=("detail", "first"))
    listed = "; ".join(
        f"{reason} {fault['n']} times (such as: {fault['detail']})"
        for reason, fault in reasons.iterrows()
    )
    raise UserError(
        f"{dataset.table}: none of the images was accepted: {listed or 'no row'}; "
        "to see why of one file: mammo inspect FILE"
    )


def _tables(
    candidates: Sequence[Candidate],
    quarantine: pd.DataFrame,
    secret: bytes,
    dataset: DatasetParams,
) -> Ingested:
    by_key = {image_key(secret, composed(image.row.path)): image for image in candidates}
    keyed = sorted(by_key.items(), key=lambda item: item[0])
    files = pd.DataFrame([file_row(key, image) for key, image in keyed], columns=FILE_COLUMNS)
    images = pd.DataFrame(
        [
            (
                key,
                patient_key(secret, image.row.patient_id),
                image.row.laterality,
                image.row.view,
                image.row.published_split,
            )
            for key, image in keyed
        ],
        columns=IMAGE_COLUMNS,
    )
    labels = pd.DataFrame(
        [(key, image.row.label) for key, image in keyed], columns=["key", "label"]
    )
    groups = pd.DataFrame(
        [
            (key, maker_of(image.file.manufacturer), age_band_of(image.file.header))
            for key, image in keyed
        ],
        columns=GROUP_COLUMNS,
    )
    corrections = Path(dataset.corrections)
    labels = corrected(labels, corrections, CLASSES[dataset.classes])
    public = dataset.key_file == PUBLIC
    metrics = summarise(files, images, labels, quarantine, dataset.classes, public)
    metrics["corrected"] = count(corrections)
    return Ingested(files, images, labels, groups, quarantine, metrics)


def file_row(key: str, image: Candidate) -> tuple[Any, ...]:
    """Write an image down as a row of data/files.csv: its values in the order of FILE_COLUMNS."""
    row, file = image.row, image.file
    return (
        key,
        row.path,
        file.sha256,
        row.patient_id,
        row.accession_number,
        image.sop_instance_uid,
        row.laterality,
        row.view,
        file.transfer_syntax_uid,
        file.photometric_interpretation,
        file.rows,
        file.columns,
        file.bits_stored,
        file.manufacturer,
        file.pixel_intensity_relationship,
        ";".join(image.flags),
    )
