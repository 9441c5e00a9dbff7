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
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from scipy import stats
from torch import Tensor

from mammo import paths
from mammo.cohort.cases import Fold, make_fold
from mammo.embedding.augment import Augmentation
from mammo.embedding.sources import FreshViews, Pixels, Source, StoredViews, open_source
from mammo.evaluation.inference import predict
from mammo.evaluation.metrics import classification_metrics
from mammo.network.compute import compute_dtype, start
from mammo.network.network import Network, build_network
from mammo.network.strategies import fold_batchnorm
from mammo.storage.files import read_json, read_table, write_json, write_text
from mammo.storage.tensors import Tensors
from mammo.training.loop import Run, train
from mammo.training.settings import Settings, load_settings

# (all, warm-up): those of params.yaml, but for `full`, which would take half an hour.
EPOCHS = {"head_only": (30, 0), "last_block": (10, 2), "full": (4, 1)}
SEEDS = (0, 1, 2, 3, 4)
METRICS = ("kappa", "bal_acc_adj")
BATCH_SIZE = 64
RESULTS = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).with_suffix(".md")


# ---- one training


def settings_of(strategy: str, seed: int, precision: str) -> Settings:
    """Take params.yaml's settings, with a seed, a precision, and the shorter training."""
    settings = load_settings(strategy)
    epochs, warmup = EPOCHS[strategy]
    shorter = {"epochs": epochs, "warmup_epochs": warmup}
    return replace(
        settings,
        strategy=settings.strategy.model_copy(update=shorter),
        train=settings.train.model_copy(update={"seed": seed}),
        compute=settings.compute.model_copy(update={"precision": precision}),
    )


def network_of(settings: Settings, data: Path) -> Network:
    """Load the backbone and cut it; the seed makes the head."""
    return build_network(
        data / paths.BACKBONE.relative_to(paths.DATA), settings.backbone, settings.cut,
        settings.classes, settings.train.dropout, settings.train.seed,
    )  # fmt: skip


def fold_of(keys: list[str], data: Path, classes: list[str]) -> tuple[Fold, np.ndarray]:
    """Read the labels; return the fold and the positions of the test images."""
    table = read_table(data / "labels.csv").merge(read_table(data / "splits.csv"), on="key")
    splits = table.set_index("key").reindex(keys)["split"]
    return make_fold(keys, table, classes), np.flatnonzero(splits == "test")


def train_best(
    settings: Settings, network: Network, source: Source, fold: Fold, fabric: Fabric
) -> None:
    """Train, and leave the best epoch's state in the network."""
    run = Run(
        settings.describe(fold, network.blocks), settings.train, settings.collapse, fold, source,
        network.suffix, fabric, record=lambda row: None,
    )  # fmt: skip
    network.suffix.load_state_dict(train(run).best.state)


def judge(logits: Tensor, labels: np.ndarray, classes: list[str]) -> dict[str, float]:
    """Measure the logits of the test images."""
    metrics = classification_metrics(labels, logits.softmax(dim=1).numpy(), classes)
    return {name: float(metrics[name] or 0) for name in METRICS}


def run_fast(strategy: str, seed: int, data: Path) -> dict[str, Any]:
    """Train from stored views in bfloat16; judge from pixels, and compare with stored activations.

    Returns:
        The test metrics, and of how many images both paths to the cut give the same class.
    """
    settings = settings_of(strategy, seed, "bfloat16")
    fabric = start(settings.compute)
    network, dtype = network_of(settings, data), compute_dtype(settings.compute)
    keys, source = open_source(
        data / "embeddings" / strategy, data / "tensors", network, settings.augment,
        settings.compute, fabric.device,
    )  # fmt: skip
    fold, test = fold_of(keys, data, settings.classes)
    train_best(settings, network, source, fold, fabric)
    prefix = fold_batchnorm(network.prefix, dtype).to(fabric.device)
    pixels = Pixels(Tensors(data / "tensors"), prefix, dtype, network.normalisation)
    everything = np.arange(len(keys))
    deployed = predict(network.suffix, pixels, everything, fabric, BATCH_SIZE)
    found: dict[str, Any] = {"fast": judge(deployed[test], fold.labels[test], fold.classes)}
    if isinstance(source, StoredViews):
        stored = predict(network.suffix, source, everything, fabric, BATCH_SIZE)
        found["same_class"] = int((stored.argmax(dim=1) == deployed.argmax(dim=1)).sum())
        found["images"] = len(keys)
    return found


class PlainViews:
    """What fresh views give at the cut in float32, kept in memory for the seeds to come.

    A view is a function of `augment.seed`, image and epoch, and so is what crosses the cut; it is
    the same for every `train.seed`, and computing it again would only cost time.
    """

    def __init__(self, fresh: FreshViews, device: torch.device):
        self.fresh = fresh
        self.device = device
        self.known: dict[tuple[int, int], np.ndarray] = {}

    def train_batch(self, positions: np.ndarray, epoch: int) -> np.ndarray:
        """Compute what isn't known of the epoch's views, and gather: (B, C, h, w) or (B, C)."""
        unknown = [int(p) for p in np.unique(positions) if (int(p), epoch) not in self.known]
        if unknown:
            where = np.array(unknown)
            views = self.fresh.train_batch(where, epoch)  # number 0 is the clean view
            crossing = self.fresh.to_cut(views, self.device).cpu().numpy()
            self.known.update({(p, epoch): one for p, one in zip(unknown, crossing, strict=True)})
        return np.stack([self.known[int(p), epoch] for p in positions])

    def clean_batch(self, positions: np.ndarray) -> np.ndarray:
        """Gather what the clean images give at the cut."""
        return self.train_batch(positions, epoch=0)

    def to_cut(self, batch: np.ndarray, device: torch.device) -> Tensor:
        """Bring it to the device, channels-last as every other source."""
        crossing = torch.from_numpy(batch).to(device)
        channels_last = crossing.ndim == 4
        return crossing.contiguous(
            memory_format=torch.channels_last if channels_last else torch.contiguous_format
        )


def run_plain(strategy: str, seeds: Sequence[int], data: Path) -> Iterator[dict[str, float]]:
    """Train through the whole network in float32 with fresh views; yield each seed's metrics."""
    tensors = Tensors(data / "tensors")
    source: Source | None = None
    for seed in seeds:
        settings = settings_of(strategy, seed, "float32")
        fabric, network = start(settings.compute), network_of(settings, data)
        if source is None:
            prefix = network.prefix.to(fabric.device)
            augmentation = Augmentation(settings.augment)
            fresh = FreshViews(tensors, prefix, torch.float32, network.normalisation, augmentation)
            source = PlainViews(fresh, fabric.device) if network.cut else fresh
        fold, test = fold_of(tensors.keys, data, settings.classes)
        train_best(settings, network, source, fold, fabric)
        logits = predict(network.suffix, source, test, fabric, BATCH_SIZE)
        yield judge(logits, fold.labels[test], fold.classes)


# ---- the page


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
        plain = run_plain(strategy, arguments.seeds, arguments.data)
        for seed, metrics in zip(arguments.seeds, plain, strict=True):
            found = {**run_fast(strategy, seed, arguments.data), "plain": metrics}
            results[f"{strategy} {seed}"] = found
            write_json(results, RESULTS)
            print(strategy, seed, found, flush=True)
    if all(f"{strategy} {seed}" in results for strategy in EPOCHS for seed in SEEDS):
        write_text(page(results), PAGE)
        print(page(results))


if __name__ == "__main__":
    main()
