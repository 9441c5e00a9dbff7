"""Gather the seconds of the trainings: studies/architectures/timing -> timing.csv beside it."""

import pandas as pd

from mammo import paths
from mammo.params import load_leaf, load_params
from mammo.stage import run_stage
from mammo.storage.files import read_json, write_table
from studies.cells.params import ArchitecturesParams, study_params

HERE = paths.STUDIES / "architectures"


def main() -> None:
    """Run the stage."""
    study = load_params("architectures", ArchitecturesParams, study_params("architectures"))
    rows = [
        {"architecture": arch, "strategy": name, **read_json(HERE / "timing" / f"{folder}.json")}
        for folder, (arch, name) in study.runs(load_leaf("backbone.arch", str)).items()
    ]
    write_table(pd.DataFrame(rows), HERE / "timing.csv")


if __name__ == "__main__":
    run_stage(main)
