"""Headers of grey PNG, PGM and JPEG files, as some datasets are published; nothing is decoded."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mammo.errors import FileFault

_MAGIC = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "PGM": (b"P5\n", b"P5 ", b"P5\r", b"P2\n", b"P2 ", b"P2\r"),
}
_PILLOW_FORMAT = {"PNG": "PNG", "JPEG": "JPEG", "PGM": "PPM"}
# Pillow's modes that hold grey values; RGB may, when its channels are equal: decoding checks.
_BITS_OF_MODE = {"L": 8, "RGB": 8, "I;16": 16, "I;16B": 16, "I": 16}
_JPEG_END = b"\xff\xd9"


@dataclass(frozen=True)
class PictureHeader:
    """What a picture's header says; `kind` is PNG, PGM or JPEG, `bits_stored` 8 or 16."""

    kind: str
    rows: int
    columns: int
    bits_stored: int


def picture_kind(path: Path) -> str | None:
    """Tell PNG, PGM and JPEG by their first bytes; None for anything else, DICOM included."""
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
        with Image.open(path, formats=(_PILLOW_FORMAT[kind],)) as image:
            (columns, rows), mode = image.size, image.mode
            if rows * columns > max_pixels:
                raise FileFault(
                    "dimensions_over_cap", f"{rows} x {columns}, must be at most {max_pixels}"
                )
            if kind == "PNG":
                image.verify()  # the checksums of all chunks; nothing is inflated
            elif kind == "PGM":
                image.load()  # there is nothing to decode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FileFault("unreadable_picture", f"{kind}: {error}") from error
    if mode not in _BITS_OF_MODE:
        raise FileFault("not_grey", f"a {kind} picture of mode {mode}")
    if kind == "JPEG" and not _ends_with_jpeg_end(path):
        raise FileFault("truncated_codestream", "JPEG: the end-of-image marker is missing")
    return PictureHeader(kind, rows, columns, _BITS_OF_MODE[mode])


def _ends_with_jpeg_end(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, 65_536), 2)
        return file.read().rstrip(b"\0\r\n ").endswith(_JPEG_END)
