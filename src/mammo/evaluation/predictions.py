"""From probabilities to the prediction table and its metrics, on every level."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from mammo.errors import UserError
from mammo.evaluation.collapse import assess
from mammo.evaluation.decision import RULES, Rule, change_prior, decide, prior_shares
from mammo.evaluation.levels import level_metrics, settle_patient_rule
from mammo.evaluation.metrics import Metrics, classification_metrics
from mammo.evaluation.params import CollapseParams, EvaluateParams, Prior
from mammo.storage.files import read_table

Judged = Literal["val", "test"]  # the splits that are answered
CASE = ["key", "patient", "laterality", "view", "split", "label"]


@dataclass(frozen=True)
class Answering:
    """The class shares that a network's probabilities assume.

    Attributes:
        prior: Those asked for: `as_trained`, `uniform` or `train`.
        trained: Those of the balanced training, (K,).
        counts: Training images of each class, (K,).
    """

    prior: Prior
    trained: Sequence[float]
    counts: Sequence[int]

    def assume(self, probabilities: np.ndarray, prior: Prior | None = None) -> np.ndarray:
        """Move a network's probabilities to the prior asked for: (n, K) -> (n, K)."""
        return self._move(probabilities, "as_trained", prior or self.prior)

    def reassume(self, assumed: np.ndarray, prior: Prior) -> np.ndarray:
        """Move probabilities that are at the prior asked for to another: (n, K) -> (n, K)."""
        return self._move(assumed, self.prior, prior)

    def _move(self, probabilities: np.ndarray, before: Prior, after: Prior) -> np.ndarray:
        if before == after:
            return probabilities
        return change_prior(probabilities, self._shares(before), self._shares(after))

    def _shares(self, prior: Prior) -> np.ndarray:
        if prior == "as_trained":
            return np.asarray(self.trained, dtype=np.float64)
        return prior_shares(prior, self.counts)


def choose_rule(
    labels: np.ndarray, probabilities: np.ndarray, decision: str
) -> Literal["argmax", "median"]:
    """Settle `auto`: the rule of higher quadratic kappa on these images; argmax where equal.

    Args:
        labels: (n,) positions.
        probabilities: (n, K).
        decision: argmax, median or auto.
    """
    if decision != "auto":
        return "median" if decision == "median" else "argmax"
    names = [str(k) for k in range(probabilities.shape[1])]

    def kappa(rule: Rule) -> float:
        found = classification_metrics(labels, probabilities, names, rule)
        return float(found["kappa_quadratic"] or 0)

    return max(RULES, key=kappa)


def prediction_table(
    strategy: str,
    images: pd.DataFrame,
    probabilities: np.ndarray,
    classes: Sequence[str],
    rule: Rule = "argmax",
) -> pd.DataFrame:
    """Write predictions out, one row an image.

    Args:
        strategy: The strategy's name.
        images: Columns key, patient, laterality, view, split, label; n rows.
        probabilities: (n, K).
        classes: The K class names.
        rule: How the prediction follows from the probabilities.
    """
    table = images[CASE].copy()
    table.insert(0, "strategy", strategy)
    table["prediction"] = [classes[k] for k in decide(probabilities, rule)]
    for k, label in enumerate(classes):
        table[f"probability_{label}"] = probabilities[:, k]
    return table


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a prediction table.

    Raises:
        UserError: It is missing or lacks a column.
    """
    columns = read_table(path).columns
    absent = [column for column in CASE if column not in columns]
    if absent:
        raise UserError(f"{path}: must hold the columns {', '.join(CASE)}, got no {absent[0]}")
    numbers = [column for column in columns if column.startswith("probability_")]
    return read_table(path, **dict.fromkeys(numbers, float))


def labels_and_probabilities(
    predictions: pd.DataFrame, split: str, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Take one split out of a prediction table: labels (n,) as positions, probabilities (n, K)."""
    part = predictions[predictions["split"] == split]
    labels = part["label"].map({c: k for k, c in enumerate(classes)}).to_numpy(dtype=np.int64)
    return labels, part[[f"probability_{c}" for c in classes]].to_numpy(dtype=np.float64)


def table_metrics(
    predictions: pd.DataFrame, split: str, classes: Sequence[str], rule: Rule = "argmax"
) -> Metrics:
    """Measure one split of a prediction table."""
    labels, probabilities = labels_and_probabilities(predictions, split, classes)
    return classification_metrics(labels, probabilities, classes, rule)


