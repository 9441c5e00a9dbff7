"""Inspect one image file without decoding it: digests, header, and whether its stream is whole."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from tqdm import tqdm

from mammo.dicom.header import Header
from mammo.dicom.params import Limits
from mammo.dicom.pictures import picture_kind, read_picture_header
from mammo.dicom.source import read_header, read_source
from mammo.errors import FileFault
from mammo.ingest.header_rules import Fault
from mammo.running.workers import Bounds, Task, cores, run_in_order

# Below so many files a worker, starting it costs more than it saves.
FILES_PER_WORKER = 64

# A file is read whole, once, so its size is bounded: two bytes a pixel and a generous header.
BYTES_PER_PIXEL = 2
HEADER_BYTES = 64 * 2**20

# Of one file: nothing is decoded, but it may lie on a slow network.
_BOUNDS = Bounds(timeout_s=600, memory_mb=4096)


@dataclass(frozen=True)
class Inspection:
    """What one file says; with a `fault`, all but the header is blank.

    Attributes:
        sha256: Of the file's bytes, hexadecimal.
        pixels_sha256: Of the stored pixels: the same image under another header has the same.
        header: None for PNG, PGM, JPEG and what can't be read.
        transfer_syntax_uid: Or PNG, PGM, JPEG.
    """

    sha256: str = ""
    pixels_sha256: str = ""
    header: Header | None = None
    transfer_syntax_uid: str = ""
    photometric_interpretation: str = ""
    rows: int = 0
    columns: int = 0
    bits_stored: int = 0
    manufacturer: str = ""
    pixel_intensity_relationship: str = ""
    fault: Fault | None = None


_INSPECTION = TypeAdapter(Inspection)


def inspect_files(
    root: Path, paths: Sequence[str], limits: Limits, workers: int
) -> Iterator[Inspection]:
    """Inspect files in the order of `paths`, in `workers` processes (0: one a core)."""
    workers = min(workers or cores(), len(paths) // FILES_PER_WORKER)
    shared = {"root": str(root), "limits": limits.model_dump()}
    tasks = [{"path": path, **shared} for path in paths]
    outcomes = run_in_order("mammo.ingest.inspection:inspect_task", tasks, workers, _BOUNDS)
    for outcome in tqdm(outcomes, total=len(paths), desc="ingest", unit="file", mininterval=0.5):
        if outcome.fault is None:
            yield _INSPECTION.validate_python(outcome.facts)
        else:
            yield Inspection(fault=Fault(outcome.fault.reason, outcome.fault.detail))


def inspect_task(task: Task) -> tuple[dict[str, Any], None]:
    """Inspect the file of a task; return the inspection as plain values."""
    limits = Limits(**task["limits"])
    return asdict(inspect_file(Path(task["root"]), task["path"], limits)), None


def inspect_file(root: Path, path: str, limits: Limits) -> Inspection:
    """Inspect one file; what is wrong with it comes back as its `fault`."""
    file = root / path
    try:
        kind = picture_kind(file)
        if kind:
            return _inspect_picture(file, kind, limits)
        return _inspect_dicom(file, limits)
    except FileFault as error:
        return Inspection(fault=Fault(error.reason, error.detail))
    except OSError as error:
        return Inspection(fault=Fault("file_unreadable", str(error.strerror or error)))


def _inspect_picture(file: Path, kind: str, limits: Limits) -> Inspection:
    picture = read_picture_header(file, kind, limits.max_pixels)
    sha256 = _sha256(file)
    return Inspection(
        sha256=sha256,
        pixels_sha256=sha256,
        transfer_syntax_uid=picture.kind,
        photometric_interpretation="MONOCHROME2",
        rows=picture.rows,
        columns=picture.columns,
        bits_stored=picture.bits_stored,
    )


def _inspect_dicom(file: Path, limits: Limits) -> Inspection:
    size = file.stat().st_size
    if size > BYTES_PER_PIXEL * limits.max_pixels + HEADER_BYTES:
        raise FileFault("file_over_cap", f"{size} bytes hold more than {limits.max_pixels} pixels")
    content = file.read_bytes()
    header = read_header(content, limits)
    try:
        source = read_source(content, limits)
    except FileFault as error:
        return Inspection(header=header, fault=Fault(error.reason, error.detail))
    return Inspection(
        sha256=hashlib.sha256(content).hexdigest(),
        pixels_sha256=hashlib.sha256(source.frame).hexdigest(),
        header=header,
        transfer_syntax_uid=header.transfer_syntax_uid,
        photometric_interpretation=header.photometric_interpretation,
        rows=source.layout.rows,
        columns=source.layout.columns,
        bits_stored=source.layout.bits_stored,
        manufacturer=header.manufacturer,
        pixel_intensity_relationship=header.pixel_intensity_relationship,
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
