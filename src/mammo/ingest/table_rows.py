"""Hold the rows of the label table against each other and against the files on disk."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from mammo.datasets.folders import list_files
from mammo.datasets.rows import ImageRow
from mammo.ingest.header_rules import Fault
from mammo.ingest.sieve import Sieve

IMAGE_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima", ".png", ".pgm", ".jpg", ".jpeg")


def one_row_a_path(table: Sequence[ImageRow], sieve: Sieve) -> list[ImageRow]:
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


def rows_on_disk(root: Path, rows: Iterable[ImageRow], sieve: Sieve) -> list[ImageRow]:
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


def files_in_no_row(root: Path, named: set[str]) -> list[str]:
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
