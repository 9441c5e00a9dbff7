"""A page to look at images, answers, maps and doubtful labels: bundle/, … -> data/review/.

Reads data/{images,labels,splits,files}.csv, data/tensors, data/embeddings/S (of an ensemble, each
member's), the answers of the reported strategy and the corrections made so far.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from mammo import paths
from mammo.cohort.cases import read_cases
from mammo.errors import UserError
from mammo.network.devices import start
from mammo.network.params import ComputeParams
from mammo.pages.params import ReviewParams
from mammo.pages.review import write_review
from mammo.params import load_leaf, load_params
from mammo.predict.bundle import read_bundle
from mammo.predict.cross_fitting import load_solving, stored_of
from mammo.predict.reviewing import Tables, read_corrections, review
from mammo.stage import run_stage
from mammo.storage.digests import code_sha256
from mammo.storage.files import read_table, whole_folder

logger = logging.getLogger("review")


def main() -> None:
    """Run the stage."""
    name = load_leaf("strategy", str)
    solving = load_solving()
    bundle = read_bundle(paths.BUNDLE)
    refuse_other_code(bundle.facts["sha256"]["code"])
    params = load_params("review", ReviewParams)
    probabilities = {f"probability_{label}": float for label in solving.classes}
    tables = Tables(
        cases=read_cases(paths.IMAGES, paths.LABELS, paths.SPLITS),
        files=read_table(paths.FILES),
        predictions=read_table(paths.EVALUATION_PLOTS / name / "predictions.csv", **probabilities),
        corrections=read_corrections(Path(load_leaf("dataset.corrections", str))),
    )
    devices = start(load_params("compute", ComputeParams))
    reviewed = review(bundle, solving, tables, stored_of(bundle.members), params, devices)
    with whole_folder(paths.REVIEW) as folder:
        write_review(reviewed, len(tables.cases), params, folder)
    doubtful = int((reviewed.rows["suggested"] != "").sum())
    logger.info("%d labels to check: %s", doubtful, paths.REVIEW / "labels.csv")
    logger.info("look at %s", (paths.REVIEW / "index.html").resolve().as_uri())


def refuse_other_code(noted: Mapping[str, str]) -> None:
    """Stop where a package isn't the one that made the bundle, which stands for it in dvc.lock.

    Args:
        noted: SHA-256 of each package, by its name, as the bundle has it.

    Raises:
        UserError: One of them is another now.
    """
    others = [package for package, sha256 in noted.items() if code_sha256(package) != sha256]
    if others:
        raise UserError(
            f"{paths.BUNDLE}: was made by another {', '.join(others)} than the one here; "
            "`dvc repro review` makes both anew"
        )


if __name__ == "__main__":
    run_stage(main)
