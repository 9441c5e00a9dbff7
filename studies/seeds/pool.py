"""Put the seeds together: studies/seeds/data/cells -> results.{json,md} beside this file."""

from dataclasses import asdict

from mammo.comparison.params import CompareParams
from mammo.params import load_leaf, load_params
from mammo.stage import run_stage
from mammo.storage.files import write_json, write_text
from studies.cells.params import STUDIES, SeedsParams, study_params
from studies.cells.pooling import read_cell
from studies.cells.seed_spread import compare_over_seeds
from studies.cells.wording import subject_of
from studies.seeds.page import seeds_page

HERE = STUDIES / "seeds"


def main() -> None:
    """Run the stage."""
    study = load_params("seeds", SeedsParams, study_params("seeds"))
    cells = {
        name: {str(seed): read_cell(HERE / "data/cells" / f"{name}-{seed}") for seed in study.seeds}
        for name in study.strategies
    }
    tables = {
        name: {int(seed): found[0][seed] for seed, found in by_seed.items()}
        for name, by_seed in cells.items()
    }
    facts = {
        name: {seed: found[1][seed] for seed, found in by_seed.items()}
        for name, by_seed in cells.items()
    }
    result = compare_over_seeds(tables, load_params("compare", CompareParams))
    subject = subject_of(load_leaf("dataset.name", str), load_leaf("dataset.root", str))
    write_json({**asdict(result), "runs": facts}, HERE / "results.json")
    write_text(seeds_page(subject, result, facts), HERE / "results.md")


if __name__ == "__main__":
    run_stage(main)
