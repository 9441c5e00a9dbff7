"""Refuse a study that params.yaml can't carry out: -> studies/STUDY/data/check.txt, a constant."""

import sys

from mammo.params import read_params
from mammo.stage import run_stage
from mammo.storage.files import write_text
from studies.cells.params import STUDIES, check_study


def main() -> None:
    """Run the stage for the study named on the command line."""
    study = sys.argv[1]
    check_study(study, read_params())
    write_text("the study's params.yaml is sound\n", STUDIES / study / "data" / "check.txt")


if __name__ == "__main__":
    run_stage(main)
