import io
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom import uid

from mammo.dicom import codecs
from mammo.dicom.params import Limits
from mammo.dicom.source import read_source
from mammo.dicom.stored_values import check_byte_order
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
    return decoded(content, target_px).pixels


def decoded(content: bytes | Path, target_px: int | None = None) -> codecs.Decoded:
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


@pytest.mark.parametrize("columns", [64, 65])
def test_bytes_in_big_endian_words_are_swapped(columns):
    # PS3.5 7.3 and A.3: of VR OW, two pixels of 8 bits are one word.
    pixels = breast_pixels(rows=97, columns=columns, bits=8)
    padded = pixels.tobytes() + b"\0" * (pixels.size % 2)
    words = np.frombuffer(padded, "u2").byteswap().tobytes()
    content = dicom_bytes(pixels, BIG_ENDIAN, 8, stream=words)
    content = content.replace(b"\x7f\xe0\0\x10OB", b"\x7f\xe0\0\x10OW")
    np.testing.assert_array_equal(decode(content), pixels)


@pytest.mark.parametrize(("syntax", "bits"), [(JPEG_BASELINE, 8), (JPEG_EXTENDED, 12)])
def test_lossy_jpeg_stays_close(syntax, bits):
    pixels = breast_pixels(bits=bits)
    decoded = decode(dicom_bytes(pixels, syntax, bits)).astype(int)
    assert np.abs(decoded - pixels).mean() < 0.01 * 2**bits


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, RLE])
def test_signed_pixels_keep_their_sign(syntax):
    pixels = breast_pixels().astype(np.int16) - 1000
    content = dicom_bytes(pixels, syntax, bits=16, SOPClassUID=uid.SecondaryCaptureImageStorage)
    np.testing.assert_array_equal(decode(content), pixels)


LOW = breast_pixels(rows=97, columns=65, bits=11)  # below half of what 12 bits hold


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize(("bits", "stored"), [(11, 12), (13, 14), (15, 16), (11, 16)])
def test_a_mammogram_said_to_be_signed_is_read_where_no_value_depends_on_it(syntax, bits, stored):
    pixels = breast_pixels(rows=97, columns=65, bits=bits)
    found = decoded(dicom_bytes(pixels, syntax, stored, PixelRepresentation=1))
    np.testing.assert_array_equal(found.pixels, pixels)
    source = read_source(dicom_bytes(pixels, syntax, stored, PixelRepresentation=1), LIMITS)
    assert source.flags == ("pixel_representation",)
    assert source.grey.lowest == 0  # its class knows unsigned pixels alone


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_mammogram_said_to_be_signed_is_refused_where_a_value_depends_on_it(syntax):
    content = dicom_bytes(PIXELS, syntax, PixelRepresentation=1)
    for target in (None, 40):
        with pytest.raises(FileFault, match="pixel_representation"):
            decode(content, target)


@pytest.mark.parametrize("signed", [0, 1])
def test_a_jpeg_2000_stream_of_the_other_sign_is_read_where_no_value_depends_on_it(signed):
    tags = {"SOPClassUID": uid.SecondaryCaptureImageStorage, "PixelRepresentation": signed}
    # A signed stream has its own bit for the sign: all values from 0 on are plain.
    same = LOW if signed else PIXELS
    stream = codestream(same.astype(np.uint16 if signed else np.int16), JPEG_2000, 13)
    content = dicom_bytes(same, JPEG_2000, 12, stream=stream, **tags)
    assert "pixel_representation" in read_source(content, LIMITS).flags
    np.testing.assert_array_equal(decode(content), same)
    beyond = PIXELS if signed else LOW.astype(np.int16) - 1
    content = dicom_bytes(beyond, JPEG_2000, stream=codestream(beyond, JPEG_2000), **tags)
    assert reason_of(content) == "pixel_representation"


def test_signed_pixels_of_another_coded_depth_are_read_where_the_sign_is_plain():
    tags = {"SOPClassUID": uid.SecondaryCaptureImageStorage, "PixelRepresentation": 1}
    content = dicom_bytes(LOW, JPEG_LOSSLESS, 14, stream=codestream(LOW, JPEG_LOSSLESS), **tags)
    assert read_source(content, LIMITS).flags == ("coded_precision", "pixel_representation")
    np.testing.assert_array_equal(decode(content), LOW)
    stream = codestream(PIXELS, JPEG_LOSSLESS)
    content = dicom_bytes(PIXELS, JPEG_LOSSLESS, 14, stream=stream, **tags)
    assert reason_of(content) == "pixel_representation"


