"""Judge all runs: studies/collapse/epochs -> runs.csv, results.{json,md}, ladder.png.

All beside this file. No number in results.md is typed by hand.
"""

from pathlib import Path

from mammo.figures.style import write_png
from mammo.stage import run_stage
from mammo.storage.files import write_json, write_table, write_text
from studies.collapse.ladder.figure import draw_ladder
from studies.collapse.ladder.page import page, results
from studies.collapse.ladder.records import load_ladder, read_epochs
from studies.collapse.ladder.rules import judged_by, pipeline_rule

STUDY = Path("studies/collapse")


def main() -> None:
    """Run the stage."""
    ladder = load_ladder(STUDY / "params.yaml")
    epochs = read_epochs(STUDY / "epochs", list(ladder.steps))
    runs = judged_by(epochs, pipeline_rule(ladder.detector), ladder)
    found = results(epochs, ladder)
    write_table(runs, STUDY / "runs.csv")
    write_json(found, STUDY / "results.json")
    write_text(page(found, ladder), STUDY / "results.md")
    write_png(draw_ladder(runs, ladder), STUDY / "ladder.png")


if __name__ == "__main__":
    run_stage(main)
