import io
import struct
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, CTImageStorage

from mammo.dicom.greyscale import Window
from mammo.dicom.params import Limits
from mammo.dicom.source import read_header, read_source
from mammo.errors import FileFault
from support.dicom_files import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    HTJ2K,
    IMPLICIT,
    JPEG_2000,
    JPEG_LOSSLESS,
    JPEG_LS,
    LOSSLESS,
    RLE,
    breast_pixels,
    codestream,
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
    assert header.view_modifiers == (("SNM3", "R-102D5", "Implant Displaced"),)


def test_native_encodings_hold_the_same_frame():
    for syntax in (EXPLICIT, IMPLICIT, DEFLATED):
        assert read_source(dicom_bytes(PIXELS, syntax), LIMITS).frame == PIXELS.tobytes()


@pytest.mark.parametrize("bits", [8, 12])
def test_pixels_of_an_unknown_value_representation_are_the_same(bits):
    # PS3.5 6.2.2: whoever passes an element on without knowing it may write UN
    content = dicom_bytes(breast_pixels(rows=200, columns=150, bits=bits), bits=bits)
    at = content.rindex(b"\xe0\x7f\x10\0O") + 4
    unknown = content[:at] + b"UN" + content[at + 2 :]
    assert read_source(unknown, WIDE).frame == read_source(content, WIDE).frame


def test_an_absent_high_bit_is_the_one_that_the_standard_fixes():
    source = read_source(dicom_bytes(PIXELS, HighBit=None), LIMITS)
    assert source.frame == PIXELS.tobytes()


def test_code_strings_in_lower_case_are_read():
    content = dicom_bytes(
        PIXELS, PhotometricInterpretation="monochrome1", VOILUTFunction="sigmoid",
        WindowCenter=10, WindowWidth=5,
    )  # fmt: skip
    grey = read_source(content, LIMITS).grey
    assert grey.inverted and grey.function == "SIGMOID"


@pytest.mark.parametrize(("slope", "first"), [(-1, -4095), (1, 61441)])
def test_the_first_value_of_a_lut_has_the_sign_of_what_comes_out_of_the_rescale(slope, first):
    table = lut([4, 61441, 12], [0, 1000, 2000, 4095])  # 61441 is -4095 as a signed value
    content = dicom_bytes(PIXELS, RescaleSlope=slope, RescaleIntercept=0, VOILUTSequence=[table])
    assert read_source(content, LIMITS).grey.voi_luts[0].first == first


def test_no_preamble_raises():
    assert reason_of(b"BM" + b"\0" * 300) == "not_dicom"
    with pytest.raises(FileFault, match="not_dicom: the file is empty"):
        read_source(b"", LIMITS)


@pytest.mark.parametrize(
    ("start", "form"),
    [
        (b"GIF89a", "a GIF picture"),
        (b"RIFF\x24\0\0\0WAVE", "a RIFF file, as WebP pictures are"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PK\3\4", "a ZIP archive"),
        (b"\0\0\0\x0cjP  \r\n", "a JPEG 2000 picture"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"P6\n96 128\n255\n", "a PPM picture"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS.*git lfs pull"),
        (b"", "zeros alone"),
    ],
)
def test_what_is_no_dicom_is_named_where_its_first_bytes_tell(start, form):
    with pytest.raises(FileFault, match=f"not_dicom.*{form}.*are read"):
        read_source(start + bytes(300), LIMITS)


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
        ({"PixelRepresentation": 2}, "pixel_representation"),
        ({"PixelRepresentation": None}, "missing_tag"),
        ({"SamplesPerPixel": 3}, "not_monochrome"),
        ({"PhotometricInterpretation": "RGB"}, "not_monochrome"),
        ({"NumberOfFrames": 2}, "pixel_length"),
        ({"NumberOfFrames": -1}, "multi_frame"),
        ({"RescaleSlope": 0}, "rescale_invalid"),
    ],
)
def test_contradictory_header_raises(tags, reason):
    assert reason_of(dicom_bytes(PIXELS, **tags)) == reason