@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS, JPEG_LS])
def test_signed_samples_beyond_bits_stored_are_not_cut_to_it(syntax):
    tags = {"SOPClassUID": uid.SecondaryCaptureImageStorage}
    signed = breast_pixels().astype(np.int16) - 500
    stream = codestream(signed.view(np.uint16), syntax, 16)
    found = decode(dicom_bytes(signed, syntax, 13, stream=stream, **tags))
    np.testing.assert_array_equal(found, signed)
    content = dicom_bytes(signed, syntax, 12, stream=stream, **tags)
    assert reason_of(content) == "values_exceed_bits_stored"


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


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, RLE])
@pytest.mark.parametrize("signed", [False, True])
def test_pixels_in_the_other_byte_order_raise(syntax, signed):
    pixels = breast_pixels(bits=16) if not signed else breast_pixels().astype(np.int16) - 900
    tags = {"SOPClassUID": uid.SecondaryCaptureImageStorage}
    np.testing.assert_array_equal(decode(dicom_bytes(pixels, syntax, 16, **tags)), pixels)
    assert reason_of(dicom_bytes(pixels.byteswap(), syntax, 16, **tags)) == "byte_order_suspect"


@pytest.mark.parametrize("shift", [0, 4, 7, 8])
@pytest.mark.parametrize("what", ["noise", "breast", "chessboard", "ramp"])
def test_made_up_pictures_are_in_their_byte_order(what, shift):
    bits = 16 - shift
    y, x = np.mgrid[:96, :64]
    values = {
        "noise": np.random.default_rng(0).integers(0, 2**bits, (96, 64)),
        "breast": breast_pixels(bits=bits),
        "chessboard": (x + y) % 2 * (2**bits - 1),
        "ramp": x * 2**bits // 64,
    }[what]
    check_byte_order(values.astype(np.uint16) << shift)


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


def smooth(rows: int, columns: int) -> np.ndarray:
    y, x = ((np.arange(n) + 0.5) / n for n in (rows, columns))
    return np.rint(2048 + 1500 * np.sin(3 * y)[:, None] * np.cos(4 * x)[None]).astype(np.uint16)


@pytest.mark.parametrize("syntax", [JPEG_2000, HTJ2K])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_reduced_level_of_every_residue_agrees_with_areas(syntax, levels):
    step = 2**levels
    for rest in range(step):
        pixels = smooth(24 * step + rest, 20 * step + (3 * rest) % step)
        found = decoded(dicom_bytes(pixels, syntax), 20)
        assert found.reduction == levels and found.flags == ()
        rows, columns = found.pixels.shape
        padded = np.pad(
            pixels.astype(float),
            [(0, step * n - side) for n, side in zip((rows, columns), pixels.shape, strict=True)],
            constant_values=np.nan,
        )
        areas = np.nanmean(padded.reshape(rows, step, columns, step), axis=(1, 3))
        assert np.abs(found.pixels - areas).max() <= 16  # a grey level of 255


def test_what_the_reduced_decoder_refuses_is_decoded_in_full(monkeypatch):
    def refuse(*_: object) -> np.ndarray:
        raise OSError("broken data stream")

    monkeypatch.setattr(codecs, "_jpeg_2000_reduced", refuse)
    found = decoded(dicom_bytes(PIXELS, JPEG_2000), 16)
    assert found.flags == ("slow_path",) and found.reduction == 0
    np.testing.assert_array_equal(found.pixels, PIXELS)


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
@pytest.mark.parametrize("what", ["overlay", "noise"])
def test_what_lies_above_the_stored_bits_is_masked_and_counted(syntax, what):
    upper = np.zeros(PIXELS.shape, np.uint16)
    if what == "overlay":
        upper[10:20, 20:60] = 1
    else:
        upper = np.random.default_rng(0).integers(0, 16, PIXELS.shape).astype(np.uint16)
    found = decoded(dicom_bytes(PIXELS | upper << 12, syntax))
    assert found.flags == ("high_bits_masked",)
    np.testing.assert_array_equal(found.pixels, PIXELS)


