import cv2
import numpy as np
import pytest
from scipy import stats

from mammo.preprocess.breast import find_breast
from mammo.preprocess.frame import frame_of, theil_sen, without_slanted_frame
from support.films import TABLE, ellipse


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("width", [4, 12, 30])
@pytest.mark.parametrize("noise", [0, 60])
def test_a_bright_frame_around_a_film_is_no_breast(width, mirrored, noise):
    random = np.random.default_rng(0)
    film = ellipse(512, 384) + random.integers(0, 400, (512, 384)).astype(np.uint16)
    film = film[:, ::-1].copy() if mirrored else film
    plain = find_breast(film, TABLE, 0)
    inner = film[width:-width, width:-width]
    framed = (3900 - random.integers(0, noise + 1, film.shape)).astype(np.uint16)
    framed[width:-width, width:-width] = inner
    found = find_breast(framed, TABLE, 0)
    assert found.chest_wall == plain.chest_wall == ("right" if mirrored else "left")
    assert abs(found.top - plain.top) <= 4 and abs(found.bottom - plain.bottom) <= 4
    assert found.left >= width - 1 and found.right <= 384 - width + 1


@pytest.mark.parametrize("where", ["down", "across", "to the corners"])
@pytest.mark.parametrize("share", [0.15, 0.25])
@pytest.mark.parametrize("width", [8, 24, 40])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_frame_whose_light_falls_off_is_no_breast(where, share, width, mirrored):
    random = np.random.default_rng(0)
    film = ellipse(512, 384) + random.integers(0, 400, (512, 384)).astype(np.uint16)
    film = film[:, ::-1].copy() if mirrored else film
    y, x = (np.linspace(-1, 1, side) for side in film.shape)
    fall = {
        "down": np.add.outer((y + 1) / 2, 0 * x),
        "across": np.add.outer(0 * y, (x + 1) / 2),
        "to the corners": np.add.outer(y**2, x**2) / 2,
    }[where]
    framed = 3900 * (1 - share * fall) - random.integers(0, 61, film.shape)
    inside = (slice(width, -width),) * 2
    framed[inside] = film[inside]
    found = find_breast(framed.astype(np.uint16), TABLE, 0)
    plain = find_breast(film, TABLE, 0)
    assert found.chest_wall == plain.chest_wall == ("right" if mirrored else "left")
    assert abs(found.top - plain.top) <= 4 and abs(found.bottom - plain.bottom) <= 4
    assert found.left >= width - 1 and found.right <= 384 - width + 1


def test_tissue_whose_brightness_falls_off_along_the_edge_is_no_frame():
    rows = np.linspace(0.6, 0.45, 200)[:, None]
    scaled = np.repeat(rows, 150, axis=1) + np.random.default_rng(0).normal(0, 0.01, (200, 150))
    scaled[:, 100:] = 0
    assert frame_of(scaled) == (0, 200, 0, 150)


def test_a_bright_strip_along_the_chest_wall_does_not_turn_the_breast():
    film = ellipse(512, 384) + np.random.default_rng(0).integers(0, 400, (512, 384))
    film[:, :16] = 3950
    found = find_breast(film.astype(np.uint16), TABLE, 0)
    assert found.chest_wall == "left" and 15 <= found.left <= 18
    assert found.bottom - found.top < 430


def test_the_line_through_medians_is_scipys():
    random = np.random.default_rng(0)
    for _ in range(20):
        x = np.sort(random.choice(500, 60, replace=False))
        y = np.rint(0.1 * x + random.normal(0, 4, 60)).astype(int)
        slope, intercept, *_ = stats.theilslopes(y, x)
        assert theil_sen(x, y) == pytest.approx((slope, intercept), abs=0)


