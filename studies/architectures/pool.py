"""Put the architectures together: studies/architectures/runs -> results.{json,md}, forest.png."""

from mammo import paths
from mammo.comparison.compare import compare, comparison_table
from mammo.comparison.inputs import predict_baselines, read_predictions
from mammo.comparison.params import CompareParams
from mammo.figures.evidence import forest_plot
from mammo.figures.style import write_png
from mammo.params import load_leaf, load_params
from mammo.stage import run_stage
from mammo.storage.files import read_json, read_table, write_json, write_text
from mammo.storage.tensors import Tensors
from studies.cells.pages import architectures_page, subject_of
from studies.cells.params import ArchitecturesParams, split_images, study_params
from studies.cells.pooling import cell_facts

HERE = paths.STUDIES / "architectures"


def main() -> None:
    """Run the stage."""
    study = load_params("architectures", ArchitecturesParams, study_params("architectures"))
    params = load_params("compare", CompareParams)
    runs = study.runs(load_leaf("backbone.arch", str))
    arms = {folder: f"{arch} {name}" for folder, (arch, name) in runs.items()}
    read = read_predictions(list(runs), HERE / "runs")
    tables = {arm: read[folder] for folder, arm in arms.items()}
    facts = {
        arm: cell_facts(read_json(HERE / "runs" / folder / "metrics.json"))
        for folder, arm in arms.items()
    }
    cases = split_images().merge(read_table(paths.SPLITS), on="key")
    baselines = predict_baselines(
        next(iter(tables.values())), cases, Tensors(paths.TENSORS), params.histogram
    )
    result = compare(tables, baselines, params)
    subject = subject_of(load_leaf("dataset.name", str), load_leaf("dataset.root", str))
    write_json({**result, "runs": facts}, HERE / "results.json")
    write_png(forest_plot(comparison_table(result)), HERE / "forest.png")
    write_text(architectures_page(subject, result, facts), HERE / "results.md")


if __name__ == "__main__":
    run_stage(main)
