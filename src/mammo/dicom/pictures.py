"""Grey pictures that some datasets publish in place of DICOM: PNG, PGM, JPEG, TIFF."""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mammo.errors import FileFault

_MAGIC = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "PGM": (b"P5\n", b"P5 ", b"P5\r", b"P2\n", b"P2 ", b"P2\r"),
    "TIFF": (b"II*\0", b"MM\0*"),
}
FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "PGM": "PPM", "TIFF": "TIFF"}  # Pillow's names
# Pillow's modes that hold grey values; RGB may, when its channels are equal: decoding checks.
_BITS_OF_MODE = {"L": 8, "RGB": 8, "I;16": 16, "I;16B": 16, "I": 16}
_JPEG_END = b"\xff\xd9"
_MOST_BEHIND = 1024  # bytes that some writers leave behind a JPEG's end marker


# What Pillow is seen to raise on damaged pictures.
_ERRORS = (
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
                raise FileFault(
                    "dimensions_over_cap", f"{rows} x {columns}, must be at most {max_pixels}"
                )
            if kind == "PNG":
                image.verify()  # the checksums of all chunks; nothing is inflated
            elif kind == "PGM":
                image.load()  # there is nothing to decode
            elif getattr(image, "n_frames", 1) > 1:
                raise FileFault("multi_frame", f"a {kind} of several pictures")
    except _ERRORS as error:
        raise FileFault("unreadable_picture", f"{kind}: {error}") from error
    if mode not in _BITS_OF_MODE:
        raise FileFault("not_grey", f"a {kind} picture of mode {mode}")
    flags = _behind_jpeg(path) if kind == "JPEG" else ()
    return PictureHeader(kind, rows, columns, _BITS_OF_MODE[mode], flags)


def _behind_jpeg(path: Path) -> tuple[str, ...]:
    """Look for the end marker of a JPEG; a flag where other bytes than padding follow it."""
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, 65_536), 2)
        _, marker, rest = file.read().rstrip(b"\0\r\n ").rpartition(_JPEG_END)
    if not marker or len(rest) > _MOST_BEHIND:
        raise FileFault("truncated_codestream", "JPEG: the end-of-image marker is missing")
    return ("bytes_after_codestream",) if rest else ()


def read_picture(content: bytes, kind: str, max_pixels: int) -> np.ndarray:
    """Decode to grey values: (rows, columns) uint8 or uint16.

    Args:
        content: The file.
        kind: As `picture_kind` says.
        max_pixels: Bound on rows times columns.

    Raises:
        FileFault: The file is damaged, too large, or not grey.
    """
    try:
        with Image.open(io.BytesIO(content), formats=(FORMATS[kind],)) as image:
            if image.width * image.height > max_pixels:
                raise FileFault("dimensions_over_cap", f"{image.height} x {image.width} pixels")
            image.load()
            pixels = np.asarray(image)
            mode = image.mode
    except _ERRORS as error:
        raise FileFault("unreadable_picture", f"{type(error).__name__}: {error}") from error
    if mode == "RGB" and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    if pixels.ndim != 2 or mode not in ("L", "RGB", "I;16", "I;16B", "I"):
        raise FileFault("not_grey", f"a picture of mode {mode}")
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.min() < 0 or pixels.max() >= 2**16:
        raise FileFault("values_exceed_bits_stored", "a picture of more than 16 bits")
    return pixels.astype(np.uint16)
