"""Evaluate a strategy as deployed: data/tensors -> metrics/evaluate/S.json, plots/evaluation/S/.

Whole network from pixels, never the stored activations; the best epoch's suffix from models/S/.
"""

import sys

from mammo import paths
from mammo.evaluation.inference import predict_from_pixels
from mammo.evaluation.params import CollapseParams, EvaluateParams
from mammo.evaluation.predictions import prediction_table, test_metrics
from mammo.evaluation.suffix_file import check_backbone, load_suffix
from mammo.network.compute import compute_dtype, start
from mammo.network.network import build_network
from mammo.network.params import BackboneParams, ComputeParams
from mammo.params import load_params
from mammo.stage import run_stage
from mammo.storage.files import read_table, whole_folder, write_json, write_table
from mammo.storage.tensors import Tensors


def main() -> None:
    """Run the stage for the strategy named on the command line."""
    name = sys.argv[1]
    params = load_params("evaluate", EvaluateParams)
    path = paths.MODELS / name / "best_model.safetensors"
    state, facts = load_suffix(path)
    backbone = load_params("backbone", BackboneParams)
    compute = load_params("compute", ComputeParams)
    classes: list[str] = facts["classes"]
    network = build_network(
        paths.BACKBONE, backbone, facts["cut"], classes,
        dropout=0, seed=0, ordinal=facts["ordinal"],
    )  # fmt: skip
    check_backbone(facts, network.backbone_sha256, path)
    network.suffix.load_state_dict(state)

    fabric = start(compute)
    images = read_table(paths.IMAGES).merge(read_table(paths.LABELS), on="key")
    images = images.merge(read_table(paths.SPLITS), on="key")
    images = images[images["split"].isin(["val", "test"])].sort_values(["split", "key"])
    probabilities = predict_from_pixels(
        network, Tensors(paths.TENSORS), list(images["key"]), params, fabric, compute_dtype(compute)
    )
    predictions = prediction_table(name, images, probabilities, classes)
    facts = {**facts, "best_epoch": facts["epoch"]}
    metrics = test_metrics(predictions, classes, load_params("collapse", CollapseParams), facts)
    with whole_folder(paths.EVALUATION_PLOTS / name) as folder:
        write_table(predictions, folder / "predictions.csv")
        write_json(metrics, folder / "metrics.json")  # beside them, for stage plot
    write_json(metrics, paths.EVALUATE_METRICS / f"{name}.json")


if __name__ == "__main__":
    run_stage(main)
