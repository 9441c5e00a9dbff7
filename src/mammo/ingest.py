"""Label table and image files -> the images to believe, and one reason for each of the others."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field

from mammo.datasets import DatasetParams, read_dataset
from mammo.datasets.folders import list_files
from mammo.datasets.rows import LATERALITIES, ImageRow
from mammo.dicom import Limits
from mammo.errors import UserError
from mammo.header_rules import Fault, header_faults, is_for_processing
from mammo.identity import image_key, patient_key, read_dataset_key
from mammo.ingest_summary import summarise
from mammo.inspection import Inspection, inspect_files
from mammo.params import Params

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
QUARANTINE_COLUMNS = ["path", "patient_id", "reason", "detail"]
IMAGE_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima", ".png", ".pgm", ".jpg", ".jpeg")
VIEWS = ("CC", "MLO")
EXAMPLES = 5  # in an error message

Policy = Literal["reject", "flag"]


class Policies(Params):
    """What becomes of an image that breaks a rule: rejected, or kept with a flag."""

    not_mammography: Policy
    multi_frame: Literal["reject"]  # one image can't be made of several
    tomosynthesis: Policy
    localizer: Policy
    not_cc_mlo: Policy
    magnification_view: Policy
    spot_view: Policy
    implant_displaced: Policy
    burned_in_annotation: Policy
    laterality_mismatch: Policy
    view_mismatch: Policy
    for_processing_mixed: Policy
    duplicate_sop_instance_uid: Policy
    duplicate_pixels: Policy


class IngestParams(Params):
    """Section `ingest` of params.yaml.

    Attributes:
        workers: Processes that read files; 0 for one a core.
        policies: One for each rule that an image may break and still be decoded.
    """

    workers: Annotated[int, Field(ge=0)]
    policies: Policies


@dataclass(frozen=True)
class Ingested:
    """The tables and metrics that the stage writes."""

    files: pd.DataFrame
    images: pd.DataFrame
    labels: pd.DataFrame
    quarantine: pd.DataFrame
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """An image on its way: its row, completed from the header; its file; its flags so far."""

    row: ImageRow
    file: Inspection
    flags: tuple[str, ...] = ()

    @property
    def sop_instance_uid(self) -> str:
        """The object's identity, '' for a picture that isn't DICOM."""
        return self.file.header.sop_instance_uid if self.file.header else ""


class Sieve:
    """Applies the policies and remembers what didn't pass."""

    def __init__(self, policies: Policies):
        self._policies = policies.model_dump()
        self._rejected: list[tuple[str, str, str, str]] = []

    def reject(self, row: ImageRow, fault: Fault) -> None:
        """Set an image aside."""
        self._rejected.append((row.path, row.patient_id, fault.reason, fault.detail))

    def judge(self, candidate: Candidate, faults: Iterable[Fault]) -> Candidate | None:
        """Reject an image by its first fault whose policy says so, or flag it with them all."""
        flags = list(candidate.flags)
        for fault in faults:
            # A fault without a policy is one that nothing can be done with.
            if self._policies.get(fault.reason, "reject") == "reject":
                self.reject(candidate.row, fault)
                return None
            if fault.reason not in flags:
                flags.append(fault.reason)
        return replace(candidate, flags=tuple(sorted(flags)))

    def table(self) -> pd.DataFrame:
        """Make the sorted table of what was rejected: path, patient_id, reason, detail."""
        return pd.DataFrame(sorted(self._rejected), columns=QUARANTINE_COLUMNS, dtype=str)


