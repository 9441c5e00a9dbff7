"""Grey and texture features on pictures whose answers are known."""

import numpy as np
import pytest

from mammo.embedding.grey import GREY_NAMES, SCALES, grey_features


def breast(size=224):
    """A half disc at the left border: outline, and fat at 0.2."""
    rows, columns = np.mgrid[:size, :size]
    outline = (rows - size / 2) ** 2 + columns**2 < (0.4 * size) ** 2
    return np.where(outline, 0.2, 0.0).astype(np.float32), outline


def named(image, outline):
    return dict(zip(GREY_NAMES, grey_features(image, outline), strict=True))


def test_there_are_46_features_all_finite_even_of_a_flat_breast():
    assert len(GREY_NAMES) == len(set(GREY_NAMES)) == 46
    assert np.isfinite(grey_features(*breast())).all()


def test_without_a_breast_all_are_0():
    assert (grey_features(np.zeros((64, 64)), np.zeros((64, 64), bool)) == 0).all()


def test_the_dense_share_is_that_of_the_bright_part():
    image, outline = breast()
    random = np.random.default_rng(0)
    image[112:][outline[112:]] = 0.8  # the lower half
    image[outline] += random.normal(scale=0.02, size=outline.sum()).astype(np.float32)
    found = named(image, outline)
    assert found["otsu_share"] == pytest.approx(0.5, abs=0.01)
    assert found["otsu_contrast"] == pytest.approx(0.6, abs=0.01)
    assert found["otsu_explained"] > 0.9
    assert found["mean"] == pytest.approx(0.5, abs=0.01)


def test_dense_tissue_is_placed_by_its_distance_from_the_chest_wall():
    image, outline = breast()
    near = outline & (np.arange(224) < 25)
    image[near] = 0.8
    found = named(image, outline)
    assert found["dense_wall"] > 0.75
    assert found["dense_nipple"] == 0
    assert found["dense_depth"] < 0.2


@pytest.mark.parametrize("scale", SCALES[:5])
def test_a_texture_has_its_energy_at_its_own_scale(scale):
    image, outline = breast()
    wavelength = 2 * np.pi * scale * 0.8  # an octave's centre: blurs of scale / 2 and scale
    image += np.where(outline, 0.1 * np.sin(2 * np.pi * np.arange(224) / wavelength), 0)
    found = named(image, outline)
    energies = [found[f"energy_{s}"] for s in SCALES]
    assert abs(int(np.argmax(energies)) - SCALES.index(scale)) <= 1


def test_features_are_about_the_same_at_another_size():
    random = np.random.default_rng(0)
    image, outline = breast()
    image[outline] += random.uniform(0, 0.5, size=outline.sum()).astype(np.float32)
    large = grey_features(np.kron(image, np.ones((2, 2))), np.kron(outline, np.ones((2, 2))) > 0)
    assert large == pytest.approx(grey_features(image, outline), abs=0.05)


def test_what_lies_outside_of_the_outline_counts_for_nothing():
    image, outline = breast()
    image[outline] += np.random.default_rng(0).uniform(0, 0.5, outline.sum()).astype(np.float32)
    changed = np.where(outline, image, 0.9)
    inner = [i for i, name in enumerate(GREY_NAMES) if name not in ("energy_1", "peakedness_1")]
    assert grey_features(changed, outline)[inner] == pytest.approx(
        grey_features(image, outline)[inner], abs=1e-5
    )
