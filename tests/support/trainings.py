"""Small trainings on made-up images."""

import numpy as np
import torch
from mammo.embedding.embedding import embed

from mammo.cohort.cases import Fold
from mammo.embedding.augment import Augmentation
from mammo.embedding.params import AugmentParams, EmbedParams
from mammo.embedding.sources import StoredViews
from mammo.evaluation.params import CollapseParams
from mammo.network.backbones import architecture_of
from mammo.network.inputs import IMAGENET
from mammo.network.network import build_network
from mammo.network.params import ComputeParams, StrategyParams
from mammo.network.strategies import fold_batchnorm
from mammo.network.weights import body, random_network, save_backbone
from mammo.storage.tensors import Tensors, write_shards
from mammo.training.loop import Run
from mammo.training.params import BalancingParams, LossParams, TrainParams
from mammo.training.watch import Setting

CLASSES = ["A", "B", "C", "D"]


BLOCKS = 19  # of MobileNetV2


SIZE = 32


AUGMENT = AugmentParams(
    seed=0, vertical_flip=0.5, rotate_deg=10, scale=0.1, translate=0.05, brightness=0.1,
    contrast=0.1, gamma=0.1,
)  # fmt: skip


EMBED = EmbedParams(
    views=2, store="always", budget_gb=1, min_gain=1.5, batch_size=12, shard_mb=1
)  # fmt: skip


BACKBONE = dict(
    arch="mobilenet_v2", weights="random", file=None, seed=0
)  # fmt: skip


CPU = torch.device("cpu")


COMPUTE = ComputeParams(
    accelerator="cpu", devices=1, num_nodes=1, threads=2, precision="float32", compile=False,
    deterministic=True,
)  # fmt: skip


def write_data(folder, backbone):
    """Write weights, and 48 images whose class is how much of them is bright."""
    state = body(random_network(backbone).state_dict(), architecture_of(backbone))
    save_backbone(state, folder / "backbone.safetensors")
    random = np.random.default_rng(0)
    images = random.integers(0, 60, (48, SIZE, SIZE)).astype(np.uint8)
    for i, image in enumerate(images):
        image[: 4 + 7 * (i % 4)] += 120
    (folder / "tensors").mkdir()
    write_shards(iter(images), [f"k{i:02d}" for i in range(48)], folder / "tensors", 2**14)
    return folder


def make_fold():
    return Fold(np.arange(48) % 4, np.arange(32), np.arange(32, 48), CLASSES)


def network_of(folder, backbone, trained, dropout=0.2, **options):
    at, path = BLOCKS - trained, folder / "backbone.safetensors"
    return build_network(path, backbone, at, CLASSES, dropout, seed=1, **options)


def stored_views(folder, network):
    target = folder / f"embeddings-{network.cut}"
    if not target.exists():
        target.mkdir()
        tensors = Tensors(folder / "tensors")
        prefix = fold_batchnorm(network.prefix, torch.float32)
        items = embed(tensors, prefix, Augmentation(AUGMENT), EMBED, CPU, torch.float32, IMAGENET)
        write_shards(items, tensors.keys, target, 2**16)
    return StoredViews(Tensors(target), seed=0)


def make_run(
    folder, backbone, fabric, trained=2, epochs=4, warmup=1, record=lambda row: None,
    source=None, progress=None, action="warn", stopping=0, lr=1e-2, weights=False, patience=1,
    fold=None, loss="cross_entropy", sampler=True, batchnorm_only=False, layer_decay=1, ema_decay=0,
    retrain_head_epochs=0,
):  # fmt: skip
    strategy = StrategyParams(
        train_backbone=False, unfreeze_last_blocks=trained, lr=lr, epochs=epochs,
        warmup_epochs=warmup,
    )  # fmt: skip
    balancing = BalancingParams(
        weighted_sampler=sampler and not weights, class_weights=weights, effective_beta=None,
        allow_double=False,
    )  # fmt: skip
    params = TrainParams(
        seed=3, batch_size=8, weight_decay=0.01, dropout=0.2, schedule="cosine",
        early_stopping_epochs=stopping, batchnorm_only=batchnorm_only, layer_decay=layer_decay,
        ema_decay=ema_decay, retrain_head_epochs=retrain_head_epochs, checkpoint_every_s=0,
    )  # fmt: skip
    collapse = CollapseParams(
        action=action, patience=patience, min_support=3, collapsed_share=0.99,
        collapsed_kappa=0.2, warning_share=0.75, warning_kappa=0.2, warning_kappa_at_end=0.3,
        warning_bal_acc_adj=0.3,
    )  # fmt: skip
    chosen = LossParams(name=loss, tau=1, label_smoothing=0)
    network = network_of(folder, backbone, trained, ordinal=loss == "corn", scope=params.scope)
    setting = Setting("mine", strategy, balancing, BLOCKS, 32, 1.0, chosen)
    source = source or stored_views(folder, network)
    return Run(
        setting, params, collapse, fold or make_fold(), source, network.suffix, fabric, record,
        progress,
    )  # fmt: skip


def changed(before, after):
    return {key for key in before if not torch.equal(before[key], after[key])}


class Blank:
    """A source without information: every image is the same at the cut."""

    def train_batch(self, positions, epoch):
        return np.zeros((len(positions), 1280), np.float16)

    def clean_batch(self, positions):
        return self.train_batch(positions, 0)

    def to_cut(self, batch, device):
        return torch.from_numpy(batch).float()