@pytest.mark.parametrize(
    ("tags", "flags"),
    [
        ({"PixelAspectRatio": ["1", "1"], "PixelSpacing": ["0.07", "0.07"]}, ()),
        ({"ImagerPixelSpacing": ["0.0941", "0.0943"]}, ()),
        ({"ImagerPixelSpacing": ["0.05"]}, ()),
        ({"PixelAspectRatio": ["2", "1"]}, ("oblong_pixels",)),
        ({"ImagerPixelSpacing": ["0.05", "0.1"]}, ("oblong_pixels",)),
    ],
)
def test_pixels_that_are_not_square_are_flagged(tags, flags):
    assert read_source(dicom_bytes(PIXELS, **tags), LIMITS).flags == flags


def test_a_bound_is_told_with_its_key():
    few = Limits(max_pixels=100, max_inflated_mb=64)
    with pytest.raises(FileFault, match=r"must be 1 to 100 pixels \(dicom.max_pixels\)"):
        read_source(dicom_bytes(PIXELS), few)


def test_absent_pixel_data_raises():
    content = dicom_bytes(PIXELS)
    cut = content[: content.rindex(b"\xe0\x7f\x10\0OW")]
    assert reason_of(cut) == "no_pixel_data"
    assert not read_header(cut, LIMITS).has_pixel_data


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
    start = content.index(DEFLATED.encode())
    meta_end = content.index(b"\x02\0\x12\0", start)
    meta_end = content.index(b"\x02\0\x13\0", meta_end)
    meta_end += 8 + int.from_bytes(content[meta_end + 6 : meta_end + 8], "little")
    assert reason_of(content[:meta_end] + bomb) == "deflate_over_bound"


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        # These two are retired: pydicom has no constants for them.
        ("1.2.840.10008.1.2.4.55", "JPEG Full Progression"),
        ("1.2.840.10008.1.2.4.53", "JPEG Spectral Selection"),
        (MPEG2MPML, "MPEG2 Main Profile"),
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
def test_a_lut_against_its_descriptor_counts_where_it_is_used(descriptor):
    table = lut(descriptor, [0, 1000, 2000, 4095])
    sound = lut([4, 0, 12], [0, 1000, 2000, 4095])
    content = dicom_bytes(PIXELS, VOILUTSequence=[table, sound])
    bad, good = read_source(content, LIMITS).grey.voi_luts
    assert isinstance(bad, FileFault) and bad.reason == "lut_contradictory"
    assert not isinstance(good, FileFault)
    assert reason_of(dicom_bytes(PIXELS, ModalityLUTSequence=[table])) == "lut_contradictory"


@pytest.mark.parametrize("tags", [{"WindowCenter": [1, 2], "WindowWidth": 5}, {"WindowCenter": 7}])
def test_a_broken_window_rejects_no_file(tags):
    (window,) = read_source(dicom_bytes(PIXELS, **tags), LIMITS).grey.windows
    assert isinstance(window, FileFault) and window.reason == "window_invalid"


@pytest.mark.parametrize(
    ("centers", "widths", "windows"),
    [
        (["2048", ""], ["4096", ""], 1),
        (["2048", ""], "4096", 1),
        (["2048", "", "3"], ["4096", "7", "4"], 3),
    ],
)
def test_a_blank_window_beside_a_sound_one_breaks_none_but_itself(centers, widths, windows):
    content = dicom_bytes(PIXELS, WindowCenter=centers, WindowWidth=widths)
    found = read_source(content, LIMITS).grey.windows
    assert found[0] == Window(2048, 4096) and len(found) == windows
    assert [w.reason for w in found if isinstance(w, FileFault)] == ["window_invalid"] * (
        windows == 3
    )


def test_a_lut_in_a_big_endian_file_is_swapped():
    table = lut([4, 0, 12], [0, 1000, 2000, 4095], order=">")
    grey = read_source(dicom_bytes(PIXELS, BIG_ENDIAN, VOILUTSequence=[table]), LIMITS).grey
    assert grey.voi_luts[0].entries.tolist() == [0, 1000, 2000, 4095]


def other_sign(content: bytes) -> bytes:
    return content.replace(b"\x28\0\x20\1US", b"\x28\0\x20\1SS")


def test_padding_of_the_other_sign_is_read_where_it_means_the_same():
    source = read_source(other_sign(dicom_bytes(PIXELS, PixelPaddingValue=5)), LIMITS)
    assert source.flags == ("value_representation",)
    assert source.grey.padding == (5, 5)


