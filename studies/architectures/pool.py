"""Put the networks together: studies/architectures/data/cells -> results.{json,md}, forest.png."""

from typing import Any

import pandas as pd

from mammo import paths
from mammo.comparison.arms import Arm
from mammo.comparison.compare import compare, comparison_table
from mammo.comparison.inputs import predict_baselines
from mammo.comparison.params import CompareParams
from mammo.evaluation.levels import PatientRule
from mammo.figures.evidence import forest_plot
from mammo.figures.style import write_png
from mammo.heads.params import HeadParams
from mammo.params import load_leaf, load_params
from mammo.stage import run_stage
from mammo.storage.files import read_table, write_json, write_text
from studies.architectures.page import architectures_page
from studies.cells.cases import accepted_images
from studies.cells.params import STUDIES, ArchitecturesParams, study_params
from studies.cells.pooling import read_cell
from studies.cells.wording import subject_of

HERE = STUDIES / "architectures"


def main() -> None:
    """Run the stage."""
    study = load_params("architectures", ArchitecturesParams, study_params("architectures"))
    params = load_params("compare", CompareParams)
    tables: dict[str, pd.DataFrame] = {}
    facts: dict[str, Any] = {}
    for network in study.networks:
        found, of_runs = read_cell(HERE / "data/cells" / network)
        tables |= {f"{network} {name}": found[name] for name in study.strategies}
        facts |= {f"{network} {name}": of_runs[name] for name in study.strategies}
    cases = accepted_images().merge(read_table(paths.SPLITS), on="key")
    baselines = predict_baselines(
        next(iter(tables.values())),
        cases,
        paths.TENSORS,
        params.histogram.bins,
        load_params("head", HeadParams),
        load_leaf("balancing.power", float),
    )
    result = compare(
        {name: Arm(table) for name, table in tables.items()},
        baselines.arms,
        params,
        load_leaf("evaluate.patient", PatientRule),
    )
    subject = subject_of(load_leaf("dataset.name", str), load_leaf("dataset.root", str))
    write_json({**result.as_values(), "runs": facts}, HERE / "results.json")
    write_png(forest_plot(comparison_table(result)), HERE / "forest.png")
    write_text(architectures_page(subject, result, facts), HERE / "results.md")


if __name__ == "__main__":
    run_stage(main)
