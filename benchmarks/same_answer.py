"""Hold the fast path's metrics against the plain path's; write benchmarks/same_answer.md.

Fast: bfloat16, BatchNorm folded into the prefix, stored views. Plain: float32, no folding, nothing
stored on disk, a fresh view of every image in every epoch. Both train the same strategies on the
data that `dvc repro` made, with five `train.seed`s; each path's best epoch is then judged on the
test split as it would be deployed, from pixels.

    PYTHONPATH=src python benchmarks/same_answer.py                       (about 15 minutes)
    PYTHONPATH=src python benchmarks/same_answer.py --strategies full     (replaces this one)
"""

import argparse
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from mammo import paths
from mammo.cohort.cases import read_cases
from mammo.embedding.augment import Augmentation
from mammo.embedding.sources import FreshViews, Pixels, StoredViews
from mammo.evaluation.inference import predict
from mammo.evaluation.metrics import classification_metrics
from mammo.network.compute import compute_dtype
from mammo.network.devices import start_fabric
from mammo.network.strategies import Suffix, fold_batchnorm
from mammo.storage.files import read_json, write_json, write_text
from mammo.storage.tensors import Tensors
from mammo.training.job import Job
from mammo.training.loop import train
from mammo.training.settings import load_recipe
from mammo.training.trial import Stored, Trial, prepare

# (all, warm-up): those of params.yaml, but for `full`, which would take half an hour.
EPOCHS = {"head_only": (30, 0), "last_block": (10, 2), "full": (4, 1)}
SEEDS = (0, 1, 2, 3, 4)
METRICS = ("kappa", "bal_acc_adj")
BATCH_SIZE = 64
RESULTS = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).with_suffix(".md")


# ---- one training


def trial_of(strategy: str, seed: int, precision: str, data: Path) -> tuple[Trial, np.ndarray]:
    """Prepare a training with the settings of params.yaml, a seed, a precision, fewer epochs.

    Its head begins from chance, so that the two ways train alike.

    Returns:
        The trial, and the positions of the test images.
    """
    recipe = load_recipe(strategy)
    epochs, warmup = EPOCHS[strategy]
    changes = {"head": "gradient", "epochs": epochs, "warmup_epochs": warmup}
    recipe = replace(
        recipe,
        strategy=recipe.strategy.model_copy(update=changes),
        train=recipe.train.model_copy(update={"seed": seed}),
        compute=recipe.compute.model_copy(update={"precision": precision}),
    )
    backbone = data / paths.BACKBONE.relative_to(paths.DATA)
    stored = Stored(backbone, data / "embeddings" / strategy, data / "tensors")
    cases = read_cases(*(data / f"{name}.csv" for name in ("images", "labels", "splits")))
    trial = prepare(recipe, stored, cases, start_fabric(recipe.compute))
    splits = cases.set_index("key").reindex(Tensors(stored.tensors).keys)["split"]
    return trial, np.flatnonzero(splits == "test")


def train_best(job: Job, suffix: Suffix) -> None:
    """Train, and leave the best epoch's state in the suffix."""
    suffix.load_state_dict(train(job, suffix).best.state)


def judge(logits: Tensor, labels: np.ndarray, classes: list[str]) -> dict[str, float]:
    """Measure the logits of the test images."""
    metrics = classification_metrics(labels, logits.softmax(dim=1).numpy(), classes)
    return {name: float(metrics[name] or 0) for name in METRICS}


def run_fast(strategy: str, seed: int, data: Path) -> dict[str, Any]:
    """Train from stored views in bfloat16; judge from pixels, and compare with stored activations.

    Returns:
        The test metrics, and of how many images both paths to the cut give the same class.
    """
    trial, test = trial_of(strategy, seed, "bfloat16", data)
    suffix, job = trial.network.suffix, trial.job
    train_best(job, suffix)
    dtype, images = compute_dtype(job.recipe.compute), Tensors(data / "tensors")
    prefix = fold_batchnorm(trial.network.prefix, dtype).to(job.fabric.device)
    everything = np.arange(len(images))
    deployed = predict(suffix, Pixels(images, prefix, dtype), everything, job.fabric, BATCH_SIZE)
    fold = job.fold
    found: dict[str, Any] = {"fast": judge(deployed[test], fold.labels[test], fold.classes)}
    if isinstance(job.source, StoredViews):
        stored = predict(suffix, job.source, everything, job.fabric, BATCH_SIZE)
        found["same_class"] = int((stored.argmax(dim=1) == deployed.argmax(dim=1)).sum())
        found["images"] = len(images)
    return found


