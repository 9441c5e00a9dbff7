"""Which pictures are read in place of DICOM (PNG, PGM, JPEG, TIFF), and what their header says."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mammo.errors import FileFault

_MAGIC = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "PGM": tuple(kind + space for kind in (b"P2", b"P5") for space in (b"\n", b" ", b"\r", b"\t")),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),  # the last two with offsets of 64 bits
}
FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "PGM": "PPM", "TIFF": "TIFF"}  # Pillow's names
# Pillow's modes that hold grey values, or may: decoding checks that the channels of a colour are
# equal, and that nothing is transparent.
BITS_OF_MODE = {"L": 8, "RGB": 8, "RGBA": 8, "LA": 8, "P": 8, "I;16": 16, "I;16B": 16, "I": 16}
ORIENTATION = 0x0112  # of EXIF and TIFF: from 5 on rows and columns change places
_JPEG_END = b"\xff\xd9"
_MOST_BEHIND = 1024  # bytes that some writers leave behind a JPEG's end marker

# What Pillow is seen to raise on damaged pictures.
PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class PictureHeader:
    """What a picture's header says; `kind` is one of `FORMATS`, `bits_stored` 8 or 16."""

    kind: str
    rows: int
    columns: int
    bits_stored: int
    flags: tuple[str, ...] = ()


def picture_kind(path: Path) -> str | None:
    """Tell the kind of a picture by its first bytes; None for anything else, DICOM included."""
    with path.open("rb") as file:
        start = file.read(132)
    # A DICOM file's preamble may hold anything, another format's magic bytes too (PS3.10 7.1).
    if start[128:] == b"DICM":
        return None
    for kind, magic in _MAGIC.items():
        if start.startswith(magic):
            return kind
    return None


def read_picture_header(path: Path, kind: str, max_pixels: int) -> PictureHeader:
    """Read a picture's header and check that the file is whole.

    Raises:
        FileFault: The file is cut or damaged, too large, or holds colour or transparency.
    """
    try:
        with Image.open(path, formats=(FORMATS[kind],)) as image:
            (columns, rows), mode = image.size, image.mode
            if rows * columns > max_pixels:
                raise over_cap(rows, columns, max_pixels)
            if kind == "JPEG" and image.getexif().get(ORIENTATION, 1) >= 5:
                rows, columns = columns, rows
            if kind == "PNG":
                image.verify()  # the checksums of all chunks; nothing is inflated
            elif kind == "PGM":
                image.load()  # there is nothing to decode
            elif getattr(image, "n_frames", 1) > 1:
                raise FileFault("multi_frame", f"a {kind} of several pictures")
    except PILLOW_ERRORS as error:
        raise FileFault("unreadable_picture", f"{kind}: {error}") from error
    if mode not in BITS_OF_MODE:
        raise FileFault("not_grey", f"a {kind} picture of mode {mode}")
    flags = _behind_jpeg(path) if kind == "JPEG" else ()
    return PictureHeader(kind, rows, columns, BITS_OF_MODE[mode], flags)


def over_cap(rows: int, columns: int, max_pixels: int) -> FileFault:
    """Word the fault of too large a picture."""
    return FileFault(
        "dimensions_over_cap",
        f"{rows} x {columns} pixels, must be at most {max_pixels} (dicom.max_pixels)",
    )


def _behind_jpeg(path: Path) -> tuple[str, ...]:
    """Look for the end marker of a JPEG; a flag where other bytes than padding follow it."""
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, 65_536), 2)
        _, marker, rest = file.read().rstrip(b"\0\r\n ").rpartition(_JPEG_END)
    if not marker or len(rest) > _MOST_BEHIND:
        raise FileFault("truncated_codestream", "JPEG: the end-of-image marker is missing")
    return ("bytes_after_codestream",) if rest else ()