def ingest(dataset: DatasetParams, params: IngestParams, limits: Limits) -> Ingested:
    """Read the label table, inspect every file that it names, apply the rules.

    Raises:
        UserError: The table or folder as a whole can't be used, nothing is accepted, all images
            are of one patient, or two patients share an image.
    """
    root = Path(dataset.root)
    secret = read_dataset_key(dataset.key_file, root)
    table = read_dataset(dataset)
    sieve = Sieve(params.policies)
    rows = _rows_on_disk(root, _one_row_a_path(table, sieve), sieve)
    for path in _files_in_no_row(root, {row.path for row in table}):
        sieve.reject(ImageRow(path), Fault("file_not_in_table", "no row of the table names it"))
    inspections = inspect_files(root, [row.path for row in rows], limits, params.workers)
    candidates = _passed(sieve, map(_completed, inspections, rows), _own_faults)
    candidates = _without_mixed_processing(sieve, candidates)
    candidates = _without_duplicates(
        sieve, candidates, "duplicate_sop_instance_uid", lambda image: image.sop_instance_uid
    )
    candidates = _without_duplicates(
        sieve, candidates, "duplicate_pixels", lambda image: image.file.pixels_sha256
    )
    quarantine = sieve.table()
    _require_patients(dataset, candidates, quarantine)
    return _tables(candidates, quarantine, secret, dataset)


def _one_row_a_path(table: Sequence[ImageRow], sieve: Sieve) -> list[ImageRow]:
    """Merge equal rows of one path; rows that contradict each other are all set aside."""
    by_path: dict[str, list[ImageRow]] = defaultdict(list)
    for row in table:
        if row.reason in ("path_missing", "path_outside_root"):
            sieve.reject(row, Fault(row.reason, row.detail))
        else:
            by_path[row.path].append(row)
    rows = []
    for same_path in by_path.values():
        row = same_path[0]
        if len(set(same_path)) > 1:
            sieve.reject(row, _contradiction(same_path))
        elif row.reason:
            sieve.reject(row, Fault(row.reason, row.detail))
        else:
            rows.append(row)
    return sorted(rows, key=lambda row: row.path)


def _contradiction(rows: Sequence[ImageRow]) -> Fault:
    """Say in what several rows of one image differ."""
    labels = sorted({row.label or row.detail for row in rows})
    if len(labels) > 1:
        return Fault(
            "conflicting_labels", f"{len(rows)} rows of the table say: {'; '.join(labels)}"
        )
    facts = sorted({f"{row.patient_id} {row.laterality} {row.view}" for row in rows})
    return Fault("conflicting_rows", f"{len(rows)} rows of the table say: {'; '.join(facts)}")


def _rows_on_disk(root: Path, rows: Iterable[ImageRow], sieve: Sieve) -> list[ImageRow]:
    """Keep the rows whose path names a file below the root."""
    kept = []
    resolved_root = root.resolve()
    for row in rows:
        fault = _path_fault(resolved_root, row.path)
        if fault:
            sieve.reject(row, fault)
        else:
            kept.append(row)
    return kept


def _path_fault(resolved_root: Path, path: str) -> Fault | None:
    try:
        file = (resolved_root / path).resolve()
        if not file.is_relative_to(resolved_root):
            return Fault("path_outside_root", f"{path} leads out of dataset.root")
        return None if file.is_file() else Fault("file_missing", "no such file below dataset.root")
    except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, a NUL
        return Fault("file_missing", f"not a path: {error}")


def _files_in_no_row(root: Path, named: set[str]) -> list[str]:
    """List the image files below the root that no row names."""
    return [
        path for path in list_files(root) if path not in named and _looks_like_image(root / path)
    ]


def _looks_like_image(file: Path) -> bool:
    """Tell by the suffix, or by the DICOM preamble where there is none (PS3.10 7.1)."""
    suffix = file.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return True
    if suffix and not suffix[1:].isdigit():  # the "suffix" of a UID is its last number
        return False
    try:
        with file.open("rb") as content:
            return content.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _passed(
    sieve: Sieve,
    candidates: Iterable[Candidate],
    faults_of: Callable[[Candidate], Iterable[Fault]],
) -> list[Candidate]:
    judged = (sieve.judge(candidate, faults_of(candidate)) for candidate in candidates)
    return [candidate for candidate in judged if candidate]


def _completed(file: Inspection, row: ImageRow) -> Candidate:
    """Fill from the header what the table leaves open."""
    header = file.header
    flags = (row.flag,) if row.flag else ()
    if header is None:
        return Candidate(row, file, flags)
    accession_number = row.accession_number or header.accession_number
    row = replace(
        row,
        patient_id=row.patient_id or header.patient_id or row.accession_number,
        accession_number=accession_number,
        laterality=row.laterality or LATERALITIES.get(header.image_laterality, ""),
        view=row.view or header.view_position,
    )
    return Candidate(row, file, flags)


