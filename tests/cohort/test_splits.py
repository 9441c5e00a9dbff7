"""Splits: no patient in two, every class in each, or a clear word about it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo.cohort.cases import make_fold
from mammo.cohort.params import SplitParams
from mammo.cohort.splits import assign_patients, check_patients, describe_splits
from mammo.errors import UserError
from mammo.params import parse_params

CLASSES = ["A", "B", "C", "D"]
VALUES = dict(source="grouped", folds=5, test_fold=0, val_fold=None, seed=0, missing_class="error")


def params(**changes):
    return SplitParams(**{**VALUES, **changes})


def table(patients_by_class, views=4):
    """Make an image table; every patient has one label and `views` images."""
    rows = []
    for label, patients in zip(CLASSES, patients_by_class, strict=True):
        for number in range(patients):
            rows += [(f"{label}{number:03d}", label)] * views
    frame = pd.DataFrame(rows, columns=["patient", "label"])
    frame["key"] = [f"{i * 7919 % 100003:08d}" for i in range(len(frame))]
    frame["published_split"] = ""
    return frame


@st.composite
def image_tables(draw):
    n = draw(st.integers(12, 60))
    patient = draw(st.lists(st.integers(0, 14), min_size=n, max_size=n))
    label = draw(st.lists(st.sampled_from(CLASSES), min_size=n, max_size=n))
    frame = pd.DataFrame({"patient": [f"p{p}" for p in patient], "label": label})
    frame["key"] = [f"k{i:03d}" for i in range(n)]
    return frame


@settings(max_examples=60, deadline=None)
@given(image_tables(), st.integers(0, 4), st.integers(0, 99))
def test_no_patient_is_in_two_splits_and_no_image_is_lost(images, test_fold, seed):
    chosen = params(test_fold=test_fold, seed=seed)
    if images["patient"].nunique() < 5:
        with pytest.raises(UserError, match=r"split\.folds: needs at least 5 patients"):
            assign_patients(images, chosen)
        return
    if images["label"].value_counts().max() < 5:
        with pytest.raises(UserError, match=r"split\.folds: needs at least 5 images of one class"):
            assign_patients(images, chosen)
        return
    splits = assign_patients(images, chosen)
    merged = images.merge(splits, on="key")
    assert merged.groupby("patient")["split"].nunique().max() == 1
    assert sorted(splits["key"]) == sorted(images["key"])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_the_order_of_rows(seed, random):
    images = table([5, 12, 20, 9])
    shuffled = images.sample(frac=1, random_state=random.randint(0, 2**31 - 1))
    chosen = params(seed=seed)
    assert assign_patients(images, chosen).equals(assign_patients(shuffled, chosen))


def test_with_five_patients_of_a_class_every_split_has_it():
    images = table([5, 20, 40, 18])
    for seed in range(20):
        splits = assign_patients(images, params(seed=seed))
        merged = images.merge(splits, on="key")
        assert merged.groupby("split")["label"].nunique().min() == 4


def test_a_missing_class_is_an_error_that_says_how_many_patients_are_short():
    images = table([2, 20, 40, 18])
    chosen = params()
    splits = assign_patients(images, chosen)
    with pytest.raises(
        UserError, match=r"class A is missing from .*2 patients have it, at least 3"
    ):
        describe_splits(images, splits, CLASSES, chosen)


def test_where_no_patient_is_short_none_is_asked_for():
    images = table([10, 20, 40, 18]).assign(label=lambda t: t["label"].replace("A", "B"))
    odd = images["patient"].str.startswith("A") & (images.index % 4 == 0)
    splits = assign_patients(images, params())
    train = images["key"].map(splits.set_index("key")["split"]) == "train"
    images.loc[odd & train, "label"] = "A"
    with pytest.raises(
        UserError, match=r"A is missing from val and test: \d patients have it; add"
    ):
        describe_splits(images, splits, CLASSES, params())


def test_what_a_published_split_lacks_no_fold_and_no_seed_brings():
    images = table([10, 20, 40, 18])
    images["published_split"] = np.where(images["patient"].str[-1] == "0", "test", "train")
    images.loc[images["patient"] == "A000", "published_split"] = "train"
    chosen = params(source="published")
    splits = assign_patients(images, chosen)
    with pytest.raises(
        UserError, match=r"test: 10 patients have it; .* split.source: grouped"
    ) as said:
        describe_splits(images, splits, CLASSES, chosen)
    assert "seed" not in str(said.value)


def test_or_a_warning_that_the_metrics_carry(caplog):
    images = table([2, 20, 40, 18])
    chosen = params(missing_class="warn")
    splits = assign_patients(images, chosen)
    description = describe_splits(images, splits, CLASSES, chosen)
    assert "class A is missing" in description["missing_classes"][0]
    assert "class A is missing" in caplog.text
    counts = description["splits"]
    assert sum(counts[s]["images"] for s in counts) == len(images)
    assert sum(counts[s]["patients_by_class"]["C"] for s in counts) == 40


def test_all_folds_as_test_fold_cover_every_patient_once():
    images = table([5, 10, 20, 9])
    tested = [
        splits.loc[splits["split"] == "test", "key"]
        for fold in range(5)
        for splits in [assign_patients(images, params(test_fold=fold))]
    ]
    assert sorted(pd.concat(tested)) == sorted(images["key"])


def test_too_few_images_of_every_class_are_refused():
    with pytest.raises(UserError, match=r"needs at least 5 images of one class, got 4"):
        assign_patients(table([4, 4, 4, 4], views=1), params())


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"val_fold": 0}, "must differ"),
        ({"test_fold": 5}, "test_fold must be less than folds"),
        ({"folds": 2}, "greater than or equal to 3"),
        ({"test_folds": 1}, "test_folds: unknown key"),
    ],
)
def test_bad_parameters_are_refused(changes, complaint):
    with pytest.raises(UserError, match=complaint):
        parse_params("split", {**VALUES, **changes}, SplitParams)


def test_val_follows_test_by_default():
    assert params(test_fold=4).validation_fold == 0
    assert params(test_fold=1).validation_fold == 2


def test_the_published_split_is_kept_and_val_drawn_from_its_train_patients():
    images = table([10, 20, 40, 18])
    images["published_split"] = np.where(images["patient"].str[-1] == "0", "test", "train")
    splits = assign_patients(images, params(source="published"))
    merged = images.merge(splits, on="key")
    assert (merged["split"] == "test").equals(merged["published_split"] == "test")
    assert (merged["split"] == "val").mean() == pytest.approx(0.18, abs=0.06)
    assert merged.groupby("patient")["split"].nunique().max() == 1


def test_an_unpublished_split_is_refused():
    with pytest.raises(UserError, match="source: grouped"):
        assign_patients(table([5, 9, 9, 9]), params(source="published"))


@pytest.mark.parametrize(("there", "absent"), [("train", "test"), ("test", "train")])
def test_a_published_split_without_train_or_test_is_refused(there, absent):
    images = table([5, 9, 9, 9]).assign(published_split=there)
    with pytest.raises(UserError, match=rf"got none in {absent}.*dataset\.columns\.split"):
        assign_patients(images, params(source="published"))


def test_a_patient_in_two_splits_is_found_after_the_fact():
    with pytest.raises(UserError, match=r"1 are in several: p1"):
        check_patients(np.array(["p1", "p1", "p2"]), np.array(["train", "test", "val"]))


def test_a_fold_finds_its_images_in_a_store_that_holds_more():
    rows = pd.DataFrame(
        {
            "key": ["b", "c", "d"], "patient": ["q", "p", "q"], "label": ["B", "A", "D"],
            "split": ["train", "val", "test"],
        }
    )  # fmt: skip
    fold = make_fold(["a", "b", "c", "d"], rows, CLASSES)
    assert list(fold.labels) == [-1, 1, 0, 3]
    assert list(fold.patients) == [-1, 1, 0, 1]
    assert list(fold.train) == [1]
    assert list(fold.val) == [2]


def test_one_class_alone_is_refused_by_the_split_whatever_may_be_missing():
    chosen = params(missing_class="warn")
    images = table((0, 12, 0, 0))
    with pytest.raises(UserError, match=r"labels\.csv: the images must hold two classes.*\['B'\]"):
        describe_splits(images, assign_patients(images, chosen), CLASSES, chosen)
    images = table((0, 12, 3, 0))
    images["published_split"] = np.where(images["label"] == "C", "test", "train")
    chosen = params(source="published", missing_class="warn")
    with pytest.raises(UserError, match="train must hold two classes"):
        describe_splits(images, assign_patients(images, chosen), CLASSES, chosen)


def test_the_description_recommends_a_strategy_for_the_training_split(caplog):
    images = pd.DataFrame({"key": [f"k{n:03}" for n in range(80)], "label": list("ABCD") * 20})
    images["patient"] = [f"p{n // 2}" for n in range(80)]
    splits = images[["key"]].assign(split=["train"] * 40 + ["val"] * 20 + ["test"] * 20)
    with caplog.at_level("INFO"):
        found = describe_splits(images, splits, list("ABCD"), params(missing_class="warn"))
    # 40 images, 10 of each class
    assert found["recommended"]["strategy"] == "head_only"
    assert "40 images" in caplog.text and "1.0 to 1" in caplog.text