def test_padding_of_the_other_sign_raises_where_it_means_another_value():
    # 0xF830 is 63536 or -2000; a class that knows unsigned pixels alone says which
    negative = {"PixelPaddingValue": 63536}
    content = other_sign(dicom_bytes(PIXELS, SOPClassUID=CTImageStorage, **negative))
    assert reason_of(content) == "pixel_representation"
    assert read_source(other_sign(dicom_bytes(PIXELS, **negative)), LIMITS).flags


# ---- contradictions that leave the pixels unambiguous

DELIMITER = bytes.fromhex("feffdde000000000")
STREAMS = {s: codestream(PIXELS, s) for s in (JPEG_LOSSLESS, JPEG_LS, JPEG_2000, HTJ2K)}


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize(
    ("behind", "flags"),
    [
        (b"", ()),
        (b"\0", ()),
        (b"\xff", ()),
        (b" ", ()),
        (b"\0\0\0\0", ()),
        (b"\x07", ("bytes_after_codestream",)),
        (b"\r\nend of file", ("bytes_after_codestream",)),
        (b"\xff\xd9", ("bytes_after_codestream",)),
    ],
)
def test_bytes_after_the_end_marker_touch_no_pixel(syntax, behind, flags):
    content = dicom_bytes(PIXELS, syntax, stream=STREAMS[syntax] + behind)
    source = read_source(content, LIMITS)
    # the writer may add a byte of its own
    assert source.frame == STREAMS[syntax] and set(source.flags) == set(flags)


@pytest.mark.parametrize("syntax", STREAMS)
def test_a_second_codestream_in_one_frame_raises(syntax):
    content = dicom_bytes(PIXELS, syntax, stream=2 * STREAMS[syntax])
    assert reason_of(content) == "codestream_header"


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize("end", [b"", bytes(8), bytes(64)])
def test_a_whole_stream_needs_no_sequence_delimiter(syntax, end):
    content = dicom_bytes(PIXELS, syntax)
    assert content.endswith(DELIMITER)
    source = read_source(content[:-8] + end, LIMITS)
    assert source.flags == ("no_sequence_delimiter",)
    assert source.frame == STREAMS[syntax]
    assert reason_of(content[:-8][:-40]) == "truncated_pixels"
    assert reason_of(content[:-3]) == "truncated_pixels"


def test_items_in_a_value_of_defined_length_are_read():
    content = dicom_bytes(PIXELS, JPEG_LOSSLESS)
    start = content.rindex(b"\xe0\x7f\x10\0OB") + 8
    length = len(content) - start - 4 - len(DELIMITER)
    defined = content[:start] + length.to_bytes(4, "little") + content[start + 4 : -8]
    source = read_source(defined, LIMITS)
    assert source.flags == ("defined_length",) and source.frame == STREAMS[JPEG_LOSSLESS]


def test_an_offset_table_that_lies_about_one_fragment_is_ignored():
    content = dicom_bytes(PIXELS, JPEG_LOSSLESS)
    tag = b"\xfe\xff\x00\xe0"
    start = content.index(tag)
    (length,) = struct.unpack_from("<L", content, start + 4)
    rest = content[start + 8 + length :]
    lying = content[:start] + tag + struct.pack("<LL", 4, 99) + rest
    assert read_source(lying, LIMITS).flags == ("offset_table",)
    none = content[:start] + rest
    source = read_source(none, LIMITS)
    assert source.flags == ("offset_table",) and source.frame == STREAMS[JPEG_LOSSLESS]


def test_a_codestream_in_jp2_boxes_is_found():
    boxes = codestream(PIXELS, JPEG_2000, codecformat="jp2")
    source = read_source(dicom_bytes(PIXELS, JPEG_2000, stream=boxes), LIMITS)
    assert source.flags == ("jp2_boxes",)
    assert source.frame[:4] == b"\xff\x4f\xff\x51" and source.frame[-2:] == b"\xff\xd9"
    cut = dicom_bytes(PIXELS, JPEG_2000, stream=boxes[:-40])
    assert reason_of(cut) == "truncated_codestream"


@pytest.mark.parametrize("coded", [10, 11])
def test_a_coded_precision_below_bits_stored_fits(coded):
    pixels = breast_pixels(bits=coded).astype(np.uint16)
    content = dicom_bytes(pixels, JPEG_2000, stream=codestream(pixels, JPEG_2000, coded))
    assert read_source(content, LIMITS).flags == ("coded_precision",)


