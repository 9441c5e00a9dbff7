"""Whether decoded values are what the header promises: range, byte order, the length of a row."""

import cv2
import numpy as np

from mammo.dicom import codestream
from mammo.dicom.header import Layout
from mammo.dicom.source import Source
from mammo.errors import FileFault


def bounds(layout: Layout) -> tuple[int, int]:
    """State the least and the largest value that BitsStored bits hold."""
    if layout.signed:
        return -(2 ** (layout.bits_stored - 1)), 2 ** (layout.bits_stored - 1) - 1
    return 0, 2**layout.bits_stored - 1


# Quantisation of a lossy stream may overshoot by some; a header that lies is off by a factor.
_OVERSHOOT = 1 / 16


def within_bits_stored(pixels: np.ndarray, source: Source) -> tuple[np.ndarray, tuple[str, ...]]:
    """Bring values into the range of BitsStored where it is plain how.

    Raises:
        FileFault: The values need more bits than the header says.
    """
    layout = source.layout
    low, high = bounds(layout)
    least, most, _, _ = cv2.minMaxLoc(pixels)
    if least >= low and most <= high:
        return pixels, ()
    # PS3.5 8.1.1: what lies above the stored bits is no part of the pixels, such as an overlay.
    if source.header.transfer_syntax_uid in codestream.LOSSY:
        if most - high <= _OVERSHOOT * (high - low) and low - least <= _OVERSHOOT * (high - low):
            return pixels.clip(low, high), ("overshoot_clipped",)
    else:
        masked = _masked(pixels, layout.bits_stored)
        if _declared(pixels, masked, layout) or _is_unrelated(pixels, masked, layout.bits_stored):
            return masked, ("high_bits_masked",)
    raise FileFault(
        "values_exceed_bits_stored",
        f"values {int(least)} to {int(most)}, BitsStored {layout.bits_stored} allows "
        f"{low} to {high}",
    )


def check_sign(pixels: np.ndarray, source: Source) -> None:
    """Of a file that contradicts itself on the sign, believe values that mean the same either way.

    Args:
        pixels: As coded, unsigned unless the codestream itself says otherwise.
        source: The file.

    Raises:
        FileFault: Some are negative, or would be so if they were signed.
    """
    if not source.sign_disputed:
        return
    bits, stream = source.layout.bits_stored, source.stream
    if stream is None or not stream.signed:  # else a sign was already read
        bits = min(bits, (stream and stream.precision) or bits) - 1
    low, high, _, _ = cv2.minMaxLoc(pixels)
    if low < 0 or high >= 2**bits:
        raise FileFault(
            "pixel_representation",
            f"(0028,0103) is {source.header.pixel_representation}, another sign than that of the "
            f"codestream or the class (MG and DX: 0), and values {int(low)} to {int(high)} mean "
            f"the same only from 0 to {2**bits - 1}",
        )


def _masked(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Keep the lower bits, with their sign where the type has one."""
    shift = 8 * pixels.dtype.itemsize - bits
    return (pixels << shift) >> shift


def _declared(pixels: np.ndarray, masked: np.ndarray, layout: Layout) -> bool:
    """Tell whether the header says of all bits above the stored ones that they hold overlays."""
    if not layout.overlay_bits:
        return False
    above = np.bitwise_or.reduce(pixels ^ masked, axis=None)
    return not int(above) & ~layout.overlay_bits & (2 ** (8 * pixels.dtype.itemsize) - 1)


def _is_unrelated(pixels: np.ndarray, masked: np.ndarray, bits: int) -> bool:
    """Tell whether the upper bits have nothing to do with the lower ones.

    Where they are a part of the value, neighbours across their change differ by little as they
    are, and by almost 2^bits once masked; where they hold something else, it is the other way.
    """
    upper = (pixels ^ masked).astype(np.int32)
    whole, lower = pixels.astype(np.int32), masked.astype(np.int32)
    apart, together = [], []
    for axis in (0, 1):
        changed = np.diff(upper, axis=axis) != 0
        apart.append(np.abs(np.diff(whole, axis=axis))[changed])
        together.append(np.abs(np.diff(lower, axis=axis))[changed])
    if sum(map(len, together)) == 0:
        return False
    near = np.concatenate(together) < 2 ** (bits - 2)
    far = np.concatenate(apart) > 2 ** (bits - 1)
    return bool(np.mean(near & far) > 0.9)


# With their bytes swapped, 318 real images and 400 of the phantom are 3.5 to 38 times as rough;
# noise is just as rough.
_MAX_ROUGHER = 3.0
_ROWS_LOOKED_AT = 256


def check_byte_order(pixels: np.ndarray) -> None:
    """Refuse 16-bit pixels that are smooth only with their bytes swapped.

    Where BitsStored is less than 16, swapped values exceed it; 16 bits hold anything.

    Raises:
        FileFault: They lie in the other byte order than the file says.
    """
    if pixels.dtype.itemsize == 1 or min(pixels.shape) < 16:
        return
    sample = pixels[:: -(-len(pixels) // _ROWS_LOOKED_AT)]
    as_read, swapped = _roughness(sample), _roughness(sample.byteswap())
    if as_read > _MAX_ROUGHER * swapped:
        raise FileFault(
            "byte_order_suspect",
            f"neighbours differ by {as_read:.2f} of the spread of all pixels, with their bytes "
            f"swapped by {swapped:.2f}: they aren't in the byte order that the file says",
        )


def _roughness(pixels: np.ndarray) -> float:
    """Compare the differences of neighbours in a row with the spread of all."""
    values = pixels.astype(np.float32)
    spread = np.abs(values - values.mean()).mean()
    return float(np.abs(np.diff(values, axis=1)).mean() / spread) if spread else 0.0


# Rows of real mammograms differ at most twice as much as columns; cut at a wrong length, they
# lie far above.
_MAX_STRIDE_RATIO = 6.0


def check_stride(pixels: np.ndarray) -> None:
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
