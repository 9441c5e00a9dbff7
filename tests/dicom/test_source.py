import hashlib
import zlib

import numpy as np
import pytest
from pydicom.dataset import Dataset

from mammo.dicom.params import Limits
from mammo.dicom.source import check_stream, pixel_data_sha256, read_header, read_source
from mammo.errors import FileFault
from support.dicom_files import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_2000,
    JPEG_LOSSLESS,
    LOSSLESS,
    RLE,
    breast_pixels,
    dicom_bytes,
)

LIMITS = Limits(max_pixels=10_000, max_inflated_mb=1)
WIDE = Limits(max_pixels=64_000_000, max_inflated_mb=64)
PIXELS = breast_pixels()


def reason_of(content: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(FileFault) as caught:
        read_source(content, limits)
    return caught.value.reason


def code(value: str, scheme: str = "SCT", meaning: str = "") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def lut(descriptor: list[int], entries: list[int], order: str = "<") -> Dataset:
    item = Dataset()
    item.LUTDescriptor = descriptor
    item.LUTData = np.array(entries, f"{order}u2").tobytes()
    return item


def test_header_facts_are_read_whatever_the_encoding():
    for syntax in LOSSLESS:
        header = read_header(dicom_bytes(PIXELS, syntax), LIMITS)
        assert (header.patient_id, header.accession_number) == ("P1", "0042")
        assert (header.image_laterality, header.view_position) == ("L", "CC")
        assert (header.rows, header.columns, header.bits_stored) == (96, 64, 12)
        assert header.image_type == ("ORIGINAL", "PRIMARY")
        assert header.transfer_syntax_uid == syntax
        assert header.has_pixel_data


def test_header_of_a_file_on_disk(tmp_path):
    path = tmp_path / "image.dcm"
    path.write_bytes(dicom_bytes(PIXELS))
    assert read_header(path, LIMITS) == read_header(path.read_bytes(), LIMITS)


@pytest.mark.parametrize(
    ("value", "view"),
    [("R-10242", "CC"), ("399162004", "CC"), ("R-10226", "MLO"), ("399368009", "MLO"), ("x", "")],
)
def test_view_comes_from_its_code_where_the_position_is_absent(value, view):
    content = dicom_bytes(PIXELS, ViewPosition=None, ViewCodeSequence=[code(value)])
    assert read_header(content, LIMITS).view_position == view


def test_laterality_stands_in_for_image_laterality():
    content = dicom_bytes(PIXELS, ImageLaterality=None, Laterality="R")
    assert read_header(content, LIMITS).image_laterality == "R"


def test_implant_displaced_is_a_view_modifier():
    view = code("R-10242", "SRT")
    view.ViewModifierCodeSequence = [code("R-102D5", "SNM3", "Implant Displaced")]
    header = read_header(dicom_bytes(PIXELS, ViewCodeSequence=[view]), LIMITS)
    assert header.implant_displaced
    assert header.view_modifiers == (("SNM3", "R-102D5", "Implant Displaced"),)


def test_every_encoding_gives_the_same_frame_hash_only_if_stored_alike():
    hashes = {s: pixel_data_sha256(dicom_bytes(PIXELS, s), LIMITS) for s in (EXPLICIT, IMPLICIT)}
    assert set(hashes.values()) == {hashlib.sha256(PIXELS.tobytes()).hexdigest()}


def test_no_preamble_raises():
    assert reason_of(b"BM" + b"\0" * 300) == "not_dicom"
    assert reason_of(b"") == "not_dicom"


def test_executable_preamble_changes_nothing():
    content = b"MZ\x90\0" + dicom_bytes(PIXELS)[4:]
    assert read_source(content, LIMITS).frame == PIXELS.tobytes()


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Rows": 95}, "pixel_length"),
        ({"Columns": 65}, "pixel_length"),
        ({"Rows": None}, "missing_tag"),
        ({"Rows": 0}, "dimensions_over_cap"),
        ({"Rows": 60_000, "Columns": 60_000}, "dimensions_over_cap"),
        ({"BitsAllocated": 32}, "bits_contradictory"),
        ({"BitsAllocated": 8}, "bits_contradictory"),
        ({"BitsStored": 17}, "bits_contradictory"),
        ({"HighBit": 15}, "bits_contradictory"),
        ({"PixelRepresentation": 1}, "pixel_representation"),
        ({"PixelRepresentation": None}, "missing_tag"),
        ({"SamplesPerPixel": 3}, "not_monochrome"),
        ({"PhotometricInterpretation": "RGB"}, "not_monochrome"),
        ({"NumberOfFrames": 2}, "multi_frame"),
        ({"RescaleSlope": 0}, "rescale_invalid"),
        ({"WindowCenter": [1, 2], "WindowWidth": 5}, "window_invalid"),
    ],
)
def test_contradictory_header_raises(tags, reason):
    assert reason_of(dicom_bytes(PIXELS, **tags)) == reason


