"""Put the reported strategy into one folder that predicts by itself: models/S, … -> bundle/.

Reads data/{images,labels,splits,files}.csv, data/{tensors,weights}, data/embeddings/S,
plots/evaluation/S; of an ensemble, models and embeddings of each member that models/ensemble
names.
"""

from mammo import paths
from mammo.cohort.cases import read_cases
from mammo.comparison.params import CompareParams
from mammo.evaluation.ensemble import ENSEMBLE
from mammo.evaluation.model import load_model
from mammo.network.devices import start
from mammo.network.params import BackboneParams, ComputeParams
from mammo.params import load_leaf, load_params, read_params
from mammo.predict.cross_fitting import load_solving, stored_of
from mammo.predict.evaluate import Bootstrap
from mammo.predict.making import Ingredients, make_bundle
from mammo.predict.params import BundleParams
from mammo.stage import run_stage
from mammo.storage.digests import code_sha256, file_sha256
from mammo.storage.files import read_json, read_table, whole_folder

# Noted in the bundle: `review` depends on these packages through it, and refuses any other code.
CODE = (
    "mammo.cohort", "mammo.comparison", "mammo.datasets", "mammo.dicom", "mammo.embedding",
    "mammo.evaluation", "mammo.heads", "mammo.ingest", "mammo.network", "mammo.predict",
    "mammo.preprocess", "mammo.running", "mammo.storage", "mammo.training",
)  # fmt: skip
DATA = (paths.FILES, paths.LABELS, paths.SPLITS, paths.TENSOR_INDEX, paths.BACKBONE)


def main() -> None:
    """Run the stage."""
    name = load_leaf("strategy", str)
    solving = load_solving()
    compare = load_params("compare", CompareParams)
    settings = read_params()
    devices = start(load_params("compute", ComputeParams))
    suffixes = [paths.MODELS / member / paths.BEST_MODEL for member in members_of(name)]
    backbone = load_params("backbone", BackboneParams)
    models = [load_model(suffix, paths.BACKBONE, backbone) for suffix in suffixes]
    probabilities = {f"probability_{label}": float for label in solving.classes}
    given = Ingredients(
        name=name,
        cases=read_cases(paths.IMAGES, paths.LABELS, paths.SPLITS),
        files=read_table(paths.FILES),
        predictions=read_table(paths.EVALUATION_PLOTS / name / "predictions.csv", **probabilities),
        metrics=read_json(paths.EVALUATION_PLOTS / name / "metrics.json"),
        provenance=read_json(paths.PROVENANCE),
        settings={
            "preprocess": settings["preprocess"],
            "dicom": settings["dicom"],
            "ingest": settings["ingest"],
            "evaluate": settings["evaluate"],
            "compute": settings["compute"],
            "compare": settings["compare"],
            "dataset": settings["dataset"],
        },
        digests={
            "data": {str(path): file_sha256(path) for path in (*DATA, *suffixes)},
            "code": {package: code_sha256(package) for package in CODE},
        },
    )
    with whole_folder(paths.BUNDLE) as folder:
        make_bundle(
            models,
            solving,
            given,
            stored_of(models),
            Bootstrap(compare.draws, compare.seed, compare.confidence, compare.calibration_bins),
            load_params("bundle", BundleParams).coverage,
            devices,
            folder,
        )


def members_of(name: str) -> list[str]:
    """Name the strategies whose networks answer: the strategy itself, or an ensemble's members."""
    return list(read_json(paths.MODELS / name / paths.MEMBERS)) if name == ENSEMBLE else [name]


if __name__ == "__main__":
    run_stage(main)
