"""The comparison as a whole on made-up predictions."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control
from sklearn.metrics import cohen_kappa_score

from mammo.comparison.arms import Arm
from mammo.comparison.compare import choose_reference, compare
from mammo.comparison.tables import comparison_table
from mammo.errors import UserError
from mammo.evaluation.metrics import classification_metrics
from support.made_up import compare_params, predictions

PARAMS = compare_params(confidence=0.95, false_discovery_rate=0.05)
CLASSES = ("A", "B", "C", "D")


@pytest.fixture(scope="module")
def arms():
    return {name: Arm(predictions(name, skill)) for name, skill in (("good", 1.5), ("poor", 0.2))}


@pytest.fixture(scope="module")
def baselines():
    return {
        "majority_class": Arm(predictions("majority_class", 0)),
        "intensity_histogram": Arm(predictions("histogram", 0.4)),
        "grey_features": Arm(predictions("grey", 0.7)),
    }


@pytest.fixture(scope="module")
def result(arms, baselines):
    return compare(arms, baselines, PARAMS)


def changed(arm, **columns):
    return Arm(arm.predictions.assign(**columns))


def test_values_are_those_of_the_metrics_module(arms, result):
    test = arms["good"].of_split("test")
    labels = test["label"].map({label: n for n, label in enumerate(CLASSES)}).to_numpy()
    probabilities = test[[f"probability_{label}" for label in CLASSES]].to_numpy()
    expected = classification_metrics(labels, probabilities, CLASSES)
    found = result.strategies["good"].image
    shared = set(found) & set(expected)
    assert len(shared) >= 17
    for key in shared:
        assert found[key].value == pytest.approx(expected[key], abs=1e-8), key


def test_every_interval_holds_its_value_and_none_is_a_point(result):
    for arm in result.arms.values():
        for level in arm.levels.values():
            for metric, found in level.items():
                if found.low is None or metric in ("ece", "ece_tempered"):  # biased upwards
                    continue
                assert found.low <= found.value <= found.high, metric
                assert found.low < found.high, metric
    assert result.strategies["good"].image["kappa"].low is not None


def test_a_recall_rests_on_the_patients_of_its_class(arms, result):
    test = arms["good"].of_split("test")
    found = result.strategies["good"].image
    assert found["accuracy"].n_patients == test["patient"].nunique() == 40
    of_a = test[test["label"] == "A"]["patient"].nunique()
    assert found["recall_A"].n_patients == of_a < 40


def test_what_rests_on_a_thin_class_has_neither_interval_nor_p(arms):
    few = {name: with_few_a(arm, 3) for name, arm in arms.items()}
    params = PARAMS.model_copy(update={"tested_metrics": ["bal_acc_adj", "kappa"]})
    found = compare(few, {}, params)
    assert found.sample.thin_classes == {"A": 3}
    image = found.strategies["good"].image
    for metric in ("recall_A", "bal_acc", "bal_acc_adj", "macro_f1", "auc_macro"):
        assert image[metric].low is None, metric
    for metric in ("accuracy", "kappa", "kappa_quadratic", "recall_C", "predicted_share_A"):
        assert image[metric].low is not None, metric
    tests = {test.metric: test for test in found.pairs[0].by_image}
    assert tests["bal_acc_adj"].p is tests["bal_acc_adj"].p_adjusted is None
    assert tests["kappa"].p is not None
    assert found.pairs[0].differences["bal_acc_adj"].low is None


@pytest.mark.parametrize(("patients", "tested"), [(2, False), (4, False), (5, True)])
def test_a_handful_of_patients_shows_nothing(patients, tested):
    """Each has images of every class: the bootstrap of two alike gave a p value of 0.001."""
    found = compare({n: few_in_test(n, s, patients) for n, s in (("a", 5), ("b", 0))}, {}, PARAMS)
    assert all((test.p is not None) == tested for test in found.pairs[0].by_image)
    for arm in found.strategies.values():
        assert all((arm.image[m].low is not None) == tested for m in ("kappa_quadratic", "ece"))


def few_in_test(name, skill, patients):
    """Leave so many patients in test, whose four images are of the four classes."""
    table = predictions(name, skill)
    test = table["split"] == "test"
    kept = sorted(table.loc[test, "patient"].unique())[:patients]
    table = table[~test | table["patient"].isin(kept)].reset_index(drop=True)
    test = table["split"] == "test"
    table.loc[test, "label"] = np.resize(list(CLASSES), test.sum())
    noise = np.random.default_rng([*name.encode()]).random((len(table), 4))
    right = table["label"].to_numpy()[:, None] == np.array(CLASSES)
    stated = noise + skill / 9 * right
    columns = [f"probability_{label}" for label in CLASSES]
    return Arm(
        table.assign(**dict(zip(columns, (stated / stated.sum(1, keepdims=True)).T, strict=True)))
    )


def test_five_patients_of_each_class_leave_none_thin(arms):
    found = compare({name: with_few_a(arm, 5, "C") for name, arm in arms.items()}, {}, PARAMS)
    assert "C" not in found.sample.thin_classes
    assert found.strategies["good"].image["recall_C"].low is not None


def test_a_class_may_be_thin_by_patient_alone(arms):
    """Who has a denser breast counts as that: images of A from six patients, two patients of A."""
    mixed = {name: Arm(with_denser_right_breast(arm.predictions, 2)) for name, arm in arms.items()}
    found = compare(mixed, {}, PARAMS)
    good = found.strategies["good"]
    assert "A" not in found.sample.thin_classes
    for metric in ("recall_A", "bal_acc_adj"):
        assert good.image[metric].low is not None, metric
        assert good.levels["breast"][metric].low is not None, metric
        assert good.patient[metric].low is None, metric
    assert good.patient["kappa"].low is not None


def with_denser_right_breast(table, spared):
    """Label the right breasts of class A as B, but for so many patients of test."""
    of_a = (table["split"] == "test") & (table["label"] == "A")
    both = sorted(table.loc[of_a, "patient"].unique())[:spared]
    denser = of_a & (table["laterality"] == "R") & ~table["patient"].isin(both)
    return table.assign(label=table["label"].mask(denser, "B"))


def with_few_a(arm, patients, label="A"):
    """Leave so many patients of a class in test, whose patients are of one class each."""
    table = arm.predictions
    of_class = (table["split"] == "test") & (table["label"] == label)
    kept = sorted(table.loc[of_class, "patient"].unique())[:patients]
    return Arm(table[~of_class | table["patient"].isin(kept)].reset_index(drop=True))


def test_levels_count_their_own_units(result):
    sample = result.sample
    assert (sample.images, sample.breasts, sample.patients) == (160, 80, 40)
    table = comparison_table(result)
    assert list(table.columns) == ["strategy", "level", "metric", "value", "low", "high"]
    assert set(table["level"]) == {"image", "breast", "patient"}
    assert set(table["strategy"]) == set(result.arms)


def test_the_better_baseline_is_chosen_on_val(arms, baselines):
    assert choose_reference(baselines, CLASSES) == "grey_features"
    columns = [f"probability_{label}" for label in CLASSES]
    spoilt = baselines["grey_features"].predictions.copy()
    rows = spoilt["split"] == "val"
    spoilt.loc[rows, columns] = spoilt.loc[rows, columns[::-1]].to_numpy()
    others = {**baselines, "grey_features": Arm(spoilt)}
    assert choose_reference(others, CLASSES) == "intensity_histogram"
    assert choose_reference({"majority_class": baselines["majority_class"]}, CLASSES) is None


def test_three_families_are_corrected_apart(result):
    assert [(p.first, p.second, p.family) for p in result.pairs] == [
        ("good", "poor", "strategies"),
        ("good", "grey_features", "baseline"),
        ("poor", "grey_features", "baseline"),
        ("good", "majority_class", "majority"),
        ("poor", "majority_class", "majority"),
    ]
    # four tests a pair: two metrics, McNemar, DeLong
    assert result.sample.tests == {"strategies": 4, "baseline": 8, "majority": 8}
    for family in result.sample.tests:
        tests = [test for pair in result.pairs if pair.family == family for test in pair.tests]
        adjusted = false_discovery_control([test.p for test in tests])
        assert [test.p_adjusted for test in tests] == pytest.approx(list(adjusted), rel=1e-8)


def test_easy_questions_do_not_loosen_hard_ones(arms, baselines, result):
    alone = compare(arms, {}, PARAMS)
    assert alone.pairs[0].tests == result.pairs[0].tests


def test_a_clear_difference_is_shown(result):
    pair = result.pairs[0]
    found = {(test.test, test.metric): test for test in pair.tests}
    assert set(found) == {
        ("bootstrap", "kappa_quadratic"),
        ("bootstrap", "kappa"),
        ("mcnemar", "accuracy"),
        ("delong", "auc_dense"),
    }
    assert found["bootstrap", "kappa"].is_shown(0.05)
    assert pair.differences["kappa"].low > 0
    assert found["bootstrap", "kappa"].patients_needed < 40


def test_differences_are_paired_on_the_same_draws(result):
    """Two alike arms: the interval of the difference is far narrower than each one's own."""
    one = predictions("good", 1.5)
    twin = one.copy()
    flip = twin.index[(twin["split"] == "test")][:2]
    twin.loc[flip, [f"probability_{label}" for label in CLASSES]] = 0.25
    pair = compare({"one": Arm(one), "twin": Arm(twin)}, {}, PARAMS).pairs[0]
    own = result.strategies["good"].image["accuracy"]
    found = pair.differences["accuracy"]
    assert found.high - found.low < 0.5 * (own.high - own.low)