def test_absent_pixel_data_raises():
    content = dicom_bytes(PIXELS)
    cut = content[: content.rindex(b"\xe0\x7f\x10\0OW")]
    assert reason_of(cut) == "no_pixel_data"
    header = read_header(cut, LIMITS)
    assert not header.has_pixel_data
    with pytest.raises(FileFault, match="no_pixel_data"):
        check_stream(cut, header, LIMITS)


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s != DEFLATED])
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.999])
def test_a_cut_file_raises(syntax, kept):
    content = dicom_bytes(PIXELS, syntax)
    start = content.rindex(b"\x7f\xe0\0\x10" if syntax == BIG_ENDIAN else b"\xe0\x7f\x10\0")
    cut = content[: start + 20 + int((len(content) - start - 20) * kept)]
    assert reason_of(cut) in {"truncated_pixels", "truncated_codestream", "encapsulation"}


def test_a_cut_deflated_file_raises():
    assert reason_of(dicom_bytes(PIXELS, DEFLATED)[:-200]) == "deflate_broken"


def test_a_deflate_bomb_is_not_inflated():
    content = dicom_bytes(PIXELS, DEFLATED)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(bytes(64 * 2**20)) + packer.flush()
    start = content.index(b"1.2.840.10008.1.2.1.99")
    meta_end = content.index(b"\x02\0\x12\0", start)
    meta_end = content.index(b"\x02\0\x13\0", meta_end)
    meta_end += 8 + int.from_bytes(content[meta_end + 6 : meta_end + 8], "little")
    assert reason_of(content[:meta_end] + bomb) == "deflate_over_bound"


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.55", "JPEG Full Progression"),
        ("1.2.840.10008.1.2.4.53", "JPEG Spectral Selection"),
        ("1.2.840.10008.1.2.4.100", "not known here"),
    ],
)
def test_an_unsupported_transfer_syntax_is_named(syntax, name):
    content = dicom_bytes(PIXELS, JPEG_LOSSLESS).replace(JPEG_LOSSLESS.encode(), syntax.encode())
    if len(syntax) != len(JPEG_LOSSLESS):
        content = dicom_bytes(PIXELS, syntax, stream=b"\0" * 64)
    with pytest.raises(FileFault) as caught:
        read_source(content, LIMITS)
    assert caught.value.reason == "unsupported_transfer_syntax"
    assert syntax in caught.value.detail and name in caught.value.detail


@pytest.mark.parametrize(("rows", "columns"), [(48, 128), (64, 96), (95, 64)])
@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS, JPEG_2000])
def test_a_codestream_of_another_size_raises(syntax, rows, columns):
    content = dicom_bytes(PIXELS, syntax, Rows=rows, Columns=columns)
    assert reason_of(content) == "codestream_contradicts_header"


def test_a_codestream_of_another_depth_raises():
    content = dicom_bytes(PIXELS, JPEG_2000, BitsStored=11, HighBit=10)
    assert reason_of(content) == "codestream_contradicts_header"


def test_a_codestream_of_another_syntax_raises():
    for labelled, stored in ((JPEG_2000, JPEG_LOSSLESS), (JPEG_LOSSLESS, JPEG_2000)):
        content = dicom_bytes(PIXELS, stored).replace(stored.encode(), labelled.encode())
        assert reason_of(content) == "codestream_header"


def test_native_pixels_under_an_encapsulated_syntax_raise():
    content = dicom_bytes(PIXELS, EXPLICIT)
    relabelled = dicom_bytes(PIXELS, RLE, stream=PIXELS.tobytes())
    assert reason_of(relabelled) == "codestream_header"
    assert read_source(content, LIMITS).stream is None


