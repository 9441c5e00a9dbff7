"""Images are brought to a square exactly by area."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo.preprocess.resize import fit, pad

SIZES = [(64 * k + i, 64 * k + j) for k in (1, 2, 4) for i in (0, 1, 3) for j in (0, 1, 2, 5)]


@pytest.mark.parametrize("shape", [*SIZES, (2294, 1914), (1, 500), (500, 1), (1000, 3)])
def test_every_size_is_averaged_exactly_by_area(shape):
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    fitted = fit(image, 64)
    exact = cv2.resize(image, fitted.shape[::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(fitted, exact, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(8, 64))
def test_fit_keeps_the_aspect_and_the_left_border(rows, columns, size):
    square = pad(fit(np.ones((rows, columns), np.float32), size), size)
    assert square.shape == (size, size)
    filled = np.argwhere(square > 0.999)
    height, width = filled.max(axis=0) - filled.min(axis=0) + 1
    assert max(height, width) == size
    assert filled[:, 1].min() == 0
    assert abs(height - rows * size / max(rows, columns)) <= 1
    assert abs(width - columns * size / max(rows, columns)) <= 1
    assert round(float(square.sum())) == height * width
