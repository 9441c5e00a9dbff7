"""Average the probabilities of the strategies named by `ensemble.strategies`, as an arm more.

Reads plots/evaluation/S of its members (data/answers holds their digests); writes what `evaluate`
writes, plots/training/ensemble with a header alone, and where a strategy has its network and its
embeddings, members.json: whose take their place. Without members there is nothing in any of them.
"""

from typing import Any

from mammo import paths
from mammo.cohort.classes import CLASSES, ClassSet
from mammo.evaluation.ensemble import ENSEMBLE, evaluate_ensemble, history_header
from mammo.evaluation.params import CollapseParams, EnsembleParams, EvaluateParams
from mammo.evaluation.predictions import read_predictions
from mammo.params import load_leaf, load_params
from mammo.stage import run_stage
from mammo.storage.digests import short_digest
from mammo.storage.files import read_json, whole_folder, write_json, write_table


def main() -> None:
    """Run the stage."""
    members = load_params("ensemble", EnsembleParams).strategies
    params = load_params("evaluate", EvaluateParams)
    collapse = load_params("collapse", CollapseParams)
    classes = load_leaf("dataset.classes", ClassSet)
    metrics: dict[str, Any] = {}
    answers = {n: read_json(paths.ANSWERS / f"{n}.json") for n in members}
    with (
        whole_folder(paths.EVALUATION_PLOTS / ENSEMBLE, manifest=True) as evaluation,
        whole_folder(paths.TRAINING_PLOTS / ENSEMBLE) as training,
        whole_folder(paths.MODELS / ENSEMBLE) as models,
        whole_folder(paths.EMBEDDINGS / ENSEMBLE) as embeddings,
    ):
        for folder in (models, embeddings):  # a digest each: what reads a member reruns with it
            write_json(answers, folder / paths.MEMBERS)
        write_table(history_header(CLASSES[classes]), training / "history.csv")
        if members:
            folders = {name: paths.EVALUATION_PLOTS / name for name in members}
            tables = {n: read_predictions(at / "predictions.csv") for n, at in folders.items()}
            facts = [read_json(at / "metrics.json") for at in folders.values()]
            evaluated = evaluate_ensemble(tables, facts, params, collapse)
            made_with = short_digest([of["parameters"] for of in facts])
            metrics = {**evaluated.metrics, "parameters": made_with}
            write_table(evaluated.predictions, evaluation / "predictions.csv")
        write_json(metrics, evaluation / "metrics.json")
    write_json(metrics, paths.EVALUATE_METRICS / f"{ENSEMBLE}.json")


if __name__ == "__main__":
    run_stage(main)
