"""The mean of several strategies' probabilities, judged as any other arm."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mammo.errors import UserError
from mammo.evaluation.levels import class_names
from mammo.evaluation.metrics import metric_keys
from mammo.evaluation.params import CollapseParams, EvaluateParams, Prior
from mammo.evaluation.predictions import CASE, Answering, Evaluated, judge, measure_by_prior

ENSEMBLE = "ensemble"


def evaluate_ensemble(
    tables: Mapping[str, pd.DataFrame],
    facts: Sequence[Mapping[str, Any]],
    params: EvaluateParams,
    collapse: CollapseParams,
) -> Evaluated:
    """Average probabilities over the members, answer by the same rules, and measure test.

    Args:
        tables: The members' prediction tables, by name.
        facts: Of each member, its metrics/evaluate/S.json.
        params: The rules of decision and patient.
        collapse: The thresholds by which `status` is set.

    Raises:
        UserError: The members judged different images or classes.
    """
    ordered = {name: table.sort_values(["split", "key"]) for name, table in tables.items()}
    first_name, first = next(iter(ordered.items()))
    classes = class_names(first)
    for name, table in ordered.items():
        same = table[CASE].reset_index(drop=True).equals(first[CASE].reset_index(drop=True))
        if class_names(table) != classes or not same:
            raise UserError(
                f"{name}: predictions must be of the same images and classes as those of "
                f"{first_name}, got others; run `dvc repro` so that all are of one run"
            )
    columns = [f"probability_{label}" for label in classes]
    answers = np.stack([table[columns].to_numpy() for table in ordered.values()])  # (M, n, K)
    judged = judge(ENSEMBLE, first[CASE], answers.mean(axis=0), classes, params, collapse)
    on_test = answers[:, (first["split"] == "test").to_numpy()]
    answering = [Answering(params.prior, of["trained_prior"], of["trained_counts"]) for of in facts]

    def mean_at(prior: Prior) -> np.ndarray:
        each = zip(answering, on_test, strict=True)
        mean: np.ndarray = np.mean([own.reassume(p, prior) for own, p in each], axis=0)
        return mean

    trainable = [int(of["trainable_parameters"]) for of in facts]
    of_all = sum(n / of["trainable_percent"] for n, of in zip(trainable, facts, strict=True))
    return Evaluated(
        judged.predictions,
        {
            **judged.metrics,
            "best_epoch": 0,  # each member has its own
            "trainable_parameters": sum(trainable),
            "trainable_percent": round(sum(trainable) / of_all, 4),
            "by_prior": measure_by_prior(judged, mean_at, classes),
            "members": list(ordered),
        },
    )


def history_header(classes: Sequence[str]) -> pd.DataFrame:
    """Make the history of something that wasn't trained: the columns of one, and no row."""
    facts = ["strategy", "epoch", "split", "loss", "lr", "penalty"]
    return pd.DataFrame(columns=[*facts, *metric_keys(classes), "status"])
