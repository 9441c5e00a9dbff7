"""Pool the folds of a cross-validation: STUDY/data/cells -> STUDY/results.{json,md}, forest.png.

`python -m studies.cross_validation.pool STUDY`, of cross_validation or real_mammograms. The
baselines are solved anew in every fold, on that fold's own train.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from mammo import paths
from mammo.cohort.params import SplitParams
from mammo.comparison.inputs import predict_baselines
from mammo.comparison.params import CompareParams
from mammo.figures.style import write_png
from mammo.heads.params import HeadParams
from mammo.params import parse_params, read_params
from mammo.stage import run_stage
from mammo.storage.files import write_json, write_text
from studies.cells.arms import load_arms
from studies.cells.cases import accepted_images, fold_cases
from studies.cells.figure import forest
from studies.cells.params import (
    STUDIES,
    CrossValidationParams,
    home_of,
    load_cross_validation,
    study_values,
)
from studies.cells.pooling import Runs, mean_of, pool_splits, read_cells
from studies.cells.repeats import compare_repeats
from studies.cells.wording import as_values, subject_of
from studies.cross_validation.page import Evidence, cross_validation_page

TESTED = ("kappa_quadratic", "kappa_quadratic_patient")


def main() -> None:
    """Run the stage for the study named on the command line."""
    study = sys.argv[1]
    here, params = STUDIES / study, load_cross_validation(study)
    values, home = study_values(read_params(), params), home_of(study)
    runs = read_runs(here / "data" / "cells", params)
    images = accepted_images(home)
    judged = {name: pool_splits(found.tables) for name, found in runs.items()}
    judged |= {
        name: mean_of([judged[member] for member in members])
        for name, members in params.ensembles.items()
    }
    first = next(iter(runs.values())).tables
    judged |= pool_baselines(first, images, values, home)
    compare = parse_params("compare", values["compare"], CompareParams)
    baselines = [name for name in judged if name not in runs and name not in params.ensembles]
    result = compare_repeats(
        judged,
        asked(list(judged), params.reference, baselines),
        TESTED,
        compare,
        {name: found.rule for name, found in runs.items()},
    )
    evidence = Evidence(
        subject=subject_of(values["dataset"]["name"], values["dataset"]["root"]),
        result=result,
        params=params,
        compare=compare,
        arms=load_arms(),
        baselines=baselines,
        facts={name: found.facts for name, found in runs.items()},
        cases=images,
        refit=values["head"]["refit"],
        ceiling=read_ceiling(values),
    )
    facts = {name: found.facts for name, found in runs.items()}
    ceiling = evidence.ceiling[TESTED[0]] if evidence.ceiling else None
    write_json({**as_values(result), "runs": facts, "ceiling": ceiling}, here / "results.json")
    write_png(forest(result, TESTED, params.reference, ceiling), here / "forest.png")
    write_text(cross_validation_page(evidence), here / "results.md")


def read_runs(cells: Path, params: CrossValidationParams) -> dict[str, Runs]:
    """Read the cells of every arm, and of every strategy whose blocks train."""
    runs = {name: read_cells([cells / name]) for name in load_arms()}
    for name in params.trained:
        runs[name] = read_cells([cells / f"{name}-{fold}" for fold in params.folds])
    return runs


def pool_baselines(
    runs: dict[str, pd.DataFrame], images: pd.DataFrame, values: dict[str, Any], home: Path
) -> dict[str, dict[str, pd.DataFrame]]:
    """Let the baselines judge what an arm judged in every fold: by baseline, by split."""
    split = parse_params("split", values["split"], SplitParams)
    head = parse_params("head", values["head"], HeadParams)
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for run, judged in runs.items():
        seed, fold = map(int, run.split("-"))
        cases = fold_cases(images, split, seed, fold)
        arms = predict_baselines(
            judged, cases, home / paths.TENSORS, values["compare"]["histogram"]["bins"], head,
            values["balancing"]["power"],
        ).arms  # fmt: skip
        for name, arm in arms.items():
            found.setdefault(name, {})[run] = arm.predictions
    return {name: pool_splits(tables) for name, tables in found.items()}


def asked(names: list[str], reference: str, baselines: list[str]) -> list[tuple[str, str]]:
    """List what to test: every arm less the reference, the reference less each baseline."""
    arms = [name for name in names if name != reference and name not in baselines]
    return [(reference, name) for name in baselines] + [(name, reference) for name in arms]


def read_ceiling(values: dict[str, Any]) -> dict[str, float] | None:
    """Read what an observer of the true dense share reaches, for the phantom alone."""
    if values["dataset"]["root"] != str(paths.PHANTOM):
        return None
    found: dict[str, float] = json.loads(Path("metrics/phantom.json").read_text("utf-8"))
    return found


if __name__ == "__main__":
    run_stage(main)
