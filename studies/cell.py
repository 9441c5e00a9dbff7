"""Run one cell of a study: `python -m studies.cell STUDY CELL` -> studies/STUDY/data/cells/CELL/.

A cell is what one stage of the study's dvc.yaml runs: an arm in all folds, one fold, one seed, one
architecture. Its predictions.csv says in the column `run` which training answered, its facts.json
what each training was.
"""

import sys

import pandas as pd

from mammo.params import read_params
from mammo.stage import run_stage
from mammo.storage.files import whole_folder, write_json, write_table
from studies.cells.cells import run_cell
from studies.cells.params import STUDIES
from studies.cells.plans import plan_cell


def main() -> None:
    """Run the stage for the study and the cell named on the command line."""
    study, name = sys.argv[1:]
    tables, facts = [], {}
    for run, plan in plan_cell(study, name, read_params()).items():
        cell = run_cell(plan)
        tables.append(cell.predictions.assign(run=run))
        facts[run] = cell.facts
    with whole_folder(STUDIES / study / "data" / "cells" / name) as folder:
        write_table(pd.concat(tables, ignore_index=True), folder / "predictions.csv")
        write_json(facts, folder / "facts.json")


if __name__ == "__main__":
    run_stage(main)