def test_an_arm_against_its_equal_differs_by_nothing():
    one = predictions("good", 1.5)
    pair = compare({"one": Arm(one), "same": Arm(one.copy())}, {}, PARAMS).pairs[0]
    for key in ("kappa", "auc_macro", "ece"):
        found = pair.differences[key]
        assert (found.value, found.low, found.high) == (0, None, None)
    assert all(test.p == 1 and test.p_adjusted == 1 for test in pair.tests)


def test_an_arm_answers_by_its_own_rule(arms):
    found = compare(
        {"likeliest": arms["poor"], "median": Arm(arms["poor"].predictions, "median")}, {}, PARAMS
    )
    one, other = (arm.image["far_error_share"].value for arm in found.strategies.values())
    assert other < one
    assert found.strategies["median"].rule == "median"


def test_the_temperature_comes_from_validation_alone(arms):
    arm = arms["good"]
    table = arm.predictions.copy()
    test_rows = table["split"] == "test"
    columns = [f"probability_{label}" for label in CLASSES]
    table.loc[test_rows, columns] = table.loc[test_rows, columns[::-1]].to_numpy()
    both = [
        compare({"one": a}, {}, PARAMS).strategies["one"].calibration for a in (arm, Arm(table))
    ]
    assert both[0].temperature == both[1].temperature
    assert both[0].reliability != both[1].reliability


