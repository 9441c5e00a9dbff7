"""Baselines on images whose answer is known."""

import numpy as np
import pytest

from mammo.comparison.baselines import (
    BASELINES,
    GREY_FEATURES,
    INTENSITY_HISTOGRAM,
    fit_histogram_classifier,
    intensity_histograms,
    majority_class,
    predict_from_histograms,
    predict_probabilities,
    solve_baselines,
)
from mammo.comparison.params import HistogramParams
from mammo.errors import UserError
from mammo.heads.params import HeadParams
from mammo.params import parse_params
from mammo.storage.tensors import OUTLINES, Tensors, packed, write_shards

PARAMS = HistogramParams(bins=8, inverse_penalties=[0.1, 1.0])


def store(folder, images, keys=None):
    folder.mkdir()
    keys = keys or [f"{number:04d}" for number in range(len(images))]
    write_shards(images, keys, folder, shard_bytes=1 << 16)
    return Tensors(folder)


def test_the_majority_baseline_states_the_class_shares_of_training():
    probabilities = majority_class(np.array([2, 2, 1, 2]), n=3, n_classes=4)
    np.testing.assert_array_equal(probabilities, [[0, 0.25, 0.75, 0]] * 3)


def test_no_training_image_is_an_error():
    with pytest.raises(UserError, match="train must hold an image"):
        majority_class(np.array([], int), n=1, n_classes=4)


def test_histograms_leave_background_out_and_sum_to_one(tmp_path):
    image = np.zeros((4, 4), np.uint8)
    image[0] = [1, 31, 32, 255]  # bins of 32: two in the first, one in the second, one in the last
    tensors = store(tmp_path / "tensors", [image, np.zeros((4, 4), np.uint8)])
    histograms = intensity_histograms(tensors, np.array([0, 1]), bins=8)
    np.testing.assert_array_equal(histograms[0], [0.5, 0.25, 0, 0, 0, 0, 0, 0.25])
    np.testing.assert_array_equal(histograms[1], np.zeros(8))


def test_histograms_span_the_range_of_sixteen_bits(tmp_path):
    image = np.array([[1, 65535]], np.uint16)
    tensors = store(tmp_path / "tensors", [image])
    np.testing.assert_array_equal(
        intensity_histograms(tensors, np.array([0]), bins=4), [[0.5, 0, 0, 0.5]]
    )


def test_more_images_than_one_read_keep_their_order(tmp_path):
    images = [np.full((2, 2), 1 + number, np.uint8) for number in range(150)]
    histograms = intensity_histograms(store(tmp_path / "tensors", images), np.arange(150), bins=256)
    assert histograms.argmax(axis=1).tolist() == list(range(1, 151))


def test_brightness_alone_is_learnt(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, 3], 30)
    images = [
        np.clip(rng.normal(50 + 45 * label, 12, (8, 8)), 1, 255).astype(np.uint8)
        for label in labels
    ]
    tensors = store(tmp_path / "tensors", images)
    split = np.arange(120) % 3
    parts = {name: np.flatnonzero(split == n) for n, name in enumerate(("train", "val", "test"))}
    keys = {name: [tensors.keys[p] for p in positions] for name, positions in parts.items()}
    answers = {name: labels[positions] for name, positions in parts.items()}
    probabilities = predict_from_histograms(tensors, keys, answers, 4, PARAMS)
    np.testing.assert_allclose(probabilities["test"].sum(axis=1), 1)
    assert (probabilities["test"].argmax(axis=1) == answers["test"]).mean() > 0.9


def test_the_classifier_is_fitted_on_train_alone():
    histograms = np.array([[0.0], [0.1], [0.9], [1.0]])
    labels, reversed_labels = np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])
    model = fit_histogram_classifier(histograms, labels, histograms, reversed_labels, PARAMS)
    assert model.predict(histograms).tolist() == [0, 0, 1, 1]


def test_predictions_follow_train_and_not_val(tmp_path):
    images = [np.full((2, 2), value, np.uint8) for value in (10, 240, 10, 240, 10, 240)]
    tensors = store(tmp_path / "tensors", images)
    keys = {"train": tensors.keys[:2], "val": tensors.keys[2:4], "test": tensors.keys[4:]}
    labels = {"train": np.array([0, 3]), "val": np.array([3, 0]), "test": np.array([3, 0])}
    probabilities = predict_from_histograms(tensors, keys, labels, 4, PARAMS)
    assert probabilities["test"].argmax(axis=1).tolist() == [0, 3]


