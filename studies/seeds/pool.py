"""Put the seeds together: studies/seeds/runs -> results.{json,md} beside them."""

from mammo import paths
from mammo.comparison.inputs import read_predictions
from mammo.comparison.params import CompareParams
from mammo.params import load_leaf, load_params
from mammo.stage import run_stage
from mammo.storage.files import write_json, write_text
from studies.cells.pages import seeds_page, subject_of
from studies.cells.params import SeedsParams, study_params
from studies.cells.pooling import read_cells
from studies.cells.seed_spread import compare_over_seeds

HERE = paths.STUDIES / "seeds"


def main() -> None:
    """Run the stage."""
    study = load_params("seeds", SeedsParams, study_params("seeds"))
    params = load_params("compare", CompareParams)
    names = [f"{name}-{seed}" for name in study.strategies for seed in study.seeds]
    tables = read_predictions(names, HERE / "runs")
    by_seed = {
        name: {seed: tables[f"{name}-{seed}"] for seed in study.seeds} for name in study.strategies
    }
    result = compare_over_seeds(by_seed, params)
    cells = read_cells(HERE / "runs", study.strategies, study.seeds)
    subject = subject_of(load_leaf("dataset.name", str), load_leaf("dataset.root", str))
    write_json({**result, "runs": cells}, HERE / "results.json")
    write_text(seeds_page(subject, result, cells), HERE / "results.md")


if __name__ == "__main__":
    run_stage(main)