def test_the_ceiling_is_the_true_classes_against_the_labels(arms):
    table = arms["good"].predictions
    truth = table[["key"]].assign(true_class=table["label"])
    slipped = table["patient"].isin(["p0001", "p0002"])
    truth.loc[slipped, "true_class"] = table["label"].map(dict(zip("ABCD", "BCDC", strict=True)))
    found = compare(arms, {}, PARAMS, truth=truth).ceiling
    test = table["split"] == "test"
    expected = cohen_kappa_score(
        table.loc[test, "label"], truth.loc[test, "true_class"], weights="quadratic"
    )
    assert found.image["kappa_quadratic"].value == pytest.approx(expected, abs=1e-8)
    assert found.patient["accuracy"].value == pytest.approx(38 / 40)
    assert found.calibration is None
    assert compare(arms, {}, PARAMS).ceiling is None
    with pytest.raises(UserError, match=r"phantom_truth\.csv: must hold every test image"):
        compare(arms, {}, PARAMS, truth=truth.iloc[:-1])


def test_groups_are_measured_apart_and_small_ones_are_not_judged(arms):
    keys = arms["good"].predictions[["key", "patient"]]
    few = set(sorted(arms["good"].of_split("test")["patient"].unique())[:4])
    groups = pd.DataFrame(
        {
            "key": keys["key"],
            "maker": ["Few" if patient in few else "Many" for patient in keys["patient"]],
            "age_band": "50-59",
        }
    )
    found = {(g.dimension, g.value): g for g in compare(arms, {}, PARAMS, groups=groups).groups}
    assert [dimension for dimension, _ in found] == [
        "maker", "maker", "age_band", "view", "view", "laterality", "laterality"
    ]  # fmt: skip
    assert (found["maker", "Few"].patients, found["maker", "Few"].strategies) == (4, {})
    assert (found["maker", "Many"].images, found["maker", "Many"].patients) == (144, 36)
    test = arms["good"].of_split("test")
    of_view = test[test["view"] == "CC"]
    answers = of_view[[f"probability_{label}" for label in CLASSES]].to_numpy().argmax(axis=1)
    right = [CLASSES[answer] for answer in answers] == of_view["label"].to_numpy()
    view = found["view", "CC"].strategies["good"]
    assert view["accuracy"].value == pytest.approx(np.mean(right))
    assert view["kappa_quadratic"].low < view["kappa_quadratic"].value
    everyone = found["age_band", "50-59"].strategies["good"]
    whole = compare(arms, {}, PARAMS).strategies["good"].image
    assert everyone["kappa"] == whole["kappa"]