@pytest.mark.parametrize(
    ("shift", "best"),
    [
        (np.array([2.0] + [0.0] * 29), 1000.0),  # one feature tells: a strong penalty drowns it
        (np.full(20, 0.5), 0.001),  # all tell a little: a weak penalty follows the noise of 20
    ],
)
def test_validation_chooses_the_penalty(shift, best):
    rng = np.random.default_rng(8)
    labels, val_labels = np.repeat([0, 1], len(shift) // 2), np.repeat([0, 1], 200)
    train = rng.normal(size=(len(labels), len(shift))) + np.outer(labels, shift)
    val = rng.normal(size=(400, len(shift))) + np.outer(val_labels, shift)
    params = HistogramParams(bins=8, inverse_penalties=[1000.0, 0.001])
    model = fit_histogram_classifier(train, labels, val, val_labels, params)
    assert model.get_params()["logisticregression__C"] == best


def test_a_class_absent_from_training_gets_probability_zero():
    train = np.array([[0.0], [1.0], [0.1], [0.9]])
    model = fit_histogram_classifier(
        train, np.array([1, 3, 1, 3]), train, np.array([1, 3, 1, 3]), PARAMS
    )
    probabilities = predict_probabilities(model, train, 4)
    assert (probabilities[:, [0, 2]] == 0).all()
    assert probabilities.argmax(axis=1).tolist() == [1, 3, 1, 3]


def test_one_training_class_is_an_error():
    with pytest.raises(UserError, match="two classes or more"):
        fit_histogram_classifier(np.zeros((2, 1)), np.zeros(2, int), np.zeros((1, 1)), [0], PARAMS)


def test_params_out_of_range_are_refused():
    for fault in ({"bins": 1}, {"inverse_penalties": []}, {"inverse_penalties": [0]}):
        with pytest.raises(UserError, match=f"compare.histogram.{next(iter(fault))}"):
            parse_params("compare.histogram", PARAMS.model_dump() | fault, HistogramParams)


HEAD = HeadParams.model_validate({
    "model": "ordinal", "kernel": "none", "rbf": {"features": 8, "scale": 1.0}, "seed": 0,
    "select": "val", "criterion": "log_loss", "thresholds": "joint", "folds": 3,
    "penalties": {"strongest": 1.0, "weakest": 1e-3, "steps": 4},
})  # fmt: skip


def pictures(tmp_path, make, n=60):
    """A store of half discs with outlines; `make(label, random)` fills a disc's pixels."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :48]
    outline = (rows - 24) ** 2 + columns**2 < 22**2
    labels = np.arange(n) % 3
    images = []
    for label in labels:
        image = np.zeros((48, 48), np.uint8)
        image[outline] = make(label, random, outline)
        images.append(image)
    tensors = store(tmp_path / "tensors", images)
    outlines = store(tmp_path / "tensors" / OUTLINES, [packed(outline)] * n)
    return tensors, outlines, labels


def solved(tensors, outlines, labels):
    parts = {"train": slice(0, 40), "val": slice(40, 50), "test": slice(50, 60)}
    keys = {split: tensors.keys[part] for split, part in parts.items()}
    truth = {split: labels[part] for split, part in parts.items()}
    patients = np.arange(40) // 2
    return solve_baselines(tensors, outlines, keys, truth, patients, 3, 16, HEAD, 0.5), truth


def test_the_better_baseline_is_the_histogram_where_grey_values_tell_the_class(tmp_path):
    def brighter(label, random, outline):
        return random.integers(40 + 50 * label, 80 + 50 * label, outline.sum())

    found, truth = solved(*pictures(tmp_path, brighter))
    assert set(found.probabilities) == set(BASELINES)
    assert found.better == INTENSITY_HISTOGRAM
    assert found.cross_fitted[INTENSITY_HISTOGRAM] > 0.9
    answers = found.probabilities[INTENSITY_HISTOGRAM]["test"]
    assert answers.shape == (10, 3)
    assert (answers.argmax(axis=1) == truth["test"]).all()


def test_the_better_baseline_is_grey_features_where_only_the_texture_differs(tmp_path):
    def coarser(label, random, outline):
        """The same grey values, in squares of 1, 2 or 4 pixels."""
        size = 2**label
        squares = random.integers(0, 2, (48 // size, 48 // size))
        return 60 + 100 * np.kron(squares, np.ones((size, size), int))[outline]

    found, truth = solved(*pictures(tmp_path, coarser))
    assert found.better == GREY_FEATURES
    assert found.cross_fitted[GREY_FEATURES] > 0.9 > 0.5 > found.cross_fitted[INTENSITY_HISTOGRAM]
    assert (found.probabilities[GREY_FEATURES]["test"].argmax(axis=1) == truth["test"]).all()
