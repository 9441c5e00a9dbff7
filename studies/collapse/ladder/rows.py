"""The collapse study: train one row of a ladder of defences, and look at test after every epoch.

What a row does is data (`RowParams`). The detector sees val alone, as in the pipeline; the truth
that it is judged by comes from patients whom neither training nor detector sees.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mammo.cohort.cases import Fold, make_fold
from mammo.cohort.params import SplitParams
from mammo.cohort.splits import assign_patients
from mammo.embedding.augment import Augmentation
from mammo.embedding.params import AugmentParams
from mammo.embedding.sources import FreshViews, Pixels, Source
from mammo.evaluation.collapse import assess
from mammo.evaluation.inference import predict
from mammo.evaluation.metrics import Metrics, classification_metrics
from mammo.evaluation.params import CollapseParams
from mammo.network.backbones import architecture_of
from mammo.network.network import build_network
from mammo.network.params import BLOCK_NAMES, BackboneParams, StrategyParams, strategy_cut
from mammo.network.strategies import Prefix, Suffix, fold_batchnorm
from mammo.params import Params
from mammo.storage.tensors import Tensors
from mammo.training.balancing import class_counts, imbalance_ratio
from mammo.training.loop import Run, train
from mammo.training.params import BalancingParams, LossParams, TrainParams
from mammo.training.watch import Setting, Watch

CLASSES = ["A", "B", "C", "D"]
JUDGED = {"bal_acc_adj": "bal_acc_adj", "kappa": "kappa", "share": "max_predicted_share"}


class RowParams(StrategyParams):
    """One entry of `rows`: everything by which a row differs from another one."""

    what: str
    batch_size: Annotated[int, Field(ge=2)]
    grouped: bool
    augmented: bool
    weighted_sampler: bool
    class_weights: bool
    allow_double: bool
    prefix_in_train_mode: bool

    @model_validator(mode="after")
    def _is_one_setting(self) -> Self:
        if self.prefix_in_train_mode and (self.train_backbone or not self.unfreeze_last_blocks):
            raise ValueError("prefix_in_train_mode needs frozen blocks and trained ones")
        return self

    def strategy(self) -> StrategyParams:
        """Give the part that is a strategy of the pipeline."""
        return StrategyParams(**{k: getattr(self, k) for k in StrategyParams.model_fields})

    def balancing(self) -> BalancingParams:
        """Give the part that is the pipeline's section `balancing`."""
        return BalancingParams(
            weighted_sampler=self.weighted_sampler, class_weights=self.class_weights,
            effective_beta=None, allow_double=self.allow_double,
        )  # fmt: skip


