import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from mammo.dicom.picture_pixels import read_picture
from mammo.errors import FileFault
from support.dicom_files import breast_pixels

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PPM" if kind == "PGM" else kind, **options)
    return buffer.getvalue()


def reason_of(content: bytes, kind: str, max_pixels: int = 100) -> str:
    with pytest.raises(FileFault) as caught:
        read_picture(content, kind, max_pixels)
    return caught.value.reason


@pytest.mark.parametrize("kind", ["PNG", "PGM"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless_grey_pictures_return_the_very_pixels(kind, dtype):
    pixels = GREY.astype(dtype) * (257 if dtype == np.uint16 else 1)
    read = read_picture(encoded(Image.fromarray(pixels), kind), kind, 100)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize("kind", ["PNG", "PGM", "TIFF"])
def test_sixteen_bits_in_the_other_byte_order_are_refused(kind):
    pixels = breast_pixels(bits=16)
    assert np.array_equal(read_picture(encoded(Image.fromarray(pixels), kind), kind, 10**4), pixels)
    swapped = encoded(Image.fromarray(pixels.byteswap()), kind)
    assert reason_of(swapped, kind, 10**4) == "byte_order_suspect"


def test_a_plain_pgm_of_text_is_read():
    read = read_picture(b"P2 3 2 255\n0 1 2 3 4 255\n", "PGM", 100)
    assert read.tolist() == [[0, 1, 2], [3, 4, 255]]


def test_a_grey_jpeg_stored_as_colour_is_read_as_grey():
    colour = Image.fromarray(np.full((16, 16, 3), 90, np.uint8))
    assert read_picture(encoded(colour, "JPEG"), "JPEG", 1000).shape == (16, 16)


def test_colour_and_transparency_are_refused():
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[0, 0, 0] = 200
    assert reason_of(encoded(Image.fromarray(colour), "PNG"), "PNG") == "not_grey"
    assert reason_of(encoded(Image.fromarray(colour).convert("P"), "PNG"), "PNG") == "not_grey"
    for mode in ("LA", "RGBA"):
        seen_through = Image.fromarray(GREY).convert(mode)
        seen_through.putalpha(Image.fromarray(np.where(GREY.max() == GREY, 0, 255).astype("u1")))
        assert reason_of(encoded(seen_through, "PNG"), "PNG") == "not_grey"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_is_read_whatever_the_picture_calls_it(mode):
    picture = Image.fromarray(GREY).convert(mode)
    assert np.array_equal(read_picture(encoded(picture, "PNG"), "PNG", 1000), GREY)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_colour_of_sixteen_bits_keeps_them_all(extension, channels):
    grey = (GREY.astype(np.uint16) * 257) ^ 3
    colour = np.repeat(grey[..., None], channels, axis=2)
    colour[..., 3:] = 65535
    kind = {".png": "PNG", ".tiff": "TIFF"}[extension]
    content = cv2.imencode(extension, colour)[1].tobytes()
    assert np.array_equal(read_picture(content, kind, 1000), grey)
    colour[0, 0, 0] ^= 1  # a difference that 8 bits would hide
    assert reason_of(cv2.imencode(extension, colour)[1].tobytes(), kind) == "not_grey"


@pytest.mark.parametrize(("bits", "depth"), [(8, np.uint8), (16, np.uint16)])
@pytest.mark.parametrize("white", [0, 1])
def test_a_tiff_whose_zero_is_white_is_inverted(tmp_path, bits, depth, white):
    grey = GREY.astype(depth) * (257 if bits == 16 else 1)
    stored = 2**bits - 1 - grey if white == 0 else grey
    path = tmp_path / "a.tiff"
    Image.fromarray(stored).save(path, tiffinfo={262: 1})
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack("<HHI", 262, 3, 1)) + 8
    content[at] = white
    assert np.array_equal(read_picture(bytes(content), "TIFF", 1000), grey)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_picture_stands_the_way_up_that_its_file_says(tmp_path, kind, orientation):
    grey = np.kron(np.array([[0, 60, 120], [255, 200, 160]], np.uint8), np.ones((16, 16), "u1"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind.lower()}"
    Image.fromarray(grey).save(path, kind, exif=exif)
    upright = Image.fromarray(grey)
    upright.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(upright))
    found = read_picture(path.read_bytes(), kind, 10**6)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("damage", ["half", "hole"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_whose_scan_is_damaged_is_refused(damage, mode, progressive):
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 255, (200, 160), np.uint8)).convert(mode)
    whole = encoded(picture, "JPEG", progressive=progressive)
    assert read_picture(whole, "JPEG", 10**6).shape == (200, 160)
    half = len(whole) // 2
    broken = {
        "half": whole[:half] + b"\xff\xd9",
        "hole": whole[:half] + bytes(4096) + whole[half + 4096 :],
    }[damage]
    assert reason_of(broken, "JPEG", 10**6) in ("scan_length", "codestream_header")


@pytest.mark.parametrize(
    "compression", ["jpeg", "tiff_adobe_deflate", "tiff_deflate", "tiff_lzw", "packbits"]
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_tiff_with_a_hole_is_refused(compression, mode):
    picture = Image.fromarray(breast_pixels(rows=512, columns=384, bits=8)).convert(mode)
    whole = encoded(picture, "TIFF", compression=compression)
    assert read_picture(whole, "TIFF", 10**6).shape == (512, 384)
    for part in range(2, 8):
        start = len(whole) * part // 9
        broken = whole[:start] + bytes(400) + whole[start + 400 :]
        with pytest.raises(FileFault):
            read_picture(broken, "TIFF", 10**6)


def test_a_tiff_may_leave_out_how_long_its_strip_is():
    whole = encoded(Image.fromarray(GREY), "TIFF")
    counts = struct.pack("<HH", 279, 4)
    assert counts in whole
    silent = whole.replace(counts, struct.pack("<HH", 65000, 4))
    assert np.array_equal(read_picture(silent, "TIFF", 100), GREY)


def test_a_damaged_or_mislabelled_picture_raises():
    content = encoded(Image.fromarray(GREY), "PNG")
    assert reason_of(content[:-30], "PNG") == "unreadable_picture"
    assert reason_of(content, "PGM") == "unreadable_picture"
    jpeg = encoded(Image.fromarray(np.tile(GREY, (20, 20))), "JPEG")
    assert reason_of(jpeg[: len(jpeg) // 2], "JPEG", 10**6) == "truncated_codestream"


def test_a_picture_over_the_cap_raises():
    assert reason_of(encoded(Image.fromarray(GREY), "PNG"), "PNG", 47) == "dimensions_over_cap"