def run_plain(strategy: str, seed: int, data: Path) -> dict[str, float]:
    """Train through the whole network in float32 with fresh views; return the test metrics."""
    trial, test = trial_of(strategy, seed, "float32", data)
    recipe, fabric = trial.recipe, trial.job.fabric
    prefix, augmentation = trial.network.prefix.to(fabric.device), Augmentation(recipe.augment)
    fresh = FreshViews(Tensors(data / "tensors"), prefix, torch.float32, augmentation)
    job = replace(trial.job, source=fresh)
    train_best(job, trial.network.suffix)
    logits = predict(trial.network.suffix, fresh, test, fabric, BATCH_SIZE)
    return judge(logits, job.fold.labels[test], job.fold.classes)


def interval(differences: list[float]) -> tuple[float, float]:
    """Mean and half width of the 95 % interval of paired differences.

    Source: Student 1908; t with n - 1 degrees of freedom.
    """
    n = len(differences)
    spread = float(np.std(differences, ddof=1))
    return float(np.mean(differences)), float(stats.t.ppf(0.975, n - 1)) * spread / math.sqrt(n)


def page(results: dict[str, dict[str, Any]]) -> str:
    """Set the results in Markdown."""
    lines = [
        "# The same answer, fast or plain",
        "",
        "Written by `PYTHONPATH=src python benchmarks/same_answer.py`. Test split of the phantom, "
        f"best epoch by val, mean of {len(SEEDS)} seeds (`train.seed`: initial head, order, "
        "dropout, views). The difference is fast - plain, seed by seed, with Student's 95 % "
        f"interval of its mean ({len(SEEDS) - 1} degrees of freedom).",
        "",
        "| strategy | epochs | metric | plain | fast | difference | 95 % interval | holds 0 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for strategy, (epochs, _) in EPOCHS.items():
        runs = [results[f"{strategy} {seed}"] for seed in SEEDS]
        for metric in METRICS:
            plain, fast = ([run[path][metric] for run in runs] for path in ("plain", "fast"))
            mean, half = interval([f - p for f, p in zip(fast, plain, strict=True)])
            low, high = mean - half, mean + half
            holds = "yes" if low <= 0 <= high else "NO"
            lines.append(
                f"| {strategy} | {epochs} | {metric} | {np.mean(plain):.3f} | {np.mean(fast):.3f} "
                f"| {mean:+.3f} | {low:+.3f} to {high:+.3f} | {holds} |"
            )
    lines += [
        "",
        "The deployed path (pixels, folded prefix) against the embedded path (stored clean view), "
        "the same trained suffix:",
        "",
        "| strategy | same class | images, all seeds | share |",
        "|---|---|---|---|",
    ]
    for strategy in EPOCHS:
        runs = [results[f"{strategy} {seed}"] for seed in SEEDS]
        if "same_class" in runs[0]:
            same, images = (sum(run[key] for run in runs) for key in ("same_class", "images"))
            lines.append(f"| {strategy} | {same} | {images} | {same / images:.2%} |")
        else:
            lines.append(f"| {strategy} | – | – | nothing is stored: there is one path only |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the seeds asked for, keep each result at once, and write the page once all are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=paths.DATA, help="made by dvc repro")
    parser.add_argument("--seeds", type=int, nargs="+", choices=SEEDS, default=SEEDS)
    parser.add_argument("--strategies", nargs="+", choices=EPOCHS, default=list(EPOCHS))
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    results: dict[str, dict[str, Any]] = read_json(RESULTS) if RESULTS.exists() else {}
    for strategy in arguments.strategies:
        for seed in arguments.seeds:
            found = run_fast(strategy, seed, arguments.data)
            found["plain"] = run_plain(strategy, seed, arguments.data)
            results[f"{strategy} {seed}"] = found
            write_json(results, RESULTS)
            print(strategy, seed, found, flush=True)
    if all(f"{strategy} {seed}" in results for strategy in EPOCHS for seed in SEEDS):
        write_text(page(results), PAGE)
        print(page(results))


if __name__ == "__main__":
    main()
