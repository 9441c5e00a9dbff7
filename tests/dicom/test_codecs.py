from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest

from mammo.dicom import codecs
from mammo.dicom.params import Limits
from mammo.dicom.source import read_source
from mammo.errors import FileFault
from support.dicom_files import (
    BIG_ENDIAN,
    EXPLICIT,
    HTJ2K,
    IMPLICIT,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LS,
    LOSSLESS,
    RLE,
    breast_pixels,
    codestream,
    dicom_bytes,
)

LIMITS = Limits(max_pixels=64_000_000, max_inflated_mb=64)
PIXELS = breast_pixels(rows=256, columns=160)


def decode(content: bytes | Path, target_px: int | None = None) -> np.ndarray:
    return codecs.decode(read_source(content, LIMITS), target_px)


def reason_of(content: bytes) -> str:
    with pytest.raises(FileFault) as caught:
        decode(content)
    return caught.value.reason


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("bits", [12, 16])
def test_lossless_syntaxes_return_the_very_pixels(syntax, bits):
    pixels = breast_pixels(rows=97, columns=65, bits=bits)
    np.testing.assert_array_equal(decode(dicom_bytes(pixels, syntax, bits)), pixels)


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000])
def test_eight_bits_stay_eight_bits(syntax):
    pixels = breast_pixels(bits=8)
    decoded = decode(dicom_bytes(pixels, syntax, 8))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize(("syntax", "bits"), [(JPEG_BASELINE, 8), (JPEG_EXTENDED, 12)])
def test_lossy_jpeg_stays_close(syntax, bits):
    pixels = breast_pixels(bits=bits)
    decoded = decode(dicom_bytes(pixels, syntax, bits)).astype(int)
    assert np.abs(decoded - pixels).mean() < 0.01 * 2**bits


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, RLE])
def test_signed_pixels_keep_their_sign(syntax):
    pixels = breast_pixels().astype(np.int16) - 1000
    content = dicom_bytes(pixels, syntax, bits=16, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    np.testing.assert_array_equal(decode(content), pixels)


def test_values_beyond_bits_stored_raise():
    for syntax in (EXPLICIT, RLE, JPEG_LS):
        content = dicom_bytes(PIXELS, syntax, BitsStored=11, HighBit=10)
        assert reason_of(content) == "values_exceed_bits_stored"


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
@pytest.mark.parametrize(
    ("rows", "columns"), [(160, 256), (128, 320), (512, 80), (320, 128), (64, 640)]
)
def test_rows_and_columns_of_the_right_product_but_wrong_shape_raise(syntax, rows, columns):
    content = dicom_bytes(PIXELS, syntax, Rows=rows, Columns=columns)
    assert reason_of(content) == "rows_columns_suspect"


def test_bytes_of_16_bit_samples_read_as_8_bit_ones_raise():
    layout = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "Columns": 320}
    assert reason_of(dicom_bytes(PIXELS, EXPLICIT, **layout)) == "bits_contradictory"


def test_a_stream_deeper_than_bits_stored_is_decoded_in_full_and_held_to_it():
    stream = codestream(PIXELS, JPEG_2000, bits=16)
    content = dicom_bytes(PIXELS, JPEG_2000, stream=stream, BitsStored=11, HighBit=10)
    with pytest.raises(FileFault, match="values_exceed_bits_stored"):
        decode(content, 40)


JPEGS = [JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LS]


@pytest.mark.parametrize("syntax", JPEGS)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.99])
def test_a_cut_jpeg_that_got_a_new_end_marker_raises(syntax, kept):
    bits = 8 if syntax == JPEG_BASELINE else 12
    pixels = breast_pixels(bits=bits)
    whole = codestream(pixels, syntax, bits)
    cut = whole[: int(len(whole) * kept)].rstrip(b"\xff") + b"\xff\xd9"
    assert reason_of(dicom_bytes(pixels, syntax, bits, stream=cut)) in (
        "scan_length",
        "decoder_refused",
    )


@pytest.mark.parametrize("syntax", JPEGS)
def test_a_jpeg_with_a_hole_raises(syntax):
    bits = 8 if syntax == JPEG_BASELINE else 12
    pixels = breast_pixels(bits=bits)
    whole = codestream(pixels, syntax, bits)
    middle = len(whole) // 2
    holed = whole[:middle] + whole[middle + 40 :]
    assert reason_of(dicom_bytes(pixels, syntax, bits, stream=holed)) in (
        "scan_length",
        "decoder_refused",
        "codestream_header",
    )


def test_a_jpeg_2000_without_a_packet_raises_reduced_or_not():
    whole = codestream(PIXELS, JPEG_2000)
    for target in (None, 32):
        for cut in (whole[:-60] + whole[-2:], whole[:-60], whole[:-2]):
            with pytest.raises(FileFault) as caught:
                decode(dicom_bytes(PIXELS, JPEG_2000, stream=cut), target)
            assert caught.value.reason == "truncated_codestream"


def test_an_rle_segment_cut_short_raises():
    whole = codestream(PIXELS, RLE)
    assert reason_of(dicom_bytes(PIXELS, RLE, stream=whole[:-100])) in (
        "truncated_codestream",
        "decoder_refused",
    )


@pytest.mark.parametrize("syntax", [JPEG_2000, HTJ2K])
@pytest.mark.parametrize(
    ("target", "shape"), [(160, (256, 160)), (80, (128, 80)), (81, (256, 160))]
)
def test_the_smallest_sufficient_resolution_is_decoded(syntax, target, shape):
    reduced = decode(dicom_bytes(PIXELS, syntax), target)
    assert reduced.shape == shape


