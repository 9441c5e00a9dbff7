import numpy as np
import pytest
from PIL import Image

from mammo.dicom.picture_header import picture_kind, read_picture_header
from mammo.dicom.picture_pixels import read_picture
from mammo.errors import FileFault

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


@pytest.mark.parametrize("space", [b" ", b"\n", b"\r", b"\t"])
def test_a_pgm_is_known_by_any_space_behind_its_number(tmp_path, space):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5" + space + b"3 2 255\n" + bytes(6))
    assert picture_kind(path) == "PGM"
    header = read_picture_header(path, "PGM", 100)
    assert (header.rows, header.columns, header.bits_stored) == (2, 3, 8)


@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_may_have_offsets_of_64_bits(tmp_path, big):
    path = tmp_path / "a.tif"
    Image.fromarray(GREY).save(path, "TIFF", big_tiff=big)
    assert picture_kind(path) == "TIFF"
    header = read_picture_header(path, "TIFF", 100)
    assert (header.rows, header.columns) == (6, 8)
    assert np.array_equal(read_picture(path.read_bytes(), "TIFF", 100), GREY)


def test_a_bound_is_told_with_its_key(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path)
    for read in (
        lambda: read_picture_header(path, "PNG", 47),
        lambda: read_picture(path.read_bytes(), "PNG", 47),
    ):
        with pytest.raises(FileFault, match=r"at most 47 \(dicom.max_pixels\)"):
            read()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_sides_of_a_jpeg_are_those_that_it_is_shown_with(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    Image.fromarray(GREY).save(path, exif=exif)
    header = read_picture_header(path, "JPEG", 100)
    assert (header.rows, header.columns) == ((6, 8) if orientation < 5 else (8, 6))


def test_a_jpeg_without_its_end_marker_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(GREY).save(path)
    whole = path.read_bytes()
    assert read_picture_header(path, "JPEG", 100).flags == ()
    path.write_bytes(whole + b"left over")
    assert read_picture_header(path, "JPEG", 100).flags == ("bytes_after_codestream",)
    path.write_bytes(whole[:-2])
    with pytest.raises(FileFault, match="truncated_codestream"):
        read_picture_header(path, "JPEG", 100)
