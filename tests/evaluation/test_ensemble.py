"""The mean of several strategies, and the figures that are reported of an arm."""

import numpy as np
import pytest

from mammo.errors import UserError
from mammo.evaluation.ensemble import ENSEMBLE, evaluate_ensemble, history_header
from mammo.evaluation.params import CollapseParams, EvaluateParams
from mammo.evaluation.predictions import judge
from mammo.evaluation.reported import reported_metrics
from mammo.params import load_params
from support.made_up import predictions

COLUMNS = [f"probability_{label}" for label in "ABCD"]
PARAMS = load_params("evaluate", EvaluateParams)
COLLAPSE = load_params("collapse", CollapseParams)
FACTS = [
    {
        "trainable_parameters": 10,
        "trainable_percent": 1.0,
        "trained_prior": [0.25] * 4,
        "trained_counts": [1, 2, 3, 4],
    },
    {
        "trainable_parameters": 30,
        "trainable_percent": 3.0,
        "trained_prior": [0.1, 0.2, 0.3, 0.4],
        "trained_counts": [1, 2, 3, 4],
    },
]


def members():
    return {"one": predictions("one", 1.0), "other": predictions("other", 1.0)}


def test_the_ensemble_answers_with_the_mean_of_the_probabilities():
    tables = members()
    found = evaluate_ensemble(tables, FACTS, PARAMS, COLLAPSE)
    by_key = found.predictions.set_index("key")[COLUMNS]
    one, other = (table.set_index("key").loc[by_key.index, COLUMNS] for table in tables.values())
    np.testing.assert_allclose(by_key, (one + other) / 2)
    assert set(found.predictions["strategy"]) == {ENSEMBLE}
    assert found.metrics["members"] == ["one", "other"]
    # 10 of 1,000 and 30 of 1,000 parameters
    assert found.metrics["trainable_parameters"] == 40
    assert found.metrics["trainable_percent"] == pytest.approx(2.0)


def test_the_ensemble_is_measured_at_other_priors_too():
    tables = members()
    at_uniform = evaluate_ensemble(tables, FACTS, PARAMS, COLLAPSE).metrics["by_prior"]
    # the first was trained at uniform shares, the second at 1 : 2 : 3 : 4
    one, other = (table.sort_values(["split", "key"]) for table in tables.values())
    moved = other[COLUMNS] / [0.1, 0.2, 0.3, 0.4]
    mean = (one[COLUMNS] + moved.div(moved.sum(axis=1), axis=0)) / 2
    test = one["split"] == "test"
    answers = mean[test].to_numpy().argmax(axis=1)
    right = one.loc[test, "label"].map("ABCD".index).to_numpy()
    assert at_uniform["uniform"]["accuracy"] == pytest.approx((answers == right).mean())
    same = PARAMS.model_copy(update={"prior": "uniform"})  # the tables are at it already
    there = evaluate_ensemble(tables, FACTS, same, COLLAPSE).metrics
    assert there["by_prior"]["uniform"]["accuracy"] == there["accuracy"]


def test_members_of_other_images_are_refused():
    tables = members()
    tables["other"] = tables["other"].iloc[1:]
    with pytest.raises(UserError, match="other: predictions must be of the same images"):
        evaluate_ensemble(tables, FACTS, PARAMS, COLLAPSE)


def test_what_was_not_trained_has_a_history_with_a_header_alone():
    header = history_header("ABCD")
    assert len(header) == 0
    assert {"epoch", "split", "loss", "kappa", "predicted_share_D", "status"} <= set(header)


def report_of(classes, table):
    found = judge("one", table, table[[f"probability_{c}" for c in classes]].to_numpy(),
                  classes, PARAMS, COLLAPSE)  # fmt: skip
    trained = {"best_epoch": 3, "trainable_parameters": 5, "trainable_percent": 0.1}
    by_prior = {prior: {"kappa_quadratic": 0.5} for prior in ("uniform", "train")}
    metrics = {**found.metrics, **trained, "parameters": "0123", "by_prior": by_prior}
    return reported_metrics("one", metrics, found.predictions, classes), found


def test_the_report_has_every_level_and_about_forty_keys():
    found, judged = report_of("ABCD", predictions("one", 1.0))
    assert len(found) <= 42
    assert list(found)[:3] == ["strategy", "status", "parameters"]
    for key in ("kappa_patient", "kappa_quadratic_patient", "kappa_breast", "kappa_dense"):
        assert found[key] == judged.metrics[key]
    assert found["val_kappa_patient"] != found["kappa_patient"]
    assert found["kappa_quadratic_train_prior"] == 0.5
    assert all(isinstance(value, (str, int, float, type(None))) for value in found.values())


def test_two_classes_report_nothing_twice():
    table = predictions("one", 1.0)
    table["probability_AB"] = table["probability_A"] + table["probability_B"]
    table["probability_CD"] = 1 - table["probability_AB"]
    table["label"] = table["label"].map({"A": "AB", "B": "AB", "C": "CD", "D": "CD"})
    found, _ = report_of(["AB", "CD"], table.drop(columns=COLUMNS))
    assert not {"kappa_dense", "auc_dense"} & set(found)