@pytest.mark.parametrize("bits", [8, 10, 11])
def test_bits_that_belong_to_the_values_are_not_masked(bits):
    content = dicom_bytes(PIXELS, EXPLICIT, BitsStored=bits, HighBit=bits - 1)
    assert reason_of(content) == "values_exceed_bits_stored"


def test_a_declared_overlay_is_masked_wherever_it_lies():
    everywhere = {"OverlayBitsAllocated": 16, "OverlayBitPosition": 12}
    ds = pydicom.dcmread(io.BytesIO(dicom_bytes(PIXELS | 1 << 12)))
    for element, (keyword, value) in zip((0x0100, 0x0102), everywhere.items(), strict=True):
        ds.add_new((0x6000, element), "US", value)
        assert keyword.startswith("Overlay")
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds)
    np.testing.assert_array_equal(decoded(buffer.getvalue()).pixels, PIXELS)


@pytest.mark.parametrize("position", [None, [12, 13]])
def test_an_overlay_without_one_position_declares_no_bits(position):
    ds = pydicom.dcmread(io.BytesIO(dicom_bytes(PIXELS)))
    ds.add_new((0x6000, 0x0100), "US", 16)
    ds.add_new((0x6000, 0x0102), "US", position)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds)
    np.testing.assert_array_equal(decoded(buffer.getvalue()).pixels, PIXELS)


def test_a_lossy_stream_that_overshoots_is_clipped():
    bright = np.where(PIXELS > 2000, 1023, 100).astype(np.uint16)
    stream = codestream(bright, JPEG_EXTENDED, 12)
    content = dicom_bytes(bright, JPEG_EXTENDED, 10, stream=stream)
    found = decoded(content)
    assert found.flags == ("overshoot_clipped",) and found.pixels.max() == 1023
    far = codestream(PIXELS, JPEG_EXTENDED, 12)
    assert reason_of(dicom_bytes(PIXELS, JPEG_EXTENDED, 10, stream=far)) == (
        "values_exceed_bits_stored"
    )


def test_rows_that_the_htj2k_decoder_only_reports_are_refused():
    stream = bytearray(codestream(PIXELS, HTJ2K))
    refused = 0
    for number in range(40):
        rng = np.random.default_rng(number)
        place = int(rng.integers(len(stream) // 2, len(stream) - 20))
        damaged = bytes(stream[:place]) + rng.bytes(8) + bytes(stream[place + 8 :])
        try:
            decode(dicom_bytes(PIXELS, HTJ2K, stream=damaged))
        except FileFault as fault:
            refused += fault.detail.startswith("HTJ2K: ")
    assert refused >= 3  # the binding returns their rows blank


def test_superfluous_bytes_after_rle_segments_are_ignored():
    stream = codestream(PIXELS, RLE)
    content = dicom_bytes(PIXELS, RLE, stream=stream + b"\x03abcd")
    np.testing.assert_array_equal(decode(content), PIXELS)
    line_more = codestream(np.vstack([PIXELS, PIXELS[:1]]), RLE)
    assert reason_of(dicom_bytes(PIXELS, RLE, stream=line_more)) == "truncated_codestream"


def test_versions_name_every_decoder():
    assert all(any(c.isdigit() for c in text) for text in codecs.versions().values())


# ---- real files

CT = "data/dicom-samples/transfer-syntaxes/CTImage.dcm"


def ct(shared: Path, syntax: str) -> Path:
    return next((shared / CT).parent.glob(f"CTImage.dcm_*_{syntax}.dcm"))


CT_LOSSLESS = [s for s in LOSSLESS if s != HTJ2K] + [uid.JPEGLossless]


@pytest.mark.shared
@pytest.mark.parametrize("syntax", CT_LOSSLESS)
def test_one_ct_in_every_lossless_syntax_is_one_image(shared, syntax):
    reference = pydicom.dcmread(shared / CT).pixel_array
    np.testing.assert_array_equal(decode(ct(shared, syntax)), reference)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("syntax", "tolerance"),
    [(uid.JPEGLSNearLossless, 3), (uid.JPEG2000, 200)],
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


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["mg-jpeglossless-overlay", "mg-jpeglossless-voilut", "nema-mg1-j2k-lossy", "vlut_04"]
)
def test_real_mammograms_agree_with_a_second_decoder(shared, name):
    path = shared / f"data/dicom-samples/{name}.dcm"
    np.testing.assert_array_equal(decode(path), pydicom.dcmread(path).pixel_array)


@pytest.mark.slow
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
