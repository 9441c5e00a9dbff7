"""Inspect one image file without decoding it: digests, header, and whether its stream is whole."""

import hashlib
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from tqdm import tqdm

from mammo.dicom.header import Header
from mammo.dicom.params import Limits
from mammo.dicom.picture_header import picture_kind, read_picture_header
from mammo.dicom.source import Source, read_header, read_source
from mammo.errors import FileFault
from mammo.running.serving import Task
from mammo.running.workers import Bounds, cores, run_in_order

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
        pixels_sha256: Of the stored pixels and their shape: the same image under another header
            has the same; '' where they are all of one value, which is no identity.
        native: Whether the pixels are uncompressed, so that their digest says what they show.
        header: None for PNG, PGM, JPEG and what can't be read.
        transfer_syntax_uid: Or PNG, PGM, JPEG, TIFF.
        flags: Contradictions that leave the pixels unambiguous.
    """

    sha256: str = ""
    pixels_sha256: str = ""
    native: bool = False
    header: Header | None = None
    transfer_syntax_uid: str = ""
    photometric_interpretation: str = ""
    rows: int = 0
    columns: int = 0
    bits_stored: int = 0
    manufacturer: str = ""
    pixel_intensity_relationship: str = ""
    flags: tuple[str, ...] = ()
    fault: FileFault | None = None


_HEADER = TypeAdapter(Header | None)


def inspect_files(
    root: Path, paths: Sequence[str], limits: Limits, workers: int
) -> Iterator[Inspection]:
    """Inspect files in the order of `paths`, in `workers` processes (0: one a core)."""
    workers = min(workers or cores(), len(paths) // FILES_PER_WORKER)
    shared = {"root": str(root), "limits": limits.model_dump()}
    tasks = [{"path": path, **shared} for path in paths]
    outcomes = run_in_order("mammo.ingest.inspection:inspect_task", tasks, workers, _BOUNDS)
    for outcome in tqdm(
        outcomes, total=len(paths), desc="ingest", unit="file", mininterval=0.5, disable=None
    ):
        if outcome.fault is None:
            yield _from_facts(outcome.facts)
        else:
            yield Inspection(fault=FileFault(outcome.fault.reason, outcome.fault.detail))


def inspect_task(task: Task) -> tuple[dict[str, Any], None]:
    """Inspect the file of a task; return the inspection as plain values."""
    limits = Limits(**task["limits"])
    inspection = inspect_file(Path(task["root"]), task["path"], limits)
    fault = inspection.fault
    facts = asdict(replace(inspection, fault=None))
    return facts | {"fault": fault and [fault.reason, fault.detail]}, None


def _from_facts(facts: dict[str, Any]) -> Inspection:
    """Undo what `inspect_task` and JSON made of an inspection."""
    fault = facts["fault"]
    header, flags = _HEADER.validate_python(facts["header"]), tuple(facts["flags"])
    fault = fault and FileFault(*fault)
    return Inspection(**facts | {"header": header, "flags": flags, "fault": fault})


def inspect_file(root: Path, path: str, limits: Limits) -> Inspection:
    """Inspect one file; what is wrong with it comes back as its `fault`."""
    file = root / path
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a FIFO would never end
            return Inspection(fault=FileFault("file_unreadable", "not a regular file"))
        kind = picture_kind(file)
        if kind:
            return _inspect_picture(file, kind, limits)
        return _inspect_dicom(file, limits)
    except FileFault as error:
        return Inspection(fault=FileFault(error.reason, error.detail))
    except OSError as error:
        return Inspection(fault=FileFault("file_unreadable", str(error.strerror or error)))


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
        flags=picture.flags,
    )


def _inspect_dicom(file: Path, limits: Limits) -> Inspection:
    size = file.stat().st_size
    if size > BYTES_PER_PIXEL * limits.max_pixels + HEADER_BYTES:
        raise FileFault(
            "file_over_cap",
            f"{size} bytes hold more than {limits.max_pixels} pixels (dicom.max_pixels)",
        )
    content = file.read_bytes()
    header = read_header(content, limits)
    try:
        source = read_source(content, limits)
    except FileFault as error:
        return Inspection(header=header, fault=FileFault(error.reason, error.detail))
    return Inspection(
        sha256=hashlib.sha256(content).hexdigest(),
        pixels_sha256=_pixels_sha256(source),
        native=source.stream is None,
        header=header,
        transfer_syntax_uid=header.transfer_syntax_uid,
        photometric_interpretation=header.photometric_interpretation,
        rows=source.layout.rows,
        columns=source.layout.columns,
        bits_stored=source.layout.bits_stored,
        manufacturer=header.manufacturer,
        pixel_intensity_relationship=header.pixel_intensity_relationship,
        flags=source.flags,
    )


def _pixels_sha256(source: Source) -> str:
    layout, frame = source.layout, source.frame
    pixel = layout.bits_allocated // 8
    if source.stream is None and bytes(frame[pixel:]) == bytes(frame[:-pixel]):
        return ""
    shape = f"{layout.rows} x {layout.columns} of {layout.bits_allocated}:".encode()
    return hashlib.sha256(shape + bytes(frame)).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
