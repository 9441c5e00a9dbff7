"""The comparison as a whole on made-up predictions."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from mammo.comparison.arms import aggregate
from mammo.comparison.compare import compare, comparison_table
from mammo.comparison.params import CompareParams
from mammo.errors import UserError
from mammo.evaluation.metrics import classification_metrics
from support.made_up import predictions

PARAMS = CompareParams(
    draws=200,
    seed=0,
    confidence=0.95,
    calibration_bins=10,
    tested_metrics=["bal_acc_adj", "kappa"],
    false_discovery_rate=0.05,
    histogram={"bins": 8, "inverse_penalties": [1.0]},
)
CLASSES = ("A", "B", "C", "D")


@pytest.fixture(scope="module")
def arms():
    return {name: predictions(name, skill) for name, skill in (("good", 1.5), ("poor", 0.2))}


@pytest.fixture(scope="module")
def result(arms):
    return compare(arms, {"majority_class": predictions("majority_class", 0)}, PARAMS)


def test_values_are_those_of_the_metrics_module(arms, result):
    test = arms["good"][arms["good"]["split"] == "test"]
    labels = test["label"].map({label: n for n, label in enumerate(CLASSES)}).to_numpy()
    probabilities = test[[f"probability_{label}" for label in CLASSES]].to_numpy()
    expected = classification_metrics(labels, probabilities, CLASSES)
    entries = result["strategies"]["good"]
    shared = set(entries) & set(expected)
    assert len(shared) >= 17
    for key in shared:
        assert entries[key]["value"] == pytest.approx(expected[key], abs=1e-8), key


def test_every_interval_holds_its_value_and_is_not_a_point(result):
    for metric, entry in result["strategies"]["good"].items():
        assert set(entry) == {"value", "low", "high", "n_patients", "undefined_draws"}
        if metric not in ("ece", "ece_tempered"):  # biased upwards: the value may lie below
            assert entry["low"] <= entry["value"] <= entry["high"], metric
    assert (
        result["strategies"]["good"]["kappa"]["low"] < result["strategies"]["good"]["kappa"]["high"]
    )


def test_a_recall_rests_on_the_patients_of_its_class(arms, result):
    test = arms["good"][arms["good"]["split"] == "test"]
    entries = result["strategies"]["good"]
    assert entries["accuracy"]["n_patients"] == test["patient"].nunique() == 40
    of_a = test[test["label"] == "A"]["patient"].nunique()
    assert entries["recall_A"]["n_patients"] == of_a < 40


def test_probabilities_are_averaged_over_the_views_of_a_breast_and_of_a_patient():
    columns = ["patient", "key", "laterality", "view", "label", "probability_AB", "probability_CD"]
    table = pd.DataFrame(
        [
            ("p2", "k1", "L", "CC", "AB", 0.9, 0.1),
            ("p1", "k2", "L", "CC", "AB", 0.8, 0.2),
            ("p1", "k3", "L", "MLO", "AB", 0.4, 0.6),
            ("p1", "k4", "R", "CC", "CD", 0.0, 1.0),
        ],
        columns=columns,
    )
    breasts = aggregate(table, "breast", ("AB", "CD"), ["p1", "p2"])
    np.testing.assert_allclose(breasts.probabilities[:, 1], [0.4, 1.0, 0.1])
    assert breasts.patients.tolist() == [0, 0, 1]
    assert breasts.labels.tolist() == [0, 1, 0]
    patients = aggregate(table, "patient", ("AB", "CD"), ["p1", "p2"])
    np.testing.assert_allclose(patients.probabilities[:, 1], [0.6, 0.1])
    assert patients.labels.tolist() == [1, 0]  # the denser breast counts
    images = aggregate(table, "image", ("AB", "CD"), ["p1", "p2"])
    assert images.patients.tolist() == [0, 0, 0, 1]


def test_levels_count_their_own_units(result):
    sample = result["sample"]
    assert (sample["images"], sample["breasts"], sample["patients"]) == (160, 80, 40)
    table = comparison_table(result)
    assert list(table.columns) == ["strategy", "level", "metric", "value", "low", "high"]
    assert set(table["level"]) == {"image", "breast", "patient"}
    assert set(table["strategy"]) == {"good", "poor", "majority_class"}


def test_a_clear_difference_is_shown_and_the_family_is_corrected(result):
    pair = next(p for p in result["pairs"] if (p["first"], p["second"]) == ("good", "poor"))
    found = {(test["test"], test["metric"]): test for test in pair["tests"]}
    assert set(found) == {
        ("bootstrap", "bal_acc_adj"),
        ("bootstrap", "kappa"),
        ("mcnemar", "accuracy"),
        ("delong", "auc_dense"),
    }
    assert all(test["p"] <= test["p_adjusted"] for test in found.values())
    assert found[("bootstrap", "kappa")]["p_adjusted"] < 0.05
    assert pair["differences"]["kappa"]["low"] > 0
    # good-poor, good-majority and poor-majority, four tests each
    assert result["sample"]["tests_in_family"] == 12
    tests = [test for p in result["pairs"] for test in p["tests"]]
    adjusted = false_discovery_control([test["p"] for test in tests])
    assert [test["p_adjusted"] for test in tests] == pytest.approx(list(adjusted), rel=1e-8)
    assert [(p["first"], p["second"]) for p in result["pairs"]] == [
        ("good", "poor"),
        ("good", "majority_class"),
        ("poor", "majority_class"),
    ]


def test_differences_are_paired_on_the_same_draws(result):
    """Two alike arms: the interval of the difference is far narrower than each one's own."""
    one = predictions("good", 1.5)
    twin = one.copy()
    flip = twin.index[(twin["split"] == "test")][:2]
    twin.loc[flip, [f"probability_{label}" for label in CLASSES]] = 0.25
    pair = compare({"one": one, "twin": twin}, {}, PARAMS)["pairs"][0]
    own = result["strategies"]["good"]["accuracy"]
    found = pair["differences"]["accuracy"]
    assert found["high"] - found["low"] < 0.5 * (own["high"] - own["low"])