def test_grey_scale_attributes_are_read():
    table = lut([4, 100, 12], [0, 1000, 2000, 4095])
    content = dicom_bytes(
        PIXELS,
        RescaleSlope=2,
        RescaleIntercept=-5,
        WindowCenter=[10, 20],
        WindowWidth=[30, 40],
        VOILUTFunction="SIGMOID",
        PixelPaddingValue=3,
        PixelPaddingRangeLimit=1,
        VOILUTSequence=[table, table],
        PhotometricInterpretation="MONOCHROME1",
    )
    grey = read_source(content, LIMITS).grey
    assert (grey.slope, grey.intercept, grey.inverted) == (2, -5, True)
    assert [(w.center, w.width) for w in grey.windows] == [(10, 30), (20, 40)]
    assert grey.function == "SIGMOID"
    assert grey.padding == (1, 3)
    assert len(grey.voi_luts) == 2
    assert (grey.voi_luts[0].first, grey.voi_luts[0].bits) == (100, 12)
    assert grey.voi_luts[0].entries.tolist() == [0, 1000, 2000, 4095]


@pytest.mark.parametrize("descriptor", [[5, 0, 12], [4, 0, 11], [4, 0, 17]])
def test_a_lut_against_its_descriptor_raises(descriptor):
    table = lut(descriptor, [0, 1000, 2000, 4095])
    assert reason_of(dicom_bytes(PIXELS, VOILUTSequence=[table])) == "lut_contradictory"


def test_a_lut_in_a_big_endian_file_is_swapped():
    table = lut([4, 0, 12], [0, 1000, 2000, 4095], order=">")
    grey = read_source(dicom_bytes(PIXELS, BIG_ENDIAN, VOILUTSequence=[table]), LIMITS).grey
    assert grey.voi_luts[0].entries.tolist() == [0, 1000, 2000, 4095]


def test_padding_stored_as_signed_in_an_unsigned_image_raises():
    content = dicom_bytes(PIXELS, PixelPaddingValue=0).replace(b"\x28\0\x20\1US", b"\x28\0\x20\1SS")
    assert reason_of(content) == "pixel_representation"


@pytest.mark.shared
def test_the_real_files_of_several_voi_luts(shared):
    path = shared / "data/dicom-samples/mg-jpeglossless-voilut.dcm"
    source = read_source(path, WIDE)
    assert len(source.grey.voi_luts) == 3
    assert [w.width for w in source.grey.windows] == [900, 750, 1050]
    assert source.grey.function == "SIGMOID"
    assert source.grey.padding == (0, 30)
    assert source.header.pixel_intensity_relationship == "LOG"


@pytest.mark.shared
def test_the_truncated_real_file_raises(shared):
    path = shared / "data/dicom-samples/dx-monochrome1-j2k.dcm"
    assert read_header(path, WIDE).photometric_interpretation == "MONOCHROME1"
    assert reason_of(path.read_bytes(), WIDE) == "truncated_codestream"


@pytest.mark.shared
def test_the_real_object_without_pixels_raises(shared):
    path = shared / "data/dicom-samples/transfer-syntaxes/no-pixel-data.dcm"
    assert reason_of(path.read_bytes(), WIDE) == "no_pixel_data"


def test_frames_split_over_fragments_are_joined():
    stream = np.frombuffer(read_source(dicom_bytes(PIXELS, JPEG_2000), LIMITS).frame, np.uint8)
    whole = dicom_bytes(PIXELS, JPEG_2000, stream=stream.tobytes())
    start = whole.rindex(b"\xfe\xff\x00\xe0", 0, whole.index(b"\xff\x4f\xff\x51"))
    half = 1000
    items = b"".join(
        b"\xfe\xff\x00\xe0" + len(part).to_bytes(4, "little") + part
        for part in (stream[:half].tobytes(), stream[half:].tobytes() + b"\0" * (len(stream) % 2))
    )
    split = whole[:start] + items + b"\xfe\xff\xdd\xe0\0\0\0\0"
    assert read_source(split, LIMITS).frame == stream.tobytes()


def test_a_damaged_pixel_representation_raises():
    tag = b"\x28\x00\x03\x01"  # (0028,0103), then its value representation
    content = dicom_bytes(PIXELS)
    assert content.count(tag + b"US") == 1
    damaged = content.replace(tag + b"US", tag + b"FD")
    with pytest.raises(FileFault) as caught:
        read_header(damaged, LIMITS)
    assert caught.value.reason == "unreadable_dicom"
