"""From probabilities to an answer: rules and priors."""

import numpy as np
import pandas as pd
import pytest

from mammo.evaluation.decision import change_prior, decide, prior_shares
from mammo.evaluation.params import EvaluateParams
from mammo.evaluation.predictions import choose_rule, evaluate
from support.trainings import COLLAPSE

CLASSES = ["A", "B", "C", "D"]


def test_the_median_is_where_half_of_the_probability_lies():
    probabilities = np.array([[0.4, 0.05, 0.2, 0.35], [0.1, 0.6, 0.2, 0.1], [0.5, 0, 0, 0.5]])
    assert list(decide(probabilities, "argmax")) == [0, 1, 0]
    # cumulated: .4 .45 .65; .1 .7; .5
    assert list(decide(probabilities, "median")) == [2, 1, 0]
    with pytest.raises(ValueError, match="rule must be one of argmax, median"):
        decide(probabilities, "mode")


def test_a_prior_is_exchanged_by_bayes_rule():
    # odds 3 to 1 at equal shares become 3 x .2 to 1 x .8 at shares .2 and .8: .6 / 1.4
    moved = change_prior(np.array([[0.75, 0.25]]), [0.5, 0.5], np.array([0.2, 0.8]))
    assert moved == pytest.approx(np.array([[0.6 / 1.4, 0.8 / 1.4]]))
    back = change_prior(moved, [0.2, 0.8], np.array([0.5, 0.5]))
    assert back == pytest.approx(np.array([[0.75, 0.25]]))


def test_a_class_that_training_lacked_keeps_probability_0():
    shares = prior_shares("uniform", [3, 0, 1])
    assert list(shares) == [0.5, 0, 0.5]
    moved = change_prior(np.array([[0.5, 0.0, 0.5]]), [0.75, 0, 0.25], shares)
    assert moved[0].tolist() == pytest.approx([0.25, 0, 0.75])
    assert list(prior_shares("train", [3, 0, 1])) == [0.75, 0, 0.25]


def test_auto_takes_the_rule_of_higher_quadratic_kappa_on_val():
    labels = np.array([0, 1, 2, 3])
    spread = np.array([[0.9, 0.1, 0, 0], [0.4, 0.3, 0.3, 0], [0, 0.3, 0.3, 0.4], [0, 0, 0, 1]])
    assert choose_rule(labels, spread, "auto") == "median"
    assert choose_rule(labels, np.eye(4), "auto") == "argmax"
    assert choose_rule(labels, spread, "argmax") == "argmax"


def cases():
    labels = ["A", "B", "C", "D"] * 4
    return pd.DataFrame(
        {
            "key": [f"k{n}" for n in range(16)], "patient": [f"p{n}" for n in range(16)],
            "laterality": "L", "view": "CC", "split": ["val"] * 8 + ["test"] * 8, "label": labels,
        }
    )  # fmt: skip


def test_test_metrics_name_rule_and_prior_and_report_the_other_priors():
    probabilities = np.full((16, 4), 0.1)
    probabilities[np.arange(16), np.tile(np.arange(4), 4)] = 0.7
    facts = {
        "classes": CLASSES, "prior": [0.25] * 4, "counts": [1, 1, 1, 97], "epoch": 5,
        "trainable_parameters": 7, "trainable_percent": 0.1,
    }  # fmt: skip
    of_both = {"val": facts, "test": facts}
    params = EvaluateParams(
        batch_size=1, test_time_flip=False, decision="auto", prior="as_trained", patient="denser"
    )
    evaluated = evaluate("mine", cases(), probabilities, of_both, params, COLLAPSE)
    assert evaluated.metrics["kappa"] == 1 and evaluated.metrics["status"] == "healthy"
    assert (evaluated.metrics["decision"], evaluated.metrics["prior"]) == ("argmax", "as_trained")
    assert evaluated.metrics["by_prior"]["uniform"]["kappa"] == 1
    # at the training shares everything is D: 97 x .1 against 1 x .7
    assert evaluated.metrics["by_prior"]["train"]["max_predicted_share"] == 1
    assert list(evaluated.predictions["prediction"]) == list(cases()["label"])
    natural = params.model_copy(update={"prior": "train"})
    at_train = evaluate("mine", cases(), probabilities, of_both, natural, COLLAPSE)
    assert set(at_train.predictions["prediction"]) == {"D"}
    assert at_train.metrics["status"] == "collapsed"


def test_each_split_is_moved_from_the_prior_of_the_network_that_answered_it():
    """Val's was trained as the patients are; test's, on all classes alike."""
    probabilities = np.full((16, 4), 0.1)
    probabilities[np.arange(16), np.tile(np.arange(4), 4)] = 0.7
    facts = {
        "classes": CLASSES, "counts": [1, 1, 1, 97], "epoch": 5, "trainable_parameters": 7,
        "trainable_percent": 0.1,
    }  # fmt: skip
    of_both = {
        "val": {**facts, "prior": [0.01, 0.01, 0.01, 0.97]},
        "test": {**facts, "prior": [0.25] * 4, "epoch": 6},
    }
    params = EvaluateParams(
        batch_size=1, test_time_flip=False, decision="argmax", prior="train", patient="denser"
    )
    evaluated = evaluate("mine", cases(), probabilities, of_both, params, COLLAPSE)
    answers = evaluated.predictions.groupby("split")["prediction"].unique()
    assert set(answers["val"]) == set(CLASSES) and set(answers["test"]) == {"D"}
    assert evaluated.metrics["best_epoch"] == 6
