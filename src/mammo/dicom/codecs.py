"""One checked codestream -> stored values; which library decodes what, and its version.

Each transfer syntax has one decoder. It raises on damage, or what it returns is checked here.
"""

import io

import cv2
import imagecodecs
import numpy as np
from PIL import Image, features

from mammo.dicom import codestream
from mammo.dicom import jpeg_scan as huffman
from mammo.dicom.header import Layout
from mammo.dicom.parsing import BIG_ENDIAN
from mammo.dicom.source import Source
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


def decode(source: Source, target_px: int | None) -> np.ndarray:
    """Decode to stored values.

    Args:
        source: A file that passed the checks of `mammo.dicom.source.read_source`.
        target_px: Where the syntax allows it, decode at the smallest resolution whose short side
            is still this long; None decodes in full.

    Returns:
        (rows, columns) or, reduced by n levels, (ceil(rows / 2^n), ceil(columns / 2^n));
        uint8, uint16, int8 or int16, within BitsStored.

    Raises:
        FileFault: The stream is damaged, or its values don't fit BitsStored.
    """
    syntax, layout = source.header.transfer_syntax_uid, source.layout
    reduction = _reduction(source, target_px)
    try:
        pixels = _decode(source, syntax, reduction)
    except DECODE_ERRORS as error:
        raise FileFault("decoder_refused", f"{type(error).__name__}: {error}") from error
    expected = tuple(-(-side // 2**reduction) for side in (layout.rows, layout.columns))
    if pixels.shape != expected:
        raise FileFault("decoder_refused", f"decoded to {pixels.shape}, must be {expected}")
    if reduction:
        # The low-pass band may overshoot the range of the samples themselves.
        return _centre(pixels.clip(*_bounds(layout)).astype(pixels.dtype), reduction)
    _check_range(pixels, layout)
    if codestream.is_native(syntax) or syntax == codestream.RLE:
        _check_stride(pixels)
    return pixels


def _reduction(source: Source, target_px: int | None) -> int:
    """Choose how many wavelet levels to leave out."""
    stream, layout = source.stream, source.layout
    if target_px is None or stream is None or stream.levels == 0:
        return 0
    # Signed samples: no reduced decoder is known to keep them. Unbounded streams: only a full
    # decode sees that packets are missing. Another precision than BitsStored: only full samples
    # can be held to it.
    if stream.signed or not stream.bounded or stream.precision != layout.bits_stored:
        return 0
    short, reduction = min(layout.rows, layout.columns), 0
    while reduction < stream.levels and -(-short // 2 ** (reduction + 1)) >= target_px:
        reduction += 1
    return reduction


def _decode(source: Source, syntax: str, reduction: int) -> np.ndarray:
    layout, stream = source.layout, source.stream
    if stream is None:
        return _native(source.frame, layout, big=syntax == BIG_ENDIAN)
    frame = bytes(source.frame)
    if syntax == codestream.RLE:
        return _rle(frame, layout)
    if reduction:  # HTJ2K too: OpenJPH lets overshoot wrap around where OpenJPEG clamps it
        return _jpeg_2000_reduced(frame, stream, reduction)
    if syntax in codestream.HTJ2K:
        return imagecodecs.htj2k_decode(frame)
    if syntax in codestream.JPEG_2000:
        return imagecodecs.jpeg2k_decode(frame, numthreads=1)
    if syntax in codestream.JPEG_LS:
        return _as_signed(imagecodecs.jpegls_decode(frame), layout)
    pixels = imagecodecs.jpeg8_decode(frame)
    if syntax in codestream.JPEG_LOSSLESS:
        first_order = syntax == codestream.JPEG_LOSSLESS_SV1
        huffman.check_lossless(frame, stream, pixels, first_order)
    else:
        huffman.check_sequential(frame, stream)
    return _as_signed(pixels, layout)


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
        unpacked = imagecodecs.packbits_decode(frame[start:end])
        if len(unpacked) != size:
            raise FileFault(
                "truncated_codestream", f"RLE segment of {len(unpacked)} bytes, must be {size}"
            )
        planes[:, plane] = np.frombuffer(unpacked, np.uint8)
    kind = "i" if layout.signed else "u"
    pixels = planes.view(f">{kind}{count}").reshape(layout.rows, layout.columns)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _jpeg_2000_reduced(frame: bytes, stream: codestream.Stream, reduction: int) -> np.ndarray:
    """Decode a lower resolution level, unsigned samples only."""
    with Image.open(io.BytesIO(frame), formats=("JPEG2000",)) as image:
        image.reduce = reduction  # type: ignore[method-assign,assignment]
        image.load()
        pixels = np.asarray(image)
    precision = stream.precision or 16
    if pixels.dtype == np.uint16 and 8 < precision < 16:
        pixels = pixels >> (16 - precision)  # Pillow scales to the full 16 bits
    return pixels


def _centre(pixels: np.ndarray, reduction: int) -> np.ndarray:
    """Move a reduced image to where averages over 2^n pixels lie.

    A low-pass sample lies at the first of its 2^n pixels (T.800 F.3), their mean in the middle:
    (2^n - 1) / 2 pixels, almost half a reduced one, further right and down.
    """
    shift = (2**reduction - 1) / 2 ** (reduction + 1)
    matrix = np.array([[1, 0, shift], [0, 1, shift]])
    return cv2.warpAffine(
        pixels,
        matrix,
        pixels.shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _as_signed(pixels: np.ndarray, layout: Layout) -> np.ndarray:
    """Read the samples of JPEG and JPEG-LS, which know no sign, as two's complement (PS3.5 8.2)."""
    if not layout.signed:
        return pixels
    shift = 8 * pixels.dtype.itemsize - layout.bits_stored
    return (pixels << shift).view(f"i{pixels.dtype.itemsize}") >> shift


def _bounds(layout: Layout) -> tuple[int, int]:
    if layout.signed:
        return -(2 ** (layout.bits_stored - 1)), 2 ** (layout.bits_stored - 1) - 1
    return 0, 2**layout.bits_stored - 1


def _check_range(pixels: np.ndarray, layout: Layout) -> None:
    """Values beyond BitsStored mean that a header lies; masking them would hide it."""
    low, high = _bounds(layout)
    least, most, _, _ = cv2.minMaxLoc(pixels)
    if least < low or most > high:
        raise FileFault(
            "values_exceed_bits_stored",
            f"values {int(least)} to {int(most)}, BitsStored {layout.bits_stored} allows "
            f"{low} to {high}",
        )


# Rows of real mammograms differ at most twice as much as columns; cut at a wrong length, they
# lie far above.
_MAX_STRIDE_RATIO = 6.0


def _check_stride(pixels: np.ndarray) -> None:
    """Refuse an image whose rows don't continue each other.

    Native pixels and RLE carry no shape of their own: if Rows and Columns lie and their product
    doesn't, rows start at the wrong place, and neighbours across rows stop being alike; or a row
    holds several, and a half or a third of it repeats the rest.
    """
    rows, columns = pixels.shape
    if min(rows, columns) < 16:
        return
    flat = pixels.reshape(-1)
    step = max(1, pixels.size // 100_000) | 1  # odd: visits all columns of even widths
    start = np.arange(0, pixels.size - columns, step)
    here = flat[start].astype(np.int32)

    def roughness(distance: int) -> float:
        return float(np.abs(flat[start + distance] - here).mean())

    across, down = roughness(1), roughness(columns)
    if roughness(2) < 0.5 * across:  # bytes of 16-bit samples, read as 8-bit ones
        raise FileFault("bits_contradictory", "every other pixel is of another kind")
    part = min(roughness(columns // 2), roughness(columns // 3))
    far = roughness(columns // 2 + columns // 7)
    if down > _MAX_STRIDE_RATIO * across + 1 or (part < 1.3 * down and part < 0.5 * far):
        raise FileFault(
            "rows_columns_suspect",
            f"pixels a row apart differ by {down:.1f}, neighbours by {across:.1f}, parts of a row "
            f"by {part:.1f}: Rows and Columns don't fit the data",
        )
