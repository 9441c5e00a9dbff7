"""Pool the folds of a cross-validation: STUDY/data/cells -> STUDY/results.{json,md}, forest.png.

`python -m studies.cross_validation.pool STUDY`, of cross_validation or real_mammograms. The
baselines are solved anew in every fold, on that fold's own train.
"""

import json
import sys
from pathlib import Path
from typing import Any

from mammo import paths
from mammo.comparison.params import CompareParams
from mammo.figures.style import write_png
from mammo.params import parse_params, read_params
from mammo.stage import run_stage
from mammo.storage.files import write_json, write_text
from studies.cells.arms import load_arms
from studies.cells.params import (
    STUDIES,
    CrossValidationParams,
    home_of,
    load_cross_validation,
    study_values,
)
from studies.cross_validation.baselines import pool_baselines
from studies.cross_validation.page import Evidence, cross_validation_page
from studies.cross_validation.questions import asked, default_strategies
from studies.pages.cases import accepted_images
from studies.pages.figure import forest
from studies.pages.pooling import Runs, mean_of, pool_splits, read_cells
from studies.pages.repeats import compare_repeats
from studies.pages.wording import as_values, rounded, subject_of

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
    baselines = pool_baselines(first, images, values, home)
    compare = parse_params("compare", values["compare"], CompareParams)
    arms, facts = load_arms(), {name: found.facts for name, found in runs.items()}
    strategies = default_strategies(arms, params.trained)
    result = compare_repeats(
        {**judged, **baselines.judged},
        asked(list(judged), params.reference, strategies, baselines.better),
        TESTED,
        compare,
        {name: found.rule for name, found in runs.items()},
    )
    evidence = Evidence(
        subject=subject_of(values["dataset"]["name"], values["dataset"]["root"]),
        result=result,
        params=params,
        compare=compare,
        arms=arms,
        baselines=baselines,
        facts=facts,
        cases=images,
        refit=values["head"]["refit"],
        ceiling=read_ceiling(values),
    )
    chosen = {"better": baselines.better, "cross_fitted": baselines.cross_fitted}
    ceiling = evidence.ceiling[TESTED[0]] if evidence.ceiling else None
    found = {**as_values(result), "baselines": rounded(chosen), "runs": facts, "ceiling": ceiling}
    write_json(found, here / "results.json")
    write_png(forest(result, TESTED, params.reference, ceiling), here / "forest.png")
    write_text(cross_validation_page(evidence), here / "results.md")


def read_runs(cells: Path, params: CrossValidationParams) -> dict[str, Runs]:
    """Read the cells of every arm, and of every strategy whose blocks train."""
    runs = {name: read_cells([cells / name]) for name in load_arms()}
    for name in params.trained:
        runs[name] = read_cells([cells / f"{name}-{fold}" for fold in params.folds])
    return runs


def read_ceiling(values: dict[str, Any]) -> dict[str, float] | None:
    """Read what an observer of the true dense share reaches, for the phantom alone."""
    if values["dataset"]["root"] != str(paths.PHANTOM):
        return None
    found: dict[str, float] = json.loads(Path("metrics/phantom.json").read_text("utf-8"))
    return found


if __name__ == "__main__":
    run_stage(main)
