"""Run rows of the ladder: the pipeline's own training, with a look at test after every epoch.

The detector sees val alone, as in the pipeline; the truth that it is judged by comes from patients
whom neither training nor detector sees.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mammo import paths
from mammo.embedding.sources import Batch, Pixels
from mammo.evaluation.inference import predict
from mammo.evaluation.metrics import Metrics, classification_metrics
from mammo.network.devices import Devices
from mammo.network.strategies import Crossing, Suffix
from mammo.storage.files import read_table
from mammo.training.history import Row
from mammo.training.settings import Recipe
from mammo.training.trial import Stored, Trial, prepare, run_trial, start_alone
from studies.collapse.ladder.names import EMBEDDED
from studies.collapse.ladder.rows import CLASSES, RowParams, Sections, draw_cases

WORKERS = 2  # processes of one thread each
JUDGED = {"bal_acc_adj": "bal_acc_adj", "kappa": "kappa", "share": "max_predicted_share"}


class DriftingSuffix(Suffix):
    """All blocks, of which the first few are frozen as is often done: by `requires_grad` alone.

    `train()` reaches them too, so their BatchNorm goes on to average what it sees. The pipeline's
    own `Prefix` can't do that; this class is there to show what it spares us.
    """

    def __init__(self, blocks: Any, head: nn.Module, reads: Any, held: int):
        self.held = held
        super().__init__(blocks, head, reads)

    def held_blocks(self) -> list[nn.Module]:
        """List the blocks without gradients."""
        return list(self.blocks.values())[: self.held]

    def release(self) -> None:
        """Release all blocks but the held ones."""
        super().release()
        for block in self.held_blocks():
            block.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Switch every block to train mode, held or not."""
        return nn.Module.train(self, mode)


