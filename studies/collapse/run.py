"""Train one row of the ladder with every seed, and look at test after each epoch.

studies/collapse/data/pictures -> studies/collapse/epochs/ROW.csv
"""

import sys
from pathlib import Path

from mammo import paths
from mammo.stage import run_stage
from mammo.storage.files import write_table
from studies.collapse.ladder.bench import Bench, run_rows
from studies.collapse.ladder.rows import load_sections

STUDY = Path("studies/collapse")


def main() -> None:
    """Run the stage for the row named on the command line."""
    name = sys.argv[1]
    sections = load_sections(STUDY / "params.yaml", paths.PARAMS)
    epochs = run_rows([name], sections.seeds, Bench(STUDY / "data" / "pictures"), sections)
    write_table(epochs, STUDY / "epochs" / f"{name}.csv")


if __name__ == "__main__":
    run_stage(main)
