"""Evaluate a strategy as it would be deployed: data/tensors -> metrics/evaluate/S.json.

Writes plots/evaluation/S/ too. Whole network from pixels, never the stored features; the suffix
that training kept, from models/S/, and for val one that wasn't fitted on val.
"""

import sys

import numpy as np

from mammo import paths
from mammo.cohort.cases import read_cases
from mammo.evaluation.inference import predict_cases
from mammo.evaluation.model import load_by_split
from mammo.evaluation.params import CollapseParams, EvaluateParams
from mammo.evaluation.predictions import evaluate
from mammo.network.devices import start
from mammo.network.params import BackboneParams, ComputeParams
from mammo.params import load_params
from mammo.stage import run_stage
from mammo.storage.digests import file_sha256
from mammo.storage.files import read_json, read_table, whole_folder, write_json, write_table
from mammo.storage.keys import require_same


def main() -> None:
    """Run the stage for the strategy named on the command line."""
    name = sys.argv[1]
    params = load_params("evaluate", EvaluateParams)
    compute = load_params("compute", ComputeParams)
    devices = start(compute)
    backbone = load_params("backbone", BackboneParams)
    models = load_by_split(paths.MODELS / name, paths.BACKBONE, backbone)
    cases = read_cases(paths.IMAGES, paths.LABELS, paths.SPLITS)
    index = read_table(paths.TENSOR_INDEX)
    require_same(paths.SPLITS, cases["key"], paths.TENSOR_INDEX, index["key"])
    cases = cases[cases["split"].isin(["val", "test"])].sort_values(["split", "key"])
    probabilities = np.empty((len(cases), len(models["test"].classes)))
    for split, model in models.items():
        asked = (cases["split"] == split).to_numpy()
        keys = list(cases.loc[asked, "key"])
        probabilities[asked] = predict_cases(model, paths.TENSORS, keys, params, compute, devices)
    collapse = load_params("collapse", CollapseParams)
    facts = {split: model.facts for split, model in models.items()}
    evaluated = evaluate(name, cases, probabilities, facts, params, collapse)
    metrics = {**evaluated.metrics, **read_json(paths.PARAMETERS / f"{name}.json")}
    with whole_folder(paths.EVALUATION_PLOTS / name, manifest=True) as folder:
        write_table(evaluated.predictions, folder / "predictions.csv")
        write_json(metrics, folder / "metrics.json")  # beside them, for stage plot
    write_json(metrics, paths.EVALUATE_METRICS / f"{name}.json")
    # stage `ensemble` can't depend on a folder that it writes into: this vouches for the table
    table = paths.EVALUATION_PLOTS / name / "predictions.csv"
    write_json({"predictions_sha256": file_sha256(table)}, paths.ANSWERS / f"{name}.json")


if __name__ == "__main__":
    run_stage(main)
