"""Put the networks together: studies/architectures/data/cells -> results.{json,md}, forest.png."""

from mammo.comparison.params import CompareParams
from mammo.figures.style import write_png
from mammo.params import load_leaf, load_params
from mammo.stage import run_stage
from mammo.storage.files import write_json, write_text
from studies.architectures.page import architectures_page
from studies.cells.params import STUDIES, ArchitecturesParams, study_params
from studies.pages.figure import forest
from studies.pages.pooling import Runs, mean_of, read_cells
from studies.pages.repeats import compare_repeats
from studies.pages.results import Question
from studies.pages.wording import as_values, subject_of

HERE = STUDIES / "architectures"
TESTED = ("kappa_quadratic", "kappa_quadratic_patient")


def main() -> None:
    """Run the stage."""
    study = load_params("architectures", ArchitecturesParams, study_params("architectures"))
    params = load_params("compare", CompareParams)
    cells = {name: read_cells([HERE / "data" / "cells" / name]) for name in study.networks}
    judged, rules, facts = {}, {}, {}
    for network, found in cells.items():
        for name in study.strategies:
            arm = f"{network} {name}"
            judged[arm] = {"split": found.tables[name]}
            facts[arm] = {"split": found.facts[name]}
            rules[arm] = Runs({}, facts[arm]).rule
    first = next(iter(study.networks))
    asked = [
        Question(f"{network} {name}", f"{first} {name}")
        for name in study.strategies
        for network in list(cells)[1:]
    ]
    if len(cells) > 1:
        for name in study.strategies:
            judged[f"all {name}"] = mean_of([judged[f"{network} {name}"] for network in cells])
            asked.append(Question(f"all {name}", f"{first} {name}"))
    result = compare_repeats(judged, asked, TESTED, params, rules)
    subject = subject_of(load_leaf("dataset.name", str), load_leaf("dataset.root", str))
    write_json({**as_values(result), "runs": facts}, HERE / "results.json")
    write_png(forest(result, TESTED, f"{first} {study.strategies[0]}"), HERE / "forest.png")
    write_text(architectures_page(subject, result, facts, params), HERE / "results.md")


if __name__ == "__main__":
    run_stage(main)