@pytest.mark.parametrize("width", [2, 6, 30, 80])
@pytest.mark.parametrize("base", [60, 400])
def test_a_scanners_black_border_does_not_make_the_films_base_tissue(width, base):
    random = np.random.default_rng(0)
    film = ellipse(512, 384) + random.integers(0, base, (512, 384)).astype(np.uint16)
    bordered = np.zeros((512 + 2 * width, 384 + 2 * width), np.uint16)
    bordered += random.integers(0, 4, bordered.shape).astype(np.uint16)
    bordered[width:-width, width:-width] = film
    plain, found = find_breast(film, TABLE, 0), find_breast(bordered, TABLE, 0)
    assert found.chest_wall == "left"
    for side in ("top", "bottom", "left", "right"):
        assert abs(getattr(found, side) - width - getattr(plain, side)) <= 8


def test_tissue_that_fills_a_collimated_field_is_no_film():
    random = np.random.default_rng(0)
    texture = cv2.GaussianBlur(random.normal(0, 1, (512, 384)), (0, 0), 12)
    field = 1500 + 500 * texture / texture.std()
    pixels = np.zeros((512, 384))
    pixels[100:400, 80:320] = field[100:400, 80:320].clip(600, 4095)
    assert find_breast(pixels.astype(np.uint16), TABLE, 0).mask.sum() == pytest.approx(
        300 * 240, rel=0.02
    )


def test_tissue_that_fills_an_edge_is_no_frame():
    scaled = np.full((200, 150), 0.5) + np.random.default_rng(0).normal(0, 0.01, (200, 150))
    scaled[:, 100:] = 0
    assert frame_of(scaled) == (0, 200, 0, 150)


def askew(film, degrees, light_box, shift=0):
    """Lay a film on a light box, turned about its centre: the box shows where the film isn't."""
    rows, columns = film.shape
    turn = cv2.getRotationMatrix2D((columns / 2 + shift, rows / 2), degrees, 0.97)
    laid = cv2.warpAffine(
        film.astype(np.float32), turn, (columns, rows), flags=cv2.INTER_LINEAR, borderValue=-1e6
    )
    return np.where(laid < 0, light_box, laid).astype(np.uint16)


@pytest.mark.parametrize("degrees", [-4, -2, -1, 1, 2, 4])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("noise", [0, 60])
def test_the_frame_of_a_film_that_lay_askew_is_no_breast(degrees, mirrored, noise):
    random = np.random.default_rng(0)
    film = ellipse(512, 384) + random.integers(0, 400, (512, 384)).astype(np.uint16)
    film = film[:, ::-1].copy() if mirrored else film
    light_box = 3900 - random.integers(0, noise + 1, film.shape)
    found = find_breast(askew(film, degrees, light_box), TABLE, 0)
    behind = random.integers(0, 400, film.shape)  # the same film on what looks like more of it
    still = find_breast(askew(film, degrees, behind), TABLE, 0)
    assert found.chest_wall == still.chest_wall == ("right" if mirrored else "left")
    for side in ("top", "bottom", "left", "right"):
        assert abs(getattr(found, side) - getattr(still, side)) <= 6
    both, either = (found.mask & still.mask).sum(), (found.mask | still.mask).sum()
    assert both / either > 0.95


@pytest.mark.parametrize("degrees", [-3, 2])
def test_a_film_that_lay_askew_on_black_is_looked_into(degrees):
    random = np.random.default_rng(0)
    film = ellipse(512, 384) + random.integers(0, 400, (512, 384)).astype(np.uint16)
    found = find_breast(askew(film, degrees, 0), TABLE, 0)
    still = find_breast(askew(film, degrees, random.integers(0, 400, film.shape)), TABLE, 0)
    for side in ("top", "bottom", "left", "right"):
        assert abs(getattr(found, side) - getattr(still, side)) <= 8


def test_where_nothing_lies_askew_nothing_is_filled():
    scaled = ellipse(512, 384) / 4095 + np.random.default_rng(0).uniform(0, 0.05, (512, 384))
    filled, frame = without_slanted_frame(scaled)
    assert not frame.any() and (filled == scaled).all()


def test_a_pectoral_muscle_is_no_slanted_frame():
    film = np.random.default_rng(0).uniform(0.2, 0.4, (512, 384))
    row, column = np.mgrid[0:512, 0:384]
    film[column < 130 * (1 - row / 400)] = 0.9
    assert not without_slanted_frame(film)[1].any()
