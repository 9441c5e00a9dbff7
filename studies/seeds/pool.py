"""Put the seeds together: studies/seeds/data/cells -> results.{json,md} beside this file."""

from itertools import combinations

from mammo.comparison.params import CompareParams
from mammo.params import load_leaf, load_params
from mammo.stage import run_stage
from mammo.storage.files import write_json, write_text
from studies.cells.params import STUDIES, SeedsParams, study_params
from studies.pages.pooling import read_cells
from studies.pages.repeats import compare_repeats
from studies.pages.results import Question
from studies.pages.wording import as_values, subject_of
from studies.seeds.page import seeds_page

HERE = STUDIES / "seeds"


def main() -> None:
    """Run the stage."""
    study = load_params("seeds", SeedsParams, study_params("seeds"))
    params = load_params("compare", CompareParams)
    runs = {
        name: read_cells([HERE / "data" / "cells" / f"{name}-{seed}" for seed in study.seeds])
        for name in study.strategies
    }
    result = compare_repeats(
        {name: found.tables for name, found in runs.items()},
        [Question(*pair) for pair in combinations(runs, 2)],
        params.tested_metrics,
        params,
        {name: found.rule for name, found in runs.items()},
    )
    facts = {name: found.facts for name, found in runs.items()}
    subject = subject_of(load_leaf("dataset.name", str), load_leaf("dataset.root", str))
    write_json({**as_values(result), "runs": facts}, HERE / "results.json")
    write_text(seeds_page(subject, result, facts, params), HERE / "results.md")


if __name__ == "__main__":
    run_stage(main)
