import imagecodecs
import numpy as np
import pytest

from mammo.dicom import codestream
from mammo.dicom.jpeg_dct import check_dct
from mammo.dicom.jpeg_lossless import check_lossless
from mammo.errors import FileFault
from support.dicom_files import JPEG_BASELINE, JPEG_LS, breast_pixels

LOSSLESS = codestream.JPEG_LOSSLESS[0]
PIXELS = breast_pixels(rows=150, columns=70)


def lossless(pixels: np.ndarray, bits: int, predictor: int) -> bytes:
    return imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=predictor, bitspersample=bits)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_the_bits_of_every_predictor_are_counted_exactly(predictor, bits):
    pixels = breast_pixels(rows=150, columns=70, bits=bits)
    frame = lossless(pixels, bits, predictor)
    stream = codestream.check(frame, LOSSLESS)
    check_lossless(frame, stream, pixels)
    changed = pixels.copy()
    changed[60:90, 10:40] = 0
    with pytest.raises(FileFault, match="scan_length"):
        check_lossless(frame, stream, changed)


def test_another_predictor_than_the_syntax_fixes_raises():
    frame = lossless(PIXELS, 12, 4)
    with pytest.raises(FileFault, match="predictor 4"):
        check_lossless(frame, codestream.check(frame, LOSSLESS), PIXELS, first_order=True)


def padded(fewest: int) -> tuple[bytearray, np.ndarray, int]:
    """Make a lossless stream whose last byte ends in so many ones of padding, or in more."""
    for rows in range(60, 150):
        pixels = PIXELS[:rows]
        frame = lossless(pixels, 12, 1)
        stream = codestream.check(frame, LOSSLESS)
        for count in range(fewest, 8):
            ones = (1 << count) - 1
            cleared = bytearray(frame)
            cleared[-3] &= 0xFF ^ ones
            if frame[-4] != 0xFF and frame[-3] & ones == ones:
                try:
                    check_lossless(bytes(cleared), stream, pixels)
                except FileFault:
                    continue
                if np.array_equal(imagecodecs.jpeg8_decode(bytes(cleared)), pixels):
                    return bytearray(frame), pixels, count
    raise AssertionError("no stream ends in padding")


def test_padding_of_ones_and_zeros_raises():
    # A lost code of a few bits would hide in it.
    frame, pixels, _ = padded(fewest=2)
    frame[-3] &= 0xFE
    changed = bytes(frame)
    with pytest.raises(FileFault, match="scan_length"):
        check_lossless(changed, codestream.check(changed, LOSSLESS), pixels)


def test_padding_of_zeros_is_read():
    frame, pixels, count = padded(fewest=2)
    frame[-3] &= 0xFF ^ ((1 << count) - 1)
    changed = bytes(frame)
    check_lossless(changed, codestream.check(changed, LOSSLESS), pixels)


def filled(frame: bytes) -> bytes:
    """Put a fill byte before every marker of the header (T.81 B.1.1.2)."""
    out, position, code = bytearray(frame[:2]), 2, 0
    while code != 0xDA:
        code = frame[position + 1]
        end = position + 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
        out += b"\xff" + frame[position:end]
        position = end
    return bytes(out) + frame[position:]


@pytest.mark.parametrize("syntax", [LOSSLESS, JPEG_BASELINE, JPEG_LS])
def test_fill_bytes_before_markers_are_passed_over(syntax):
    if syntax == JPEG_BASELINE:
        frame = imagecodecs.jpeg8_encode(breast_pixels(bits=8))
    else:
        frame = imagecodecs.jpegls_encode(PIXELS) if syntax == JPEG_LS else lossless(PIXELS, 12, 1)
    plain, other = codestream.check(frame, syntax), codestream.check(filled(frame), syntax)
    assert (other.rows, other.columns, other.precision) == (
        plain.rows,
        plain.columns,
        plain.precision,
    )
    if syntax == LOSSLESS:
        check_lossless(filled(frame), other, PIXELS)
    if syntax == JPEG_BASELINE:
        check_dct(filled(frame))


def test_extreme_differences_are_counted():
    pixels = np.array([[0, 65535, 0, 32768], [65535, 32767, 0, 1], [5, 5, 5, 5]] * 8, np.uint16)
    frame = lossless(pixels, 16, 1)
    check_lossless(frame, codestream.check(frame, LOSSLESS), pixels)


def with_restarts(pixels: np.ndarray, rows: int) -> bytes:
    """Set a lossless stream together from one stream per interval, as T.81 F.1.1.5.3 lays out."""
    parts = []
    for number, top in enumerate(range(0, len(pixels), rows)):
        frame = lossless(pixels[top : top + rows], 12, 1)
        start, end = codestream.check(frame, LOSSLESS).scan
        parts.append(frame[start:end])
        if number == 0:
            header = frame[:start]
    marker = header.index(b"\xff\xda")
    size = header.index(b"\xff\xc3") + 5
    header = header[:size] + len(pixels).to_bytes(2, "big") + header[size + 2 :]
    interval = b"\xff\xdd\0\4" + (rows * pixels.shape[1]).to_bytes(2, "big")
    scan = b"".join(
        part + bytes((0xFF, 0xD0 + number % 8)) for number, part in enumerate(parts[:-1])
    )
    return header[:marker] + interval + header[marker:] + scan + parts[-1] + b"\xff\xd9"


def test_restart_intervals_are_counted_each():
    # Huffman tables are optimal per stream: equal intervals share one.
    block = PIXELS[60:90]
    pixels = np.concatenate([block, block, block])
    frame = with_restarts(pixels, rows=30)
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(frame), pixels)
    stream = codestream.check(frame, LOSSLESS)
    check_lossless(frame, stream, pixels)
    lost = frame.replace(b"\xff\xd1", b"")
    with pytest.raises(FileFault, match="scan_length"):
        check_lossless(lost, codestream.check(lost, LOSSLESS), pixels)