class CommonParams(Params):
    """Section `common`: what all rows share."""

    folds: Annotated[int, Field(ge=3)]
    weight_decay: Annotated[float, Field(ge=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    test_batch_size: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Bench:
    """What every run of the study uses.

    Attributes:
        tensors: The pictures.
        table: As `ladder_pictures.plan_table` returns it.
        weights: The backbone's file.
        backbone, common, augment, collapse: Sections of the params.
        fabric: Device, precision and processes.
    """

    tensors: Tensors
    table: pd.DataFrame
    weights: Path
    backbone: BackboneParams
    common: CommonParams
    augment: AugmentParams
    collapse: CollapseParams
    fabric: Fabric


class DriftingSuffix(Suffix):
    """All blocks, of which the first few are frozen as is often done: by `requires_grad` alone.

    `train()` reaches them too, so their BatchNorm goes on to average what it sees. The pipeline's
    own `Prefix` can't do that; this class is there to show what it spares us.
    """

    def __init__(self, blocks: Any, head: nn.Module, held: int):
        self.held = held
        super().__init__(blocks, head)

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


class PlainViews(Pixels):
    """Images without augmentation."""

    def train_batch(self, positions: np.ndarray, epoch: int) -> np.ndarray:
        """Read the images as they are, whatever the epoch: (B, H, W) float32 in [0, 1]."""
        return self.clean_batch(positions)


def run_row(name: str, row: RowParams, seed: int, bench: Bench) -> list[dict[str, Any]]:
    """Train one row with one seed.

    Returns:
        One record an epoch: `val_*` and `test_*` of bal_acc_adj, kappa and largest predicted
        share, and the class that has it on test; `val_status`, and `alarm`: 1 where the pipeline's
        watch raises one in that epoch; how far BatchNorm's statistics moved in the frozen blocks,
        as `drift` has it.
    """
    prefix, suffix, frozen = _build(name, row, seed, bench)
    source = _source(row, seed, fold_batchnorm(prefix, torch.float32), bench)
    fold, test = draw_fold(row, seed, bench)
    setting = _setting(name, row, fold, bench)
    before = _statistics(frozen)
    records: list[dict[str, Any]] = []
    watch = Watch(setting, bench.collapse)

    def look(epoch_row: dict[str, Any]) -> None:
        if epoch_row["split"] != "val":
            return
        logits = predict(run.answering, source, test, bench.fabric, bench.common.test_batch_size)
        tested = classification_metrics(
            fold.labels[test], logits.softmax(dim=1).double().numpy(), CLASSES
        )
        shares = [float(tested[f"predicted_share_{label}"] or 0) for label in CLASSES]
        alarms = len(watch.alerts)
        watch.follow(epoch_row["epoch"], assess(epoch_row, CLASSES, bench.collapse))
        records.append(
            {
                "row": name,
                "seed": seed,
                "epoch": epoch_row["epoch"],
                "val_status": epoch_row["status"],
                "alarm": int(len(watch.alerts) > alarms),
                **_judged("val", epoch_row),
                **_judged("test", tested),
                "test_favourite": CLASSES[int(np.argmax(shares))],
                **drift(before, frozen),
            }
        )

    params = _train_params(row, seed, bench.common)
    run = Run(
        setting, params, bench.collapse, fold, source, suffix, bench.fabric, look
    )  # fmt: skip
    train(run)
    return records


def draw_fold(row: RowParams, seed: int, bench: Bench) -> tuple[Fold, np.ndarray]:
    """Draw what trains and what validates; who is tested never changes.

    Grouped: a fold of whole patients, stratified. Otherwise as many images, whoever they are of.

    Returns:
        The fold, and the positions of the test images.
    """
    params = SplitParams(
        source="published", folds=bench.common.folds, test_fold=0, val_fold=1, seed=seed,
        missing_class="error",
    )  # fmt: skip
    splits = assign_patients(bench.table, params)
    table = bench.table.merge(splits, on="key", validate="one_to_one")
    if not row.grouped:
        learning = np.flatnonzero(table["split"] != "test")
        shuffled = np.random.default_rng([seed, 2]).permutation(learning)
        table.loc[learning, "split"] = "train"
        table.loc[shuffled[: (splits["split"] == "val").sum()], "split"] = "val"
    fold = make_fold(bench.tensors.keys, table, CLASSES)
    tested = set(table.loc[table["split"] == "test", "key"])
    return fold, np.flatnonzero([key in tested for key in bench.tensors.keys])


def _build(
    name: str, row: RowParams, seed: int, bench: Bench
) -> tuple[Prefix, Suffix, list[nn.Module]]:
    """Cut the backbone as the pipeline does; or, to let it drift, leave all of it in the suffix.

    Returns:
        The prefix, the suffix, and the frozen blocks, wherever they are.
    """
    at = strategy_cut(bench.backbone, row, name)
    where = 0 if row.prefix_in_train_mode else at
    network = build_network(
        bench.weights, bench.backbone, where, CLASSES, bench.common.dropout, seed
    )  # fmt: skip
    if not row.prefix_in_train_mode:
        return network.prefix, network.suffix, list(network.prefix.blocks)
    drifting = DriftingSuffix(network.suffix.blocks, network.suffix.head, at)
    return network.prefix, drifting, drifting.held_blocks()


def _source(row: RowParams, seed: int, prefix: nn.Module, bench: Bench) -> Source:
    normalisation = architecture_of(bench.backbone).normalisation
    if not row.augmented:
        return PlainViews(bench.tensors, prefix, torch.float32, normalisation)
    augment = Augmentation(bench.augment.model_copy(update={"seed": seed}))
    return FreshViews(bench.tensors, prefix, torch.float32, normalisation, augment)


def _setting(name: str, row: RowParams, fold: Fold, bench: Bench) -> Setting:
    blocks = len(BLOCK_NAMES[bench.backbone.arch])
    imbalance = imbalance_ratio(class_counts(fold.labels[fold.train], len(CLASSES)))
    loss = LossParams(name="cross_entropy", tau=1, label_smoothing=0)
    return Setting(
        name, row.strategy(), row.balancing(), blocks, len(fold.train), imbalance, loss
    )  # fmt: skip


def _train_params(row: RowParams, seed: int, common: CommonParams) -> TrainParams:
    return TrainParams(
        seed=seed, batch_size=row.batch_size, weight_decay=common.weight_decay,
        dropout=common.dropout, schedule="cosine", early_stopping_epochs=0, batchnorm_only=False,
        layer_decay=1, ema_decay=0, retrain_head_epochs=0, checkpoint_every_s=0,
    )  # fmt: skip


def _judged(split: str, metrics: Metrics) -> dict[str, float]:
    return {f"{split}_{name}": float(metrics[key] or 0) for name, key in JUDGED.items()}


def _statistics(blocks: list[nn.Module]) -> tuple[Tensor, Tensor]:
    """Copy the running means and variances of all BatchNorms: (channels,) each."""
    modules: list[Any] = [module for block in blocks for module in block.modules()]
    norms = [module for module in modules if isinstance(module, _BatchNorm)]
    pairs: list[Any] = [(norm.running_mean, norm.running_var) for norm in norms]
    means, variances = zip(*pairs, strict=True) if pairs else ([torch.empty(0)], [torch.empty(0)])
    return torch.cat(means), torch.cat(variances)  # copies


def drift(before: tuple[Tensor, Tensor], blocks: list[nn.Module]) -> dict[str, float | None]:
    """Measure how far the running statistics moved, on average over channels.

    Returns:
        `drift_sd`: of the mean, in the standard deviations it began with; `drift_var`: of the
        variance, as a share of it. None where no block has any.
    """
    after = _statistics(blocks)
    if not len(after[0]):
        return {"drift_sd": None, "drift_var": None}
    moved = (after[0] - before[0]).abs() / before[1].sqrt()
    changed = (after[1] / before[1] - 1).abs()
    return {"drift_sd": float(moved.mean()), "drift_var": float(changed.mean())}
