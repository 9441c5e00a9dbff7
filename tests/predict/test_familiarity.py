"""Whether an image is like the training images."""

import json

import numpy as np
import pytest

from mammo.predict.familiarity import Origin, fit_features, unfamiliar

ORIGIN = Origin(["Maker"], ["window"], (1000, 4000), (800, 3000))


def features(n, seed, spread=1.0):
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(4, 20))
    return spread * random.normal(size=(n, 4)) @ mixing + 0.1 * random.normal(size=(n, 20)) + 3


def test_images_of_the_same_kind_are_familiar_and_others_are_not():
    model = fit_features(features(400, 1), features(200, 2))
    assert (model.distance(features(300, 3)) <= model.threshold).mean() > 0.96
    # within the span of the strong directions, but further out
    assert (model.distance(features(300, 4, spread=5)) > model.threshold).mean() > 0.9
    # in a direction that train hardly varies in
    assert (model.distance(features(300, 5) + 1.5) > model.threshold).all()


def test_the_model_holds_no_image():
    model = fit_features(features(100, 1), features(50, 2))
    assert model.directions.shape == (10, 20) and model.mean.shape == (20,)


@pytest.mark.parametrize("n", [1, 3, 12])
def test_a_handful_of_images_is_no_error(n):
    model = fit_features(features(n, 1), features(5, 2))
    assert np.isfinite(model.distance(features(4, 3))).all() and model.threshold > 0


def test_an_origin_names_what_is_strange():
    assert ORIGIN.strangeness("Maker", "window", 900, 3500) == []
    found = ORIGIN.strangeness("Other", "lut", 200, 9000)
    assert [word.split()[0] for word in found] == ["manufacturer", "grey", "200", "9000"]


def test_an_origin_survives_json():
    assert Origin.from_json(json.loads(json.dumps(vars(ORIGIN)))) == ORIGIN


def test_the_flag_gives_reasons_or_nothing():
    assert unfamiliar([], 1.0, 2.0) == ""
    assert unfamiliar(["x"], 3.0, 2.0) == "features 1.50 times as far as the threshold; x"
