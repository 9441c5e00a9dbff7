"""The baselines of a cross-validation: solved in every fold, the better one chosen on train."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo import paths
from mammo.cohort.params import SplitParams
from mammo.comparison.inputs import predict_baselines
from mammo.evaluation.levels import class_names
from mammo.heads.params import HeadParams
from mammo.params import parse_params
from mammo.training.params import BalancingParams, LossParams
from mammo.training.problem import Solving
from studies.pages.cases import fold_cases
from studies.pages.pooling import pool_splits


@dataclass(frozen=True)
class PooledBaselines:
    """The baselines' answers to what an arm judged.

    Attributes:
        judged: Predictions of test by baseline and by split.
        cross_fitted: Quadratic kappa on a fold's train, of answers that didn't see the patient:
            the mean over folds, by those baselines that look at the images.
    """

    judged: dict[str, dict[str, pd.DataFrame]]
    cross_fitted: dict[str, float]

    @property
    def better(self) -> str:
        """The baseline with the larger cross-fitted kappa: what is judged has no say in it."""
        return max(self.cross_fitted, key=lambda name: self.cross_fitted[name])


def pool_baselines(
    runs: Mapping[str, pd.DataFrame], images: pd.DataFrame, values: dict[str, Any], home: Path
) -> PooledBaselines:
    """Let the baselines judge what an arm judged in every fold.

    Args:
        runs: Predictions of the arm by `SPLIT-FOLD`.
        images: Every image with patient and label.
        values: All of params.yaml, as the study has it.
        home: The folder above data/.
    """
    split = parse_params("split", values["split"], SplitParams)
    head = parse_params("head", values["head"], HeadParams)
    balancing = parse_params("balancing", values["balancing"], BalancingParams)
    loss = parse_params("loss", values["loss"], LossParams)
    bins = values["compare"]["histogram"]["bins"]
    answers: dict[str, dict[str, pd.DataFrame]] = {}
    kappas = []
    for run, judged in runs.items():
        seed, fold = map(int, run.split("-"))
        cases = fold_cases(images, split, seed, fold)
        solving = Solving(list(class_names(judged)), head, balancing, loss).plain()
        found = predict_baselines(
            judged, cases, home / paths.TENSORS, bins, solving.path, head.refit
        )
        kappas.append(found.cross_fitted)
        for name, arm in found.arms.items():
            answers.setdefault(name, {})[run] = arm.predictions
    return PooledBaselines(
        {name: pool_splits(tables) for name, tables in answers.items()}, mean_over_folds(kappas)
    )


def mean_over_folds(kappas: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average each baseline's kappa over the folds."""
    return {name: float(np.mean([fold[name] for fold in kappas])) for name in kappas[0]}