@dataclass(frozen=True)
class Evaluated:
    """What stage `evaluate` writes: the prediction table, and metrics/evaluate/S.json."""

    predictions: pd.DataFrame
    metrics: dict[str, Any]


def evaluate(
    name: str,
    cases: pd.DataFrame,
    probabilities: np.ndarray,
    facts: Mapping[Judged, Mapping[str, Any]],
    params: EvaluateParams,
    collapse: CollapseParams,
) -> Evaluated:
    """Turn a network's probabilities into answers, and measure those of the test split.

    A decision rule left to choose is chosen on val.

    Args:
        name: The strategy's.
        cases: Columns key, patient, laterality, view, split, label; n rows, val and test.
        probabilities: (n, K) as trained.
        facts: By split, of the network that answered it: classes, counts, prior, epoch,
            trainable_parameters, trainable_percent.
        params: The prior and the rule.
        collapse: The thresholds by which `status` is set.
    """
    deployed = facts["test"]
    classes = list(deployed["classes"])
    answering, of_val = (
        Answering(params.prior, of["prior"], of["counts"]) for of in (deployed, facts["val"])
    )
    test = (cases["split"] == "test").to_numpy()
    assumed = np.empty_like(probabilities)
    assumed[test] = answering.assume(probabilities[test])
    assumed[~test] = of_val.assume(probabilities[~test])
    judged = judge(name, cases, assumed, classes, params, collapse)
    return Evaluated(
        judged.predictions,
        {
            **judged.metrics,
            "best_epoch": deployed["epoch"],
            "trainable_parameters": deployed["trainable_parameters"],
            "trainable_percent": deployed["trainable_percent"],
            "by_prior": measure_by_prior(
                judged, lambda prior: answering.assume(probabilities[test], prior), classes
            ),
            "trained_prior": list(deployed["prior"]),
            "trained_counts": list(deployed["counts"]),
        },
    )


def judge(
    name: str,
    cases: pd.DataFrame,
    probabilities: np.ndarray,
    classes: Sequence[str],
    params: EvaluateParams,
    collapse: CollapseParams,
) -> Evaluated:
    """Turn probabilities into answers, and measure those of the test split on every level.

    Args:
        name: The arm's.
        cases: Columns key, patient, laterality, view, split, label; n rows, val and test.
        probabilities: (n, K), at the prior that is wanted.
        classes: The K class names.
        params: The rules of decision and patient.
        collapse: The thresholds by which `status` is set.
    """
    position = {label: k for k, label in enumerate(classes)}
    labels = cases["label"].map(position).to_numpy(dtype=np.int64)
    val, test = ((cases["split"] == split).to_numpy() for split in ("val", "test"))
    rule = choose_rule(labels[val], probabilities[val], params.decision)
    predictions = prediction_table(name, cases, probabilities, classes, rule)
    metrics = classification_metrics(labels[test], probabilities[test], classes, rule)
    status = assess(metrics, classes, collapse, at_end=True).status
    patient_rule = settle_patient_rule(predictions, params.patient)
    by_level = level_metrics(predictions[test], classes, patient_rule, rule)
    settled = {"decision": rule, "patient": patient_rule, "prior": params.prior}
    return Evaluated(
        predictions,
        {**metrics, **by_level, "status": status, "collapsed": status == "collapsed", **settled},
    )


def measure_by_prior(
    judged: Evaluated, at: Callable[[Prior], np.ndarray], classes: Sequence[str]
) -> dict[str, Metrics]:
    """Measure test once more, at other class shares than those that the answers assume.

    Args:
        judged: The answers, whose decision rule holds here too.
        at: Gives test's probabilities (n, K) at a prior, in the order of the answers.
        classes: The K class names.
    """
    rule = judged.metrics["decision"]
    labels, _ = labels_and_probabilities(judged.predictions, "test", classes)
    priors: tuple[Prior, ...] = ("uniform", "train")
    return {p: _short(classification_metrics(labels, at(p), classes, rule)) for p in priors}


def _short(metrics: Metrics) -> Metrics:
    keys = ("accuracy", "kappa", "kappa_quadratic", "bal_acc_adj", "max_predicted_share")
    return {key: metrics[key] for key in keys}
