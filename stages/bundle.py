"""Put the reported strategy into one folder that predicts by itself: models/S, … -> bundle/.

Reads data/{images,labels,splits,files}.csv, data/{tensors,weights}, data/embeddings/S,
plots/evaluation/S and metrics/evaluate/S.json.
"""

from mammo import paths
from mammo.cohort.cases import read_cases
from mammo.comparison.params import CompareParams
from mammo.evaluation.model import load_model
from mammo.network.compute import start
from mammo.params import load_leaf, load_params, read_params
from mammo.predict.evaluate import Bootstrap
from mammo.predict.making import Ingredients, make_bundle
from mammo.predict.params import BundleParams
from mammo.stage import run_stage
from mammo.storage.digests import code_sha256, file_sha256
from mammo.storage.files import read_json, read_table, whole_folder
from mammo.training.settings import load_recipe
from mammo.training.trial import Stored

CODE = (
    "mammo.dicom", "mammo.preprocess", "mammo.ingest", "mammo.network", "mammo.heads",
    "mammo.evaluation", "mammo.predict",
)  # fmt: skip
DATA = (paths.FILES, paths.LABELS, paths.SPLITS, paths.TENSOR_INDEX, paths.BACKBONE)


def main() -> None:
    """Run the stage."""
    name = load_leaf("strategy", str)
    recipe = load_recipe(name)
    compare = load_params("compare", CompareParams)
    settings = read_params()
    fabric = start(recipe.compute)
    suffix = paths.MODELS / name / "best_model.safetensors"
    probabilities = {f"probability_{label}": float for label in recipe.classes}
    given = Ingredients(
        cases=read_cases(paths.IMAGES, paths.LABELS, paths.SPLITS),
        files=read_table(paths.FILES),
        predictions=read_table(paths.EVALUATION_PLOTS / name / "predictions.csv", **probabilities),
        metrics=read_json(paths.EVALUATE_METRICS / f"{name}.json"),
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
            "data": {str(path): file_sha256(path) for path in (*DATA, suffix)},
            "code": {package: code_sha256(package) for package in CODE},
        },
    )
    with whole_folder(paths.BUNDLE) as folder:
        make_bundle(
            load_model(suffix, paths.BACKBONE, recipe.backbone),
            recipe,
            given,
            Stored(paths.BACKBONE, paths.EMBEDDINGS / name, paths.TENSORS),
            Bootstrap(compare.draws, compare.seed, compare.confidence, compare.calibration_bins),
            load_params("bundle", BundleParams).coverage,
            fabric,
            folder,
        )


if __name__ == "__main__":
    run_stage(main)
