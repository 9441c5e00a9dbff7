"""Made-up histories, predictions and metrics in the exact form that training and evaluation write.

The pictures' tests need results of every kind (one arm, four, two classes, a collapse) in seconds.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from mammo import paths
from mammo.evaluation.levels import level_metrics
from mammo.evaluation.metrics import classification_metrics
from mammo.figures.tables import Result
from mammo.storage.files import write_json, write_table

TRAINABLE = {
    "head_only": (8_196, 0.034851),
    "last_block": (14_972_932, 63.6706),
    "last_two_blocks": (22_071_300, 93.8556),
    "full": (23_516_228, 100.0),
}
PROPORTIONS = {2: [403, 1184], 3: [112, 104, 106], 4: [40, 363, 849, 335]}
OVERALL = ["kappa", "kappa_quadratic", "bal_acc", "bal_acc_adj", "accuracy", "auc_macro"]
OVERALL += ["macro_f1", "pred_unique", "max_predicted_share"]


def made_up_results(
    strategies: list[str], classes: list[str], epochs: int = 8, seed: int = 0
) -> dict[str, Result]:
    """Make up results; the arm `full` starts collapsed, the others learn."""
    labels = draw_labels(classes, 240, seed)
    results = {}
    for position, strategy in enumerate(strategies):
        generator = np.random.default_rng([seed, position])
        skill = 1.2 + 0.5 * position
        rows = []
        for epoch in range(1, epochs + 1):
            for split in ("train", "val"):
                progress = skill * epoch / epochs
                if strategy == "full" and epoch <= epochs // 2:
                    progress = -1.0
                probabilities = guess(labels, len(classes), progress, generator)
                rows.append(history_row(strategy, epoch, split, labels, probabilities, classes))
        predictions = [
            prediction_rows(strategy, split, labels, probabilities, classes)
            for split in ("val", "test")
            for probabilities in [guess(labels, len(classes), skill, generator)]
        ]
        metrics = {
            **classification_metrics(labels, probabilities_of(predictions[1]), classes),
            **level_metrics(predictions[1], tuple(classes), "mean", "argmax"),
            "collapsed": False,
            "status": "healthy",
            "decision": "argmax",
            "patient": "mean",
            "parameters": f"{position}123456789ab",
            "best_epoch": epochs - 1,
            "trainable_parameters": TRAINABLE.get(strategy, (1_000_000, 4.2))[0],
            "trainable_percent": TRAINABLE.get(strategy, (1_000_000, 4.2))[1],
        }
        history = as_text(pd.DataFrame(rows))
        results[strategy] = Result(history, as_text(pd.concat(predictions)), metrics)
    return results


def draw_labels(classes: list[str], n: int, seed: int) -> np.ndarray:
    shares = np.array(PROPORTIONS[len(classes)]) / sum(PROPORTIONS[len(classes)])
    labels = np.random.default_rng(seed).choice(len(classes), size=n, p=shares)
    labels[: len(classes)] = range(len(classes))
    return labels


def guess(labels: np.ndarray, k: int, skill: float, generator: np.random.Generator) -> np.ndarray:
    """Make up probabilities: neighbours are confused first; a negative skill says one class."""
    distance = np.abs(labels[:, None] - np.arange(k)[None, :])
    logits = generator.normal(0, 1, (len(labels), k)) - max(skill, 0) * distance
    if skill < 0:
        logits[:, k // 2] += 20
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def history_row(
    strategy: str,
    epoch: int,
    split: str,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: list[str],
) -> dict[str, object]:
    metrics = classification_metrics(labels, probabilities, classes)
    share, kappa = metrics["max_predicted_share"], metrics["kappa"]
    status = "collapsed" if share >= 0.99 else "warning" if kappa < 0.3 else "healthy"
    loss = -np.log(probabilities[np.arange(len(labels)), labels].clip(1e-6)).mean()
    return {
        "strategy": strategy,
        "epoch": epoch,
        "split": split,
        "loss": loss,
        "lr": 1e-3 if epoch > 2 else 1e-4,
        **{key: metrics[key] for key in OVERALL},
        **{f"predicted_share_{c}": metrics[f"predicted_share_{c}"] for c in classes},
        **{f"recall_{c}": metrics[f"recall_{c}"] for c in classes},
        "status": status if split == "val" else "",
    }


def prediction_rows(
    strategy: str,
    split: str,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: list[str],
) -> pd.DataFrame:
    names = np.array(classes)
    n = len(labels)
    return pd.DataFrame(
        {
            "strategy": strategy,
            "key": [f"{split}{i:012x}" for i in range(n)],
            "patient": [f"{i // 4:016x}" for i in range(n)],
            "laterality": np.resize(["L", "L", "R", "R"], n),
            "view": np.resize(["CC", "MLO"], n),
            "split": split,
            "label": names[labels],
            "prediction": names[probabilities.argmax(axis=1)],
            **{f"probability_{c}": probabilities[:, k] for k, c in enumerate(classes)},
        }
    )


def probabilities_of(predictions: pd.DataFrame) -> np.ndarray:
    return predictions.filter(like="probability_").to_numpy(float)


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Turn a table into what `read_table` gives: all text."""
    return table.astype(str).replace("nan", "").reset_index(drop=True)


def write_results(results: dict[str, Result], root: Path) -> None:
    """Write results where the pipeline has them, and params.yaml with their strategies."""
    for strategy, result in results.items():
        write_table(result.history, root / paths.TRAINING_PLOTS / strategy / "history.csv")
        write_table(
            result.predictions, root / paths.EVALUATION_PLOTS / strategy / "predictions.csv"
        )
        write_json(result.metrics, root / paths.EVALUATION_PLOTS / strategy / "metrics.json")
    arms = "".join(
        f"  {name}: {{head: gradient, warmup_epochs: 2, epochs: 8}}\n" for name in results
    )
    text = f"strategies:\n{arms}ensemble: {{strategies: []}}\n"
    (root / paths.PARAMS).write_text(text, encoding="utf-8")