def test_an_arm_against_its_equal_differs_by_nothing():
    one = predictions("good", 1.5)
    pair = compare({"one": one, "same": one.copy()}, {}, PARAMS)["pairs"][0]
    assert all(
        entry["value"] == entry["low"] == entry["high"] == 0
        for entry in (pair["differences"][key] for key in ("kappa", "auc_macro", "ece"))
    )
    assert all(test["p"] == 1 and test["p_adjusted"] == 1 for test in pair["tests"])


def test_the_temperature_comes_from_validation_alone(arms):
    arm = arms["good"]
    changed = arm.copy()
    test_rows = changed["split"] == "test"
    columns = [f"probability_{label}" for label in CLASSES]
    changed.loc[test_rows, columns] = changed.loc[test_rows, columns[::-1]].to_numpy()
    both = [compare({"one": table}, {}, PARAMS)["calibration"]["one"] for table in (arm, changed)]
    assert both[0]["temperature"] == both[1]["temperature"]
    assert both[0]["reliability"] != both[1]["reliability"]


def test_the_result_is_plain_json_and_repeats(arms, result):
    again = compare(
        {name: table.sample(frac=1, random_state=1) for name, table in arms.items()},
        {"majority_class": predictions("majority_class", 0)},
        PARAMS,
    )
    assert json.dumps(again, allow_nan=False) == json.dumps(result, allow_nan=False)


def test_too_few_dense_patients_leave_delong_without_p(arms):
    table = arms["good"].copy()
    table["label"] = table["label"].replace({"C": "B", "D": "B"})
    other = arms["poor"].assign(label=table["label"])
    pair = compare({"one": table, "other": other}, {}, PARAMS)["pairs"][0]
    delong = next(test for test in pair["tests"] if test["test"] == "delong")
    assert (delong["p"], delong["p_adjusted"]) == (None, None)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t[t["split"] == "test"], "must hold the split val"),
        (lambda t: t.assign(label=t["label"].replace("A", "E")), "labels must be among"),
        (lambda t: t.rename(columns={"probability_D": "probability_E"}), "known class set"),
    ],
)
def test_unusable_predictions_stop_with_a_reason(arms, spoil, message):
    with pytest.raises(UserError, match=message):
        compare({"one": spoil(arms["good"])}, {}, PARAMS)


def test_arms_of_different_images_are_refused(arms):
    with pytest.raises(UserError, match="poor: predictions must be of the same images"):
        compare({"good": arms["good"], "poor": arms["poor"].iloc[1:]}, {}, PARAMS)


def test_an_unknown_tested_metric_is_refused(arms):
    params = PARAMS.model_copy(update={"tested_metrics": ["kapa"]})
    with pytest.raises(UserError, match=r"compare\.tested_metrics: must be among .*kappa.*'kapa'"):
        compare(arms, {}, params)


def test_one_test_patient_is_refused(arms):
    table = arms["good"]
    one = table[(table["split"] == "val") | (table["patient"] == "p0001")]
    with pytest.raises(UserError, match="at least 2 patients"):
        compare({"one": one}, {}, PARAMS)
