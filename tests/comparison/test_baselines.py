"""Baselines on images whose answer is known."""

import numpy as np
import pytest

from mammo.comparison.baselines import (
    BASELINES,
    GREY_FEATURES,
    INTENSITY_HISTOGRAM,
    intensity_histograms,
    majority_class,
    solve_baselines,
)
from mammo.comparison.params import HistogramParams
from mammo.errors import UserError
from mammo.heads.params import HeadParams
from mammo.params import parse_params
from mammo.storage.tensors import OUTLINES, Tensors, packed, write_shards
from mammo.training.problem import Solving
from support.trainings import BALANCING, LOSS


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


def test_params_out_of_range_are_refused():
    with pytest.raises(UserError, match=r"compare.histogram.bins"):
        parse_params("compare.histogram", {"bins": 1}, HistogramParams)


HEAD = HeadParams.model_validate({
    "model": "ordinal", "kernel": "none", "rbf": {"features": 8, "scale": 1.0}, "seed": 0,
    "select": "val", "criterion": "log_loss", "thresholds": "joint", "folds": 3, "refit": False,
    "width_power": 0.5,
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


PARTS = {"train": slice(0, 40), "val": slice(40, 50), "test": slice(50, 60)}


def solved(tensors, outlines, labels, parts=PARTS, head=HEAD, **balancing):
    keys = {split: tensors.keys[part] for split, part in parts.items()}
    truth = {split: labels[part] for split, part in parts.items()}
    patients = {split: np.arange(60)[part] // 2 for split, part in parts.items()}
    balance = BALANCING.model_copy(update={"weighted_sampler": True, "power": 0.5, **balancing})
    solver = Solving(["A", "B", "C"], head, balance, LOSS).plain().path
    return (
        solve_baselines(tensors, outlines, keys, truth, patients, 3, 16, solver, head.refit),
        truth,
    )


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


def test_with_refit_test_is_answered_by_what_train_and_val_teach(tmp_path):
    def vague(label, random, outline):
        return random.integers(40, 200 + 10 * label, outline.sum())

    store = pictures(tmp_path, vague)
    plain, _ = solved(*store)
    refitted, _ = solved(*store, head=HEAD.model_copy(update={"refit": True}))
    larger, _ = solved(*store, parts={"train": slice(0, 50), "test": slice(50, 60)})
    assert refitted.cross_fitted == plain.cross_fitted
    for name in BASELINES:
        one, other, all_of_it = (found.probabilities[name] for found in (refitted, plain, larger))
        assert np.array_equal(one["val"], other["val"])
        assert np.array_equal(one["test"], all_of_it["test"])
        assert not np.array_equal(one["test"], other["test"])


@pytest.mark.parametrize(
    "balancing", [{"weighted_sampler": False}, {"power": 1.0}, {"effective_beta": 0.9}]
)
def test_baselines_are_balanced_as_the_strategies_are(tmp_path, balancing):
    def vague(label, random, outline):
        return random.integers(40, 200 + 10 * label, outline.sum())

    tensors, outlines, labels = pictures(tmp_path, vague)
    labels = np.where(np.arange(60) % 5 == 0, labels, 1)  # B is common, A and C are rare
    plain, _ = solved(tensors, outlines, labels)
    other, _ = solved(tensors, outlines, labels, **balancing)
    for name in (INTENSITY_HISTOGRAM, GREY_FEATURES):
        means = [found.probabilities[name]["test"].mean(axis=0) for found in (plain, other)]
        more_balanced = balancing != {"weighted_sampler": False}
        assert (means[1][1] < means[0][1]) == more_balanced
        assert abs(means[1][1] - means[0][1]) > 0.02


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
