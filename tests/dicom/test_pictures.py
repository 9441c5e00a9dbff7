import io

import numpy as np
import pytest
from PIL import Image

from mammo.dicom.pictures import read_picture
from mammo.errors import FileFault

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


def test_a_plain_pgm_of_text_is_read():
    read = read_picture(b"P2 3 2 255\n0 1 2 3 4 255\n", "PGM", 100)
    assert read.tolist() == [[0, 1, 2], [3, 4, 255]]


def test_a_grey_jpeg_stored_as_colour_is_read_as_grey():
    colour = Image.fromarray(np.full((16, 16, 3), 90, np.uint8))
    assert read_picture(encoded(colour, "JPEG"), "JPEG", 1000).shape == (16, 16)


def test_colour_palette_and_alpha_are_refused():
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[0, 0, 0] = 200
    assert reason_of(encoded(Image.fromarray(colour), "PNG"), "PNG") == "not_grey"
    assert reason_of(encoded(Image.fromarray(GREY).convert("P"), "PNG"), "PNG") == "not_grey"
    assert reason_of(encoded(Image.fromarray(GREY).convert("LA"), "PNG"), "PNG") == "not_grey"


def test_a_damaged_or_mislabelled_picture_raises():
    content = encoded(Image.fromarray(GREY), "PNG")
    assert reason_of(content[:-30], "PNG") == "unreadable_picture"
    assert reason_of(content, "PGM") == "unreadable_picture"
    jpeg = encoded(Image.fromarray(np.tile(GREY, (20, 20))), "JPEG")
    assert reason_of(jpeg[: len(jpeg) // 2], "JPEG", 10**6) == "unreadable_picture"


def test_a_picture_over_the_cap_raises():
    assert reason_of(encoded(Image.fromarray(GREY), "PNG"), "PNG", 47) == "dimensions_over_cap"
