"""Judge `preprocess.background: keep` and `zero` by cross-validation; -> results.{json,md}.

    PYTHONPATH=src python -m studies.background.run       (at the root, after `dvc repro`)

The reported strategy on the phantom and, where its images are, on CDD-CESM: prepared and embedded
anew both ways by the pipeline's own stages, then trained in every fold of the two studies' splits.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mammo import paths
from mammo.comparison.params import CompareParams
from mammo.comparison.wording import count, interval, number, percent, table
from mammo.params import parse_params, read_params
from mammo.stage import run_stage
from mammo.storage.files import write_json, write_text
from studies.cells.arms import overridden
from studies.cells.cells import run_cell
from studies.cells.params import (
    STUDIES,
    RealParams,
    load_cross_validation,
    study_values,
)
from studies.cells.plans import cross_validation_plans
from studies.cells.workspace import keep, run_stages, workspace
from studies.pages.pooling import pool_splits
from studies.pages.repeats import compare_repeats
from studies.pages.results import Question, Repeats
from studies.pages.wording import WORDS, as_values, differences_table
from studies.real_mammograms.prepare import KEPT

HERE = STUDIES / "background"
BACKGROUNDS = ("keep", "zero")
SUBJECTS = {"cross_validation": "Phantom", "real_mammograms": "CDD-CESM"}
TESTED = ("kappa_quadratic", "kappa_quadratic_patient")


def main() -> None:
    """Run the study."""
    values = read_params()
    compare = parse_params("compare", values["compare"], CompareParams)
    found = {}
    for study, subject in SUBJECTS.items():
        params = load_cross_validation(study)
        if isinstance(params, RealParams) and not params.images.root.exists():
            print(f"{params.images.root}: not there, so CDD-CESM is left out")
            continue
        own = study_values(values, params)
        judged = {background: judge(study, own, background) for background in BACKGROUNDS}
        found[subject] = compare_repeats(judged, [Question("zero", "keep")], TESTED, compare)
    write_json(
        {subject: as_values(result) for subject, result in found.items()}, HERE / "results.json"
    )
    write_text(page(found, values, compare), HERE / "results.md")


def judge(study: str, values: dict[str, Any], background: str) -> dict[str, pd.DataFrame]:
    """Prepare, embed, and train in every fold; return what test patients got, by split."""
    params, strategy = load_cross_validation(study), str(values["strategy"])
    changed = overridden(values, [f"preprocess.background={background}"], "background")
    shared, stages = {paths.WEIGHTS: paths.WEIGHTS}, ["preprocess", f"embed {strategy}"]
    if isinstance(params, RealParams):
        stages = ["ingest", *stages]
    else:
        given = (paths.FILES, paths.IMAGES, paths.LABELS, Path(values["dataset"]["root"]))
        shared |= {path: path for path in given}
    with tempfile.TemporaryDirectory(prefix="background-") as name:
        home = Path(name)
        with workspace(changed, shared) as made:
            run_stages(made, stages)
            keep(made, KEPT, home)
        plans = cross_validation_plans(strategy, changed, params, home)
        return pool_splits({run: run_cell(plan).predictions for run, plan in plans.items()})


def page(found: Mapping[str, Repeats], values: dict[str, Any], compare: CompareParams) -> str:
    """Write the page."""
    parts = [
        "# What lies around the breast: kept, or blackened\n",
        f"`preprocess.background`, judged by cross-validation with `{values['strategy']}`: every "
        "image is judged once a split by a head that never saw its patient. Brackets are "
        f"{percent(compare.confidence)} intervals over patients and splits. The default is "
        f"`{values['preprocess']['background']}`.\n",
    ]
    for subject, result in found.items():
        rows = [
            [f"`{name}`", *(interval(result.arms[name][metric]) for metric in TESTED)]
            for name in BACKGROUNDS
        ]
        parts += [
            f"## {subject}\n",
            f"{count(result.images, 'image')} of {count(result.patients, 'patient')}, "
            f"{count(len(result.repeats['keep']), 'split')} into folds.\n",
            table(["", *(WORDS[metric] for metric in TESTED)], rows) + "\n",
            differences_table(result.differences, compare.false_discovery_rate) + "\n",
        ]
    shown = [
        f"{subject} {number(d.value, '+')}"
        for subject, result in found.items()
        for d in result.differences
        if d.shown(compare.false_discovery_rate)
    ]
    parts.append(f"Differences shown: {', '.join(shown) or 'none'}.\n")
    return "\n".join(parts)


if __name__ == "__main__":
    run_stage(main)