def _own_faults(candidate: Candidate) -> Iterable[Fault]:
    """Yield what is wrong with an image by itself, the gravest first."""
    row, file = candidate.row, candidate.file
    if file.header:
        yield from header_faults(file.header, row)
    if file.fault:
        yield file.fault
        return
    if not row.patient_id:
        yield Fault("patient_missing", "neither the table nor (0010,0020) PatientID names one")
    if not row.laterality:
        yield Fault("laterality_missing", "neither the table nor (0020,0062) says left or right")
    if row.view not in VIEWS:
        yield Fault("not_cc_mlo", f"view {row.view!r} is neither CC nor MLO")


def _without_mixed_processing(sieve: Sieve, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Judge FOR PROCESSING images where there are others too: their grey values differ."""
    raw = {c.row.path for c in candidates if c.file.header and is_for_processing(c.file.header)}
    if len(raw) == len(candidates):
        return list(candidates)
    detail = f"(0008,0068) FOR PROCESSING among {len(candidates) - len(raw)} images that are not"
    return _passed(
        sieve,
        candidates,
        lambda c: [Fault("for_processing_mixed", detail)] if c.row.path in raw else [],
    )


def _without_duplicates(
    sieve: Sieve,
    candidates: Sequence[Candidate],
    reason: str,
    identity: Callable[[Candidate], str],
) -> list[Candidate]:
    """Keep the first, by path, of the images that share an identity within one patient.

    Raises:
        UserError: Images of two patients share one, so one of the two is wrongly labelled.
    """
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if identity(candidate):
            groups[identity(candidate)].append(candidate)
    doubles = [group for group in groups.values() if len(group) > 1]
    _require_one_patient_each(doubles, reason)
    faults: dict[str, Fault] = {}
    for group in doubles:
        first, *others = group
        facts = {(c.row.label, c.row.laterality, c.row.view) for c in group}
        if len(facts) > 1:
            detail = f"{reason}: {', '.join(c.row.path for c in group)} differ in the table"
            faults |= {c.row.path: Fault("conflicting_duplicates", detail) for c in group}
        else:
            detail = f"the same image as {first.row.path}"
            faults |= {c.row.path: Fault(reason, detail) for c in others}
    return _passed(
        sieve, candidates, lambda c: [faults[c.row.path]] if c.row.path in faults else []
    )


def _require_one_patient_each(doubles: Iterable[Sequence[Candidate]], reason: str) -> None:
    shared = []
    for group in doubles:
        first = group[0].row
        other = next((c.row for c in group if c.row.patient_id != first.patient_id), None)
        if other:
            shared.append(
                f"{first.path} (patient {first.patient_id}) and "
                f"{other.path} (patient {other.patient_id})"
            )
    if shared:
        more = f" and {len(shared) - EXAMPLES} more" if len(shared) > EXAMPLES else ""
        raise UserError(
            f"dataset.table: {reason}: an image can't belong to two patients, got "
            f"{'; '.join(shared[:EXAMPLES])}{more}; give both one patient_id or remove one"
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
    raise UserError(f"{dataset.table}: none of the images was accepted: {listed or 'no row'}")


def _tables(
    candidates: Sequence[Candidate],
    quarantine: pd.DataFrame,
    secret: bytes,
    dataset: DatasetParams,
) -> Ingested:
    by_key = {image_key(secret, image.row.path): image for image in candidates}
    keyed = sorted(by_key.items(), key=lambda item: item[0])
    files = pd.DataFrame([_file_row(key, image) for key, image in keyed], columns=FILE_COLUMNS)
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
    metrics = summarise(files, images, labels, quarantine, dataset.classes)
    return Ingested(files, images, labels, quarantine, metrics)


def _file_row(key: str, image: Candidate) -> tuple[Any, ...]:
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