@pytest.mark.parametrize("behind", [b"\0" * 2, b"\0" * 90, b"junk" * 3])
def test_trailing_padding_of_native_pixels_is_accepted(behind):
    source = read_source(dicom_bytes(PIXELS, stream=PIXELS.tobytes() + behind), LIMITS)
    assert source.frame == PIXELS.tobytes() and source.flags == ("excess_padding",)


def test_what_wrong_rows_or_columns_leave_over_is_no_padding():
    # 96 x 64: of 95 rows 64 pixels are left, of 63 columns 96, of 62 columns 192
    for tags in ({"Rows": 95}, {"Columns": 63}, {"Columns": 62}, {"Rows": 48}):
        assert reason_of(dicom_bytes(PIXELS, **tags)) == "pixel_length"
    noise = np.random.default_rng(0).integers(0, 4096, (16, 9)).astype(np.uint16)
    assert reason_of(dicom_bytes(noise, Columns=8)) == "pixel_length"


def test_zero_frames_with_one_frame_of_pixels_is_one():
    source = read_source(dicom_bytes(PIXELS, NumberOfFrames=0), LIMITS)
    assert source.flags == ("number_of_frames",) and source.header.number_of_frames == 1


def test_of_several_frames_the_first_is_taken():
    other = breast_pixels(seed=1)
    content = dicom_bytes(PIXELS, NumberOfFrames=2, stream=PIXELS.tobytes() + other.tobytes())
    assert read_source(content, LIMITS).frame == PIXELS.tobytes()
    ds = pydicom.dcmread(io.BytesIO(dicom_bytes(PIXELS, JPEG_LOSSLESS, NumberOfFrames=2)))
    for has_table in (True, False):
        frames = [STREAMS[JPEG_LOSSLESS], codestream(other, JPEG_LOSSLESS)]
        ds.PixelData = encapsulate(frames, has_bot=has_table)
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, ds)
        assert read_source(buffer.getvalue(), LIMITS).frame.rstrip(b"\0") == frames[0]


def test_two_frames_that_are_one_raise():
    assert reason_of(dicom_bytes(PIXELS, JPEG_LOSSLESS, NumberOfFrames=2)) == "encapsulation"


# ---- bare data sets


def bare(syntax: str) -> bytes:
    buffer = io.BytesIO()
    ds = pydicom.Dataset(pydicom.dcmread(io.BytesIO(dicom_bytes(PIXELS, syntax))))
    pydicom.dcmwrite(buffer, ds, implicit_vr=syntax == IMPLICIT, little_endian=True)
    return buffer.getvalue()


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_a_data_set_without_meta_header_is_read_to_its_end(syntax):
    source = read_source(bare(syntax), LIMITS)
    assert source.frame == PIXELS.tobytes()
    assert source.header.transfer_syntax_uid == syntax
    assert source.flags == ("no_meta_header", "no_preamble")
    assert reason_of(bare(syntax)[:-200]) == "truncated_pixels"
    with pytest.raises(FileFault):
        read_source(bare(syntax) + b"\x10\x00trailing bytes", LIMITS)


def test_a_file_without_preamble_is_read():
    for syntax in (EXPLICIT, JPEG_LOSSLESS):
        source = read_source(dicom_bytes(PIXELS, syntax)[132:], LIMITS)
        assert source.flags == ("no_preamble",)
        assert source.header.transfer_syntax_uid == syntax


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, JPEG_LOSSLESS])
def test_a_missing_transfer_syntax_is_guessed_for_native_pixels_alone(syntax):
    content = dicom_bytes(PIXELS, syntax)
    at = content.index(b"\x02\x00\x10\x00UI")
    size = 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    length = int.from_bytes(content[140:144], "little") - size
    without = content[:140] + length.to_bytes(4, "little") + content[144:at] + content[at + size :]
    if syntax == JPEG_LOSSLESS:
        assert reason_of(without) == "unknown_transfer_syntax"
    else:
        source = read_source(without, LIMITS)
        assert source.flags == ("no_transfer_syntax",) and source.frame == PIXELS.tobytes()


def test_text_and_other_data_sets_are_no_dicom():
    assert reason_of(b"patient,side\nOK0,L\n" * 400) == "not_dicom"
    assert reason_of(b"\x08\0\x60\0CS\x02\0MG" * 30) in ("not_dicom", "unreadable_dicom")


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
