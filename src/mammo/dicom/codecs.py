"""One checked codestream -> stored values; which library decodes what, and its version.

Each transfer syntax has one decoder. It raises on damage, or what it returns is checked here.
"""

import functools
import io
import sys
from dataclasses import dataclass

import cv2
import imagecodecs
import numpy as np
from PIL import Image, features
from pydicom import uid

from mammo.dicom import codestream
from mammo.dicom.header import Layout
from mammo.dicom.jpeg_dct import check_dct
from mammo.dicom.jpeg_lossless import check_lossless
from mammo.dicom.source import Source
from mammo.dicom.stored_values import (
    bounds,
    check_byte_order,
    check_sign,
    check_stride,
    within_bits_stored,
)
from mammo.dicom.stream import Stream
from mammo.errors import FileFault

# What the decoders are seen to raise on damaged streams.
DECODE_ERRORS = (
    imagecodecs.Jpeg8Error,
    imagecodecs.Jpeg2kError,
    imagecodecs.JpeglsError,
    imagecodecs.Htj2kError,
    imagecodecs.PackbitsError,
    Image.DecompressionBombError,
    OSError,  # Pillow: broken data stream
    ValueError,
    SyntaxError,  # Pillow: malformed box
    OverflowError,
)


def versions() -> dict[str, str]:
    """Name the decoders with their versions, as cache keys and metrics carry them."""
    return {
        "jpeg": imagecodecs.jpeg8_version(),
        "jpeg_ls": imagecodecs.jpegls_version(),
        "jpeg_2000": imagecodecs.jpeg2k_version(),
        "jpeg_2000_reduced": f"pillow openjpeg {features.version('jpg_2000')}",
        "htj2k": imagecodecs.htj2k_version(),
        "rle": imagecodecs.packbits_version(),
        "resize": f"opencv {cv2.__version__}",
    }


@dataclass(frozen=True)
class Decoded:
    """Stored values, and what was odd about getting them.

    Attributes:
        pixels: (rows, columns) or, reduced by n levels, (ceil(rows / 2^n), ceil(columns / 2^n));
            uint8, uint16, int8 or int16, within BitsStored.
        flags: Contradictions that leave the pixels unambiguous; `slow_path` where a fast decoder
            refused what the slow one read.
        reduction: n, the levels left out.
    """

    pixels: np.ndarray
    flags: tuple[str, ...] = ()
    reduction: int = 0


def decode(source: Source, target_px: int | None) -> Decoded:
    """Decode to stored values.

    Args:
        source: A file that passed the checks of `mammo.dicom.source.read_source`.
        target_px: Where the syntax allows it, decode at the smallest resolution whose short side
            is still this long; None decodes in full.

    Raises:
        FileFault: The stream is damaged, or its values don't fit BitsStored.
    """
    reduction = _reduction(source, target_px)
    if reduction == 0:
        return _decode_checked(source, 0)
    try:
        return _decode_checked(source, reduction)
    except FileFault:
        full = _decode_checked(source, 0)
        return Decoded(full.pixels, (*full.flags, "slow_path"))