def test_images_in_no_row_of_the_groups_are_unknown(arms):
    groups = pd.DataFrame({"key": [], "maker": []}, dtype=str)
    found = compare(arms, {}, PARAMS, groups=groups).groups
    assert [(g.dimension, g.value) for g in found][:1] == [("maker", "unknown")]


def test_the_result_is_plain_json_and_repeats(arms, baselines, result):
    shuffled = {
        name: Arm(arm.predictions.sample(frac=1, random_state=1)) for name, arm in arms.items()
    }
    again = compare(shuffled, baselines, PARAMS).as_values()
    assert json.dumps(again, allow_nan=False) == json.dumps(result.as_values(), allow_nan=False)
    assert again["strategies"]["good"]["patient"]["kappa"]["n_patients"] == 40


def test_too_few_dense_patients_leave_delong_without_p(arms):
    label = arms["good"].predictions["label"].replace({"C": "B", "D": "B"})
    few = {name: changed(arm, label=label) for name, arm in arms.items()}
    pair = compare(few, {}, PARAMS).pairs[0]
    delong = next(test for test in pair.tests if test.test == "delong")
    assert (delong.p, delong.p_adjusted) == (None, None)


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
        compare({"one": Arm(spoil(arms["good"].predictions))}, {}, PARAMS)


def test_arms_of_different_images_are_refused(arms):
    short = Arm(arms["poor"].predictions.iloc[1:])
    with pytest.raises(UserError, match="poor: predictions must be of the same images"):
        compare({"good": arms["good"], "poor": short}, {}, PARAMS)


def test_an_unknown_tested_metric_is_refused(arms):
    params = PARAMS.model_copy(update={"tested_metrics": ["kapa"]})
    with pytest.raises(UserError, match=r"compare\.tested_metrics: must be among .*kappa.*'kapa'"):
        compare(arms, {}, params)


def test_one_test_patient_is_refused(arms):
    table = arms["good"].predictions
    one = table[(table["split"] == "val") | (table["patient"] == "p0001")]
    with pytest.raises(UserError, match="at least 2 patients"):
        compare({"one": Arm(one)}, {}, PARAMS)
