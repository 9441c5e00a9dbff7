"""A page to look at images, answers, maps and doubtful labels: bundle/, … -> data/review/.

Reads data/{images,labels,splits,files}.csv, data/tensors, data/embeddings/S (of an ensemble, each
member's), the answers of the reported strategy and the corrections made so far.
"""

import logging
from pathlib import Path

from mammo import paths
from mammo.cohort.cases import read_cases
from mammo.network.compute import start
from mammo.network.params import ComputeParams
from mammo.pages.params import ReviewParams
from mammo.pages.review import write_review
from mammo.params import load_leaf, load_params
from mammo.predict.bundle import read_bundle
from mammo.predict.cross_fitting import load_solving, stored_of
from mammo.predict.reviewing import Tables, read_corrections, review
from mammo.stage import run_stage
from mammo.storage.files import read_table, whole_folder

logger = logging.getLogger("review")


def main() -> None:
    """Run the stage."""
    name = load_leaf("strategy", str)
    solving = load_solving()
    bundle = read_bundle(paths.BUNDLE)
    params = load_params("review", ReviewParams)
    probabilities = {f"probability_{label}": float for label in solving.classes}
    tables = Tables(
        cases=read_cases(paths.IMAGES, paths.LABELS, paths.SPLITS),
        files=read_table(paths.FILES),
        predictions=read_table(paths.EVALUATION_PLOTS / name / "predictions.csv", **probabilities),
        corrections=read_corrections(Path(load_leaf("dataset.corrections", str))),
    )
    fabric = start(load_params("compute", ComputeParams))
    reviewed = review(bundle, solving, tables, stored_of(bundle.members), params, fabric)
    with whole_folder(paths.REVIEW) as folder:
        write_review(reviewed, len(tables.cases), params, folder)
    doubtful = int((reviewed.rows["suggested"] != "").sum())
    logger.info("%d labels to check: %s", doubtful, paths.REVIEW / "labels.csv")
    logger.info("look at %s", (paths.REVIEW / "index.html").resolve().as_uri())


if __name__ == "__main__":
    run_stage(main)