def _decode_checked(source: Source, reduction: int) -> Decoded:
    """Decode at a level, and hold the result to what the header says."""
    syntax, layout = source.header.transfer_syntax_uid, source.layout
    try:
        pixels = _decode(source, syntax, reduction)
    except DECODE_ERRORS as error:
        raise FileFault("decoder_refused", f"{type(error).__name__}: {error}") from error
    expected = tuple(-(-side // 2**reduction) for side in (layout.rows, layout.columns))
    if pixels.shape != expected:
        raise FileFault("decoder_refused", f"decoded to {pixels.shape}, must be {expected}")
    if reduction:
        centred = _centre(pixels, reduction, (layout.rows, layout.columns))
        # The low-pass band may overshoot the range of the samples themselves.
        return Decoded(centred.clip(*bounds(layout)).astype(pixels.dtype), reduction=reduction)
    check_sign(pixels, source)
    pixels, flags = within_bits_stored(pixels, source)
    if codestream.is_native(syntax) or syntax == uid.RLELossless:
        check_byte_order(pixels)
        check_stride(pixels)
    return Decoded(pixels, flags)


def _reduction(source: Source, target_px: int | None) -> int:
    """Choose how many wavelet levels to leave out."""
    stream, layout = source.stream, source.layout
    if target_px is None or stream is None or stream.levels == 0:
        return 0
    # Signed samples: no reduced decoder is known to keep them. Unbounded streams: only a full
    # decode sees that packets are missing. More bits than BitsStored, a sign in dispute: only
    # full samples can be held to it.
    if (
        source.sign_disputed
        or stream.signed
        or not stream.bounded
        or (stream.precision or 16) > layout.bits_stored
    ):
        return 0
    short, reduction = min(layout.rows, layout.columns), 0
    target_px = max(target_px, 2)
    while reduction < stream.levels and -(-short // 2 ** (reduction + 1)) >= target_px:
        reduction += 1
    return reduction


def _decode(source: Source, syntax: str, reduction: int) -> np.ndarray:
    layout, stream = source.layout, source.stream
    if stream is None:
        return _native(source.frame, layout, big=syntax == uid.ExplicitVRBigEndian)
    frame = bytes(source.frame)
    if syntax == uid.RLELossless:
        return _rle(frame, layout)
    if reduction:  # HTJ2K too: OpenJPH lets overshoot wrap around where OpenJPEG clamps it
        return _jpeg_2000_reduced(frame, stream, reduction)
    if syntax in codestream.HTJ2K:
        return _htj2k(frame)
    if syntax in codestream.JPEG_2000:
        return imagecodecs.jpeg2k_decode(frame, numthreads=1)
    if syntax in codestream.JPEG_LS:
        return _as_signed(imagecodecs.jpegls_decode(frame), layout)
    pixels = imagecodecs.jpeg8_decode(frame)
    if syntax in codestream.JPEG_LOSSLESS:
        first_order = syntax == uid.JPEGLosslessSV1
        check_lossless(frame, stream, pixels, first_order)
    else:
        check_dct(frame)
    return _as_signed(pixels, layout)


def _htj2k(frame: bytes) -> np.ndarray:
    """Decode, and raise what the binding only reports: rows that it couldn't read stay blank."""
    reported: list[str] = []
    hook = sys.unraisablehook
    sys.unraisablehook = lambda fault: reported.append(str(fault.exc_value))
    try:
        pixels = imagecodecs.htj2k_decode(frame)
    finally:
        sys.unraisablehook = hook
    if reported:
        raise FileFault("decoder_refused", f"HTJ2K: {reported[0]}")
    return pixels


def _native(frame: bytes | memoryview, layout: Layout, big: bool) -> np.ndarray:
    kind = "i" if layout.signed else "u"
    dtype = np.dtype(f"{'>' if big else '<'}{kind}{layout.bits_allocated // 8}")
    pixels = np.frombuffer(frame, dtype).reshape(layout.rows, layout.columns)
    return pixels.astype(dtype.newbyteorder("="), copy=False)


def _rle(frame: bytes, layout: Layout) -> np.ndarray:
    """Unpack byte planes, the most significant first (PS3.5 G.2)."""
    count, *offsets = np.frombuffer(frame, "<u4", 16).tolist()
    if count != layout.bits_allocated // 8:
        raise FileFault("codestream_contradicts_header", f"{count} RLE segments")
    ends = [*offsets[1:count], len(frame)]
    size = layout.rows * layout.columns
    planes = np.empty((size, count), np.uint8)
    for plane, (start, end) in enumerate(zip(offsets[:count], ends, strict=True)):
        unpacked = np.frombuffer(imagecodecs.packbits_decode(frame[start:end]), np.uint8)
        excess = len(unpacked) - size
        # Padding unpacks to a few bytes more; of wrong Rows or Columns whole lines are left.
        if excess < 0 or (excess and (excess >= layout.columns or excess % layout.rows == 0)):
            raise FileFault(
                "truncated_codestream", f"RLE segment of {len(unpacked)} bytes, must be {size}"
            )
        planes[:, plane] = unpacked[:size]
    kind = "i" if layout.signed else "u"
    pixels = planes.view(f">{kind}{count}").reshape(layout.rows, layout.columns)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _jpeg_2000_reduced(frame: bytes, stream: Stream, reduction: int) -> np.ndarray:
    """Decode a lower resolution level, unsigned samples only."""
    step = 2**reduction
    with Image.open(io.BytesIO(frame), formats=("JPEG2000",)) as image:
        # Pillow rounds a reduced side where the standard takes the ceiling (T.800 B.15): where
        # they differ it calls the stream broken. Of a multiple of the step, both are one.
        image._size = tuple(-(-side // step) * step for side in image.size)
        image.reduce = reduction  # type: ignore[method-assign,assignment]
        image.load()
        pixels = np.asarray(image)
    precision = stream.precision or 16
    if pixels.dtype == np.uint16 and 8 < precision < 16:
        pixels = pixels >> (16 - precision)  # Pillow scales to the full 16 bits
    return pixels


def _centre(pixels: np.ndarray, reduction: int, full: tuple[int, int]) -> np.ndarray:
    """Move a reduced image to where averages over 2^n pixels lie: float32.

    A low-pass sample lies at the first of its 2^n pixels (T.800 F.3), their mean in the middle:
    (2^n - 1) / 2 pixels, almost half a reduced one, further right and down.
    """
    step = 2**reduction
    shift = (step - 1) / (2 * step)
    wide: np.ndarray = pixels.astype(np.float32)
    # One line more at each end, so that moving by the same shift moves the last by its own.
    down, right = (_last_shift(side, reduction) / shift for side in full)
    wide = np.concatenate([wide, wide[-1:] + down * (wide[-1:] - wide[-2:-1])])
    end = wide[:, -1:] + right * (wide[:, -1:] - wide[:, -2:-1])
    wide = np.concatenate([wide, end], axis=1)
    wide = cv2.addWeighted(wide[:-1], 1 - shift, wide[1:], shift, 0)
    return cv2.addWeighted(wide[:, :-1], 1 - shift, wide[:, 1:], shift, 0)


@functools.cache
def _last_shift(side: int, reduction: int) -> float:
    """Say how far, in reduced pixels, the last row's mean lies behind its sample.

    The row may hold fewer pixels, and the mirrored border moves its sample: a ramp that goes
    through the same filter (T.800 F.4.8.2, reversible) shows where to.
    """
    step = 2**reduction
    ramp = np.arange(side % step + 16 * step, dtype=np.float64)
    first = len(ramp) - 1 - (len(ramp) - 1) % step
    middle = (first + len(ramp) - 1) / 2
    for _ in range(reduction):
        even, odd = ramp[::2], ramp[1::2]
        after = np.append(even[1:], even[-1:]) if len(odd) == len(even) else even[1:]
        detail = odd - (even[: len(odd)] + after) / 2
        before = np.append(detail[:1], detail)
        behind = detail if len(detail) == len(even) else np.append(detail, detail[-1:])
        ramp = even + (before[: len(even)] + behind) / 4
    return float((middle - ramp[-1]) / (ramp[-1] - ramp[-2]))


def _as_signed(pixels: np.ndarray, layout: Layout) -> np.ndarray:
    """Read the samples of JPEG and JPEG-LS, which know no sign, as two's complement (PS3.5 8.2).

    Raises:
        FileFault: The bits above BitsStored are neither all zeros nor all copies of the sign.
    """
    if not layout.signed:
        return pixels
    stored, coded = layout.bits_stored, pixels.view(f"i{pixels.dtype.itemsize}")
    shift = 8 * pixels.dtype.itemsize - stored
    signed = (coded << shift) >> shift
    if (signed != coded).any() and (pixels >> stored).any():
        raise FileFault("values_exceed_bits_stored", f"signed values beyond {stored} bits")
    return signed