class PlainViews:
    """Images without augmentation; what crosses the cut is computed once."""

    def __init__(self, pixels: Pixels, device: torch.device):
        every = np.array_split(np.arange(len(pixels.tensors)), 1 + len(pixels.tensors) // 64)
        crossings = [pixels.to_cut(pixels.clean_batch(part), device) for part in every]
        maps = [c.activations for c in crossings if c.activations is not None]
        self.activations = torch.cat(maps) if maps else None
        self.side = torch.cat([crossing.side for crossing in crossings])

    def train_batch(self, positions: np.ndarray, draws: np.ndarray) -> Batch:
        """Name the images: nothing is left to read."""
        return self.clean_batch(positions)

    def clean_batch(self, positions: np.ndarray) -> Batch:
        """Name the images: nothing is left to read."""
        return None, positions

    def to_cut(self, batch: Batch, device: torch.device) -> Crossing:
        """Pick what was computed."""
        rows = torch.from_numpy(batch[1])
        activations = None if self.activations is None else self.activations[rows]
        return Crossing(activations, self.side[rows])


@dataclass(frozen=True)
class Bench:
    """Where the study's pictures are: a folder that the pipeline's first stages filled."""

    folder: Path

    @property
    def stored(self) -> Stored:
        """What a training starts from."""
        return Stored(
            self.folder / paths.BACKBONE,
            self.folder / paths.EMBEDDINGS / EMBEDDED,
            self.folder / paths.TENSORS,
        )

    def images(self) -> pd.DataFrame:
        """Read the images: key, patient, laterality, view, label."""
        images = read_table(self.folder / paths.IMAGES)
        return images.merge(read_table(self.folder / paths.LABELS), on="key")


def run_rows(names: list[str], seeds: int, bench: Bench, sections: Sections) -> pd.DataFrame:
    """Run rows with the seeds from 0: the records of `run_row`, one row an epoch of a run.

    Runs are spread over processes; what comes back doesn't depend on how many there are.

    Raises:
        UserError: There is no row of that name.
    """
    for name in names:
        sections.row(name)
    jobs = (
        delayed(run_row)(name, seed, bench, sections) for name in names for seed in range(seeds)
    )
    return pd.DataFrame(chain.from_iterable(Parallel(n_jobs=WORKERS)(jobs)))


def run_row(name: str, seed: int, bench: Bench, sections: Sections) -> list[dict[str, Any]]:
    """Train one row with one seed.

    Returns:
        One record an epoch: `val_*` and `test_*` of bal_acc_adj, kappa and largest predicted
        share, and the class that has it on test; `val_status`, and by what it was set: the true
        share of the class predicted most, and how many images the largest class never recalled
        has. How far BatchNorm's statistics moved in the frozen blocks, as `drift` has it. A row
        that trains nothing but a solved head has one record.
    """
    row, recipe = sections.row(name, seed), sections.recipe_of(name, seed)
    devices = start_alone(recipe)
    cases = draw_cases(bench.images(), row.bench.grouped, seed, sections.split)
    trial, frozen = _prepare(row, recipe, bench, cases, devices)
    test = trial.features.pooled.positions(list(cases.loc[cases["split"] == "test", "key"]))
    labels = cases.set_index("key")["label"].map({c: k for k, c in enumerate(CLASSES)})
    truth = labels[[trial.features.pooled.keys[p] for p in test]].to_numpy()
    before = statistics(frozen)
    records: list[dict[str, Any]] = []

    def look(val: Row) -> None:
        logits = predict(trial.network.suffix, trial.job.source, test, devices, 64)
        tested = classification_metrics(truth, logits.softmax(dim=1).double().numpy(), CLASSES)
        shares = [float(tested[f"predicted_share_{label}"] or 0) for label in CLASSES]
        records.append(
            {
                "row": name,
                "seed": seed,
                "epoch": max(1, val["epoch"]),
                "val_status": val["status"],
                **_judged("val", val),
                **_bearings(val),
                **_judged("test", tested),
                "test_favourite": CLASSES[int(np.argmax(shares))],
                **drift(before, frozen),
            }
        )

    trained = run_trial(trial, _epochs_of(look) if recipe.by_gradient else lambda val: None)
    if not recipe.by_gradient:
        kept = [r for r in trained.outcome.rows if r["epoch"] == trained.outcome.best.epoch]
        look({**kept[-1], "epoch": 1})
    return records


def _epochs_of(look: Callable[[Row], None]) -> Callable[[Row], None]:
    """Look after every epoch by gradient; epoch 0 is the solved head before them."""
    return lambda row: look(row) if row["split"] == "val" and row["epoch"] else None


def _prepare(
    row: RowParams, recipe: Recipe, bench: Bench, cases: pd.DataFrame, devices: Devices
) -> tuple[Trial, list[nn.Module]]:
    """Prepare the pipeline's trial, with the row's own source and, where it drifts, suffix.

    Returns:
        The trial, and its frozen blocks, wherever they are.
    """
    prepared = recipe
    if row.bench.prefix_in_train_mode:  # all blocks after the cut, the first held by the suffix
        whole = recipe.strategy.model_copy(update={"train_backbone": True})
        prepared = replace(recipe, strategy=whole)
    trial = prepare(prepared, bench.stored, cases, devices)
    network, source = trial.network, trial.job.source
    frozen = list(network.prefix.blocks)
    if row.bench.prefix_in_train_mode:
        suffix = network.suffix
        drifting = DriftingSuffix(suffix.blocks, suffix.head, suffix.reads, recipe.cut)
        network, frozen = replace(network, suffix=drifting), drifting.held_blocks()
    if not row.bench.augmented:
        assert isinstance(source, Pixels)
        source = PlainViews(source, devices.device)
    return replace(trial, network=network, job=replace(trial.job, source=source)), frozen


def _judged(split: str, metrics: Metrics) -> dict[str, float]:
    return {f"{split}_{name}": float(metrics[key] or 0) for name, key in JUDGED.items()}


def _bearings(val: Row) -> dict[str, float]:
    """Note what else of val the detector's status hangs on, so that other rules can be tried."""
    favourite = max(CLASSES, key=lambda c: float(val[f"predicted_share_{c}"] or 0))
    counts = {c: int(val[f"n_{c}"] or 0) for c in CLASSES}
    missed = [counts[c] for c in CLASSES if counts[c] and not val[f"recall_{c}"]]
    return {
        "val_true_share": counts[favourite] / sum(counts.values()),
        "val_missed": max(missed, default=0),
    }


def statistics(blocks: list[nn.Module]) -> tuple[Tensor, Tensor]:
    """Copy the running means and variances of all BatchNorms, as they divide: (channels,) each.

    To the variance belongs `eps`: ImageNet's weights have channels that never vary.
    """
    modules: list[Any] = [module for block in blocks for module in block.modules()]
    norms: list[Any] = [module for module in modules if isinstance(module, _BatchNorm)]
    pairs: list[Any] = [(norm.running_mean, norm.running_var + norm.eps) for norm in norms]
    means, variances = zip(*pairs, strict=True) if pairs else ([torch.empty(0)], [torch.empty(0)])
    return torch.cat(means), torch.cat(variances)  # copies


def drift(before: tuple[Tensor, Tensor], blocks: list[nn.Module]) -> dict[str, float | None]:
    """Measure how far the running statistics moved, on average over channels.

    Returns:
        `drift_sd`: of the mean, in the standard deviations it began with; `drift_var`: of the
        variance, as a share of it. None where no block has any.
    """
    after = statistics(blocks)
    if not len(after[0]):
        return {"drift_sd": None, "drift_var": None}
    moved = (after[0] - before[0]).abs() / before[1].sqrt()
    changed = (after[1] / before[1] - 1).abs()
    return {"drift_sd": float(moved.mean()), "drift_var": float(changed.mean())}