@pytest.mark.parametrize("syntax", [JPEG_2000, HTJ2K])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_reduced_decoding_keeps_grey_levels_and_clamps_overshoot(syntax, bits):
    # Hard edges between the extremes: the low-pass band overshoots on both sides.
    pixels = np.zeros((256, 160), np.uint8 if bits == 8 else np.uint16)
    pixels[:, 61:] = pixels[101:150, :40] = 2**bits - 1
    reduced = decode(dicom_bytes(pixels, syntax, bits), 40).astype(float)
    averaged = cv2.resize(pixels.astype(np.float32), (40, 64), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(reduced.ravel(), averaged.ravel())[0, 1] > 0.99
    assert abs(reduced.mean() - averaged.mean()) < 0.004 * 2**bits
    assert (reduced.min(), reduced.max()) == (0, 2**bits - 1)


def test_a_stream_of_few_levels_is_reduced_as_far_as_it_goes():
    stream = codestream(PIXELS, JPEG_2000, resolutions=2)
    content = dicom_bytes(PIXELS, JPEG_2000, stream=stream)
    assert read_source(content, LIMITS).stream.levels == 1
    assert decode(content, 16).shape == (128, 80)


def test_a_tile_part_of_open_length_is_decoded_in_full():
    stream = bytearray(codestream(PIXELS, JPEG_2000))
    start = stream.index(b"\xff\x90")
    stream[start + 6 : start + 10] = bytes(4)  # Psot = 0: to the end marker (T.800 A.4.2)
    content = dicom_bytes(PIXELS, JPEG_2000, stream=bytes(stream))
    assert not read_source(content, LIMITS).stream.bounded
    np.testing.assert_array_equal(decode(content, 16), PIXELS)


def test_versions_name_every_decoder():
    assert all(any(c.isdigit() for c in text) for text in codecs.versions().values())


# ---- real files

CT = "data/dicom-samples/transfer-syntaxes/CTImage.dcm"


def ct(shared: Path, syntax: str) -> Path:
    return next((shared / CT).parent.glob(f"CTImage.dcm_*_{syntax}.dcm"))


CT_LOSSLESS = [s for s in LOSSLESS if s != HTJ2K] + ["1.2.840.10008.1.2.4.57"]


@pytest.mark.shared
@pytest.mark.parametrize("syntax", CT_LOSSLESS)
def test_one_ct_in_every_lossless_syntax_is_one_image(shared, syntax):
    reference = pydicom.dcmread(shared / CT).pixel_array
    np.testing.assert_array_equal(decode(ct(shared, syntax)), reference)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("syntax", "tolerance"),
    [("1.2.840.10008.1.2.4.81", 3), ("1.2.840.10008.1.2.4.91", 200)],
)
def test_lossy_ct_stays_near_the_original(shared, syntax, tolerance):
    reference = pydicom.dcmread(shared / CT).pixel_array.astype(int)
    assert np.abs(decode(ct(shared, syntax)) - reference).max() <= tolerance


@pytest.mark.shared
@pytest.mark.parametrize("syntax", [JPEG_BASELINE, JPEG_EXTENDED])
def test_lossy_jpeg_of_the_ct_agrees_with_a_second_decoder(shared, syntax):
    path = ct(shared, syntax)
    second = pydicom.dcmread(path).pixel_array.astype(int)
    assert np.abs(decode(path) - second).max() <= 1  # inverse DCTs differ in their last bit


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["mg-jpeglossless-overlay", "mg-jpeglossless-voilut", "nema-mg1-j2k-lossy", "vlut_04"]
)
def test_real_mammograms_agree_with_a_second_decoder(shared, name):
    path = shared / f"data/dicom-samples/{name}.dcm"
    np.testing.assert_array_equal(decode(path), pydicom.dcmread(path).pixel_array)


@pytest.mark.shared
def test_extended_jpeg_of_12_bits_shows_the_same_mammogram_as_its_jpeg_2000_twin(shared):
    # No second library reads this file; NEMA published the same picture as JPEG 2000.
    folder = shared / "data/dicom-samples"
    jpeg = decode(folder / "nema-mg1-jpeg-extended12.dcm").astype(float)
    twin = decode(folder / "nema-mg1-j2k-lossy.dcm").astype(float)
    assert np.corrcoef(jpeg[::4, ::4].ravel(), twin[::4, ::4].ravel())[0, 1] > 0.999
    assert abs(jpeg.mean() - twin.mean()) < 0.5


@pytest.mark.shared
def test_reduced_decoding_of_real_mammograms_matches_area_averaging(shared):
    paths = [shared / "data/dicom-samples/nema-mg1-j2k-lossy.dcm"]
    paths += sorted((shared / "data/cdd-cesm/dicom").glob("*/*.dcm"))[:12]
    for path in paths:
        full = decode(path).astype(np.float32)
        reduced = decode(path, 128).astype(float)
        assert reduced.size * 16 <= full.size * 1.01
        size = reduced.shape[::-1]
        averaged = cv2.resize(full, size, interpolation=cv2.INTER_AREA)
        assert np.corrcoef(reduced.ravel(), averaged.ravel())[0, 1] >= 0.99, path.name
        assert abs(reduced.mean() - averaged.mean()) < 0.005 * full.max(), path.name
