"""A grey picture file -> its grey values, all bits kept, the way up that its file says."""

import io
import zlib

import cv2
import imagecodecs
import numpy as np
from PIL import Image, TiffImagePlugin

from mammo.dicom.jpeg_dct import check_dct
from mammo.dicom.picture_header import BITS_OF_MODE, FORMATS, ORIENTATION, PILLOW_ERRORS, over_cap
from mammo.dicom.stored_values import check_byte_order
from mammo.errors import FileFault

_PLACES = ((273, 324), (279, 325))  # offsets and byte counts, of strips or tiles
_COMPRESSION, _JPEG_PARTS, _DEFLATED_PARTS, _PACKED_PARTS = 259, 7, (8, 32946), 32773
_SAMPLES, _ROWS_PER_STRIP, _PLANAR, _TILE_SIDES = 277, 278, 284, (322, 323)
_JPEG_TABLES = 347  # TIFF Technical Note 2: the tables that its parts leave out
_MOST_CHANNEL_BYTES = 8  # four channels of 16 bits
_PHOTOMETRIC, _WHITE_IS_ZERO, _BITS_PER_SAMPLE = 262, 0, 258  # TIFF 6.0, section 8


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
                raise over_cap(image.height, image.width, max_pixels)
            if kind == "JPEG" and image.mode in BITS_OF_MODE:
                check_dct(content)  # decoders fill in what is missing
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                _check_parts(content, image, max_pixels)
            mode = image.mode
            pixels = _sixteen_bits_of_colour(content, image)
            if pixels is None:
                pixels = _pixels(image)
            if kind != "TIFF":  # Pillow turns that itself
                pixels = _turned(pixels, image.getexif().get(ORIENTATION, 1))
    except PILLOW_ERRORS as error:
        raise FileFault("unreadable_picture", f"{type(error).__name__}: {error}") from error
    pixels = _grey(pixels, mode)
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.min() < 0 or pixels.max() >= 2**16:
        raise FileFault("values_exceed_bits_stored", "a picture of more than 16 bits")
    pixels = pixels.astype(np.uint16)
    check_byte_order(pixels)
    return pixels


def _check_parts(content: bytes, image: TiffImagePlugin.TiffImageFile, max_pixels: int) -> None:
    """Check the strips or tiles of a TIFF whose decoder doesn't: JPEG, checksums, PackBits.

    Raises:
        FileFault: One is damaged.
    """
    tags = image.tag_v2
    compression = tags.get(_COMPRESSION)
    if compression not in (_JPEG_PARTS, _PACKED_PARTS, *_DEFLATED_PARTS):
        return
    places = zip(*(tags.get(strips) or tags[tiles] for strips, tiles in _PLACES), strict=True)
    for number, (start, length) in enumerate(places):
        part = content[start : start + length]
        if compression == _PACKED_PARTS:
            unpacked, expected = len(imagecodecs.packbits_decode(part)), _part_bytes(image, number)
            if unpacked not in (expected, expected + 1):  # a byte to even length
                raise FileFault(
                    "truncated_codestream",
                    f"TIFF: a part unpacks to {unpacked} bytes, must be {expected}",
                )
            continue
        if compression == _JPEG_PARTS:
            check_dct(tags.get(_JPEG_TABLES, b"\xff\xd8\xff\xd9")[:-2] + part[2:])
            continue
        inflater = zlib.decompressobj()
        inflater.decompress(part, _MOST_CHANNEL_BYTES * max_pixels)
        if not inflater.eof:
            raise FileFault("truncated_codestream", "TIFF: a deflated part is cut")


def _part_bytes(image: TiffImagePlugin.TiffImageFile, number: int) -> int:
    """Count the bytes of a strip or tile, unpacked (TIFF 6.0, sections 3 and 15)."""
    tags = image.tag_v2
    if _TILE_SIDES[0] in tags:
        columns, rows = (tags[side] for side in _TILE_SIDES)
    else:
        columns, height = tags[256], tags[257]
        each = min(tags.get(_ROWS_PER_STRIP, height), height)
        rows = min(each, height - number % -(-height // each) * each)
    apart = tags.get(_PLANAR, 1) == 2  # each channel has strips of its own
    channels = 1 if apart else tags.get(_SAMPLES, 1)
    bits = tags.get(_BITS_PER_SAMPLE, (1,))[0] * channels * columns
    return int(rows * -(-bits // 8))


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
    if pixels.ndim != 2 or mode not in BITS_OF_MODE:
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
