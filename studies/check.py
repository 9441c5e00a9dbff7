"""Refuse a study that params.yaml can't carry out: -> data/studies/STUDY/check.txt, a constant."""

import sys

from mammo import paths
from mammo.params import read_params
from mammo.stage import run_stage
from mammo.storage.files import write_text
from studies.cells.params import check_study


def main() -> None:
    """Run the stage for the study named on the command line."""
    study = sys.argv[1]
    check_study(study, read_params())
    write_text("the study's params.yaml is sound\n", paths.STUDY_DATA / study / "check.txt")


if __name__ == "__main__":
    run_stage(main)
