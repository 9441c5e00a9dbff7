"""Grey pictures that some datasets publish in place of DICOM: PNG, PGM, JPEG, TIFF."""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin
from pydicom.uid import JPEGBaseline8Bit

from mammo.dicom import codestream, jpeg_markers, jpeg_scan
from mammo.errors import FileFault

_MAGIC = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "PGM": tuple(kind + space for kind in (b"P2", b"P5") for space in (b"\n", b" ", b"\r", b"\t")),
    "TIFF": (b"II*\0", b"MM\0*"),
}
FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "PGM": "PPM", "TIFF": "TIFF"}  # Pillow's names
# Pillow's modes that hold grey values, or may: decoding checks that the channels of a colour are
# equal, and that nothing is transparent.
_BITS_OF_MODE = {"L": 8, "RGB": 8, "RGBA": 8, "LA": 8, "P": 8, "I;16": 16, "I;16B": 16, "I": 16}
_ORIENTATION = 0x0112  # of EXIF and TIFF: from 5 on rows and columns change places
_PHOTOMETRIC, _WHITE_IS_ZERO, _BITS_PER_SAMPLE = 262, 0, 258  # TIFF 6.0, section 8
_SOF0 = 0xC0
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
            if kind == "JPEG" and image.getexif().get(_ORIENTATION, 1) >= 5:
                rows, columns = columns, rows
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
    """Decode to grey values, the way up that EXIF says: (rows, columns) uint8 or uint16.

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
            if kind == "JPEG" and image.mode == "L":
                _check_scan(content)
            mode = image.mode
            pixels = _sixteen_bits_of_colour(content, image)
            if pixels is None:
                pixels = _pixels(image)
            if kind != "TIFF":  # Pillow turns that itself
                pixels = _turned(pixels, image.getexif().get(_ORIENTATION, 1))
    except _ERRORS as error:
        raise FileFault("unreadable_picture", f"{type(error).__name__}: {error}") from error
    pixels = _grey(pixels, mode)
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.min() < 0 or pixels.max() >= 2**16:
        raise FileFault("values_exceed_bits_stored", "a picture of more than 16 bits")
    return pixels.astype(np.uint16)


def _pixels(image: Image.Image) -> np.ndarray:
    """Decode: (rows, columns), or (rows, columns, channels) with what is opaque left out."""
    image.load()
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode.startswith("I"):
        pixels = np.asarray(image)
        if image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts 8 bits alone
            bits = image.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0]
            pixels = 2**bits - 1 - pixels.astype(np.int64)
        return pixels
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode == "LA":
        image = image.convert("RGBA")
    return np.asarray(image)


def _sixteen_bits_of_colour(content: bytes, image: Image.Image) -> np.ndarray | None:
    """Decode colour of 16 bits a channel, of which Pillow keeps 8; None for anything else."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (8,))
        deep = len(bits) > 1 and bits[0] == 16
    else:  # bit depth, colour type: a true colour, or grey with alpha (PNG, section 11.2.1)
        deep = image.format == "PNG" and content[24] == 16 and content[25] in (2, 4, 6)
    if not deep:
        return None
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("the decoder gives nothing")
    return np.asarray(pixels)


def _grey(pixels: np.ndarray, mode: str) -> np.ndarray:
    """Take the one grey channel: of equal ones, none of whose pixels is transparent."""
    if pixels.ndim == 3:
        colours, alpha = pixels[..., :3], pixels[..., 3:]
        opaque = (alpha == np.iinfo(pixels.dtype).max).all()
        if opaque and (colours == colours[..., :1]).all():
            pixels = colours[..., 0]
    if pixels.ndim != 2 or mode not in _BITS_OF_MODE:
        raise FileFault("not_grey", f"a picture of mode {mode}, coloured or transparent")
    return pixels


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo what EXIF 2.3, 4.6.4 (Orientation) says of how the first row and column lie."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _check_scan(content: bytes) -> None:
    """Follow the codes of a grey baseline scan to its end: decoders fill in what is missing."""
    frame = content[: content.rindex(_JPEG_END) + len(_JPEG_END)]
    if any(segment.code == _SOF0 for segment in jpeg_markers.jpeg_segments(frame)):
        jpeg_scan.check_sequential(frame, codestream.check(frame, JPEGBaseline8Bit))
