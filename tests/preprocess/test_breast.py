import cv2
import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo.errors import FileFault
from mammo.preprocess.breast import find_breast
from support.films import TABLE, ellipse


@pytest.mark.parametrize("bits", [8, 12, 14, 16])
@pytest.mark.parametrize(
    ("how", "level"),
    [("even", 0), ("near", 1), ("near", 2), ("near", 3), ("noise", 1), ("noise", 2), ("noise", 3)],
)
def test_a_ground_that_wavers_by_a_few_values_is_no_breast(bits, how, level):
    """A sharp breast on an even ground, and what a near-lossless codec or noise makes of it."""
    y, x = np.mgrid[0:131, 0:97]
    inside = ((y - 65) / 55) ** 2 + (x / 68) ** 2 < 1
    texture = np.random.default_rng(bits).normal(0.5, 0.1, inside.shape).clip(0.2, 0.95)
    even = np.rint(np.where(inside, texture, 0.005) * (2**bits - 1))
    pixels = even.astype(np.uint8 if bits == 8 else np.uint16)
    if how == "near":
        pixels = imagecodecs.jpegls_decode(imagecodecs.jpegls_encode(pixels, level=level))
    elif how == "noise":
        waver = np.random.default_rng(0).integers(-level, level + 1, pixels.shape)
        pixels = (pixels.astype(int) + waver).clip(0, 2**bits - 1).astype(pixels.dtype)
    found = find_breast(pixels, np.arange(2**bits, dtype=np.float32) / (2**bits - 1), 0)
    assert (found.left, found.chest_wall) == (0, "left")
    assert abs(found.right - 68) <= 2 and abs(found.top - 10) <= 2 and abs(found.bottom - 121) <= 2


def test_the_box_holds_the_breast_and_little_else():
    found = find_breast(ellipse(), TABLE, 0)
    # height: 200 / 2 -+ 0.4 * 200 = 20 to 180; width: 0 to 0.6 * 120 = 72
    assert abs(found.top - 20) <= 3 and abs(found.bottom - 180) <= 3
    assert found.left == 0 and abs(found.right - 72) <= 3


def test_the_chest_wall_is_the_tall_side():
    assert find_breast(ellipse(), TABLE, 0).chest_wall == "left"
    assert find_breast(ellipse()[:, ::-1], TABLE, 0).chest_wall == "right"


def test_a_bright_label_is_left_out():
    pixels = ellipse()
    pixels[5:15, 95:115] = 4095
    found = find_breast(pixels, TABLE, 0)
    assert found.right < 80 and found.top > 15


def test_dark_fat_at_the_chest_wall_does_not_turn_the_breast_round():
    pixels = ellipse(level=200)
    bright = cv2.GaussianBlur((ellipse(height=0.25, width=0.55) > 0).astype(np.float32), (0, 0), 5)
    pixels = pixels + (bright * 3000 * (np.arange(120) / 120)).astype(np.uint16)
    assert find_breast(pixels, TABLE, 0).chest_wall == "left"


def test_noise_in_the_background_is_no_breast():
    noise = np.random.default_rng(0).integers(0, 60, (200, 120)).astype(np.uint16)
    found = find_breast(ellipse() + noise, TABLE, 0)
    assert found.right < 80 and found.top > 15


@pytest.mark.parametrize("pixels", [np.zeros((50, 40), np.uint16), np.full((50, 40), 7, np.uint16)])
def test_a_flat_image_raises(pixels):
    with pytest.raises(FileFault, match="no_breast"):
        find_breast(pixels, TABLE, 0)


def test_a_speck_is_no_breast():
    pixels = np.zeros((400, 400), np.uint16)
    pixels[50:60, 50:60] = 3000
    with pytest.raises(FileFault, match="no_breast"):
        find_breast(pixels, TABLE, 0)


def test_large_images_are_sampled_and_the_box_scaled_back():
    small = find_breast(ellipse(400, 240), TABLE, 0)
    large = find_breast(ellipse(2000, 1200), TABLE, 0)
    assert large.step == 4 and small.step == 1
    for side in ("top", "bottom", "right"):
        assert abs(getattr(large, side) / 5 - getattr(small, side)) <= 3


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(60, 300),
    columns=st.integers(60, 300),
    height=st.floats(0.2, 0.48),
    width=st.floats(0.2, 0.9),
    mirrored=st.booleans(),
)
def test_mirroring_mirrors_the_answer(rows, columns, height, width, mirrored):
    pixels = ellipse(rows, columns, height, width)
    found = find_breast(pixels[:, ::-1] if mirrored else pixels, TABLE, 0)
    assert found.chest_wall == ("right" if mirrored else "left")
    assert 0 <= found.top < found.bottom <= rows
    assert 0 <= found.left < found.right <= columns
