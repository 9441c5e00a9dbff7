"""Small trainings on made-up images."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from mammo.cohort.cases import Fold
from mammo.embedding.features import open_features
from mammo.embedding.params import AugmentParams, EmbedParams
from mammo.embedding.sources import StoredViews
from mammo.embedding.store import EmbeddingParams, store_embeddings
from mammo.evaluation.params import CollapseParams
from mammo.heads.params import HeadParams
from mammo.network.backbones import architecture_of
from mammo.network.network import Design, Network, build_network, head_shape
from mammo.network.params import BLOCK_NAMES, BackboneParams, ComputeParams, StrategyParams
from mammo.network.strategies import Crossing, Suffix
from mammo.network.weights import body, random_network, save_backbone
from mammo.storage.tensors import OUTLINES, Tensors, packed, write_shards
from mammo.training.job import Job
from mammo.training.loop import train
from mammo.training.params import BalancingParams, LossParams, TrainParams
from mammo.training.settings import Recipe

CLASSES = ["A", "B", "C", "D"]
BLOCKS = 19  # of MobileNetV2
SIZE = 32
CPU = torch.device("cpu")

AUGMENT = AugmentParams(
    seed=0, vertical_flip=0.5, rotate_deg=10, scale=0.1, translate=0.05, brightness=0.1,
    contrast=0.1, gamma=0.1,
)  # fmt: skip
EMBED = EmbedParams(
    views=2, store="always", budget_gb=1, min_gain=1.5, batch_size=12, shard_mb=1
)  # fmt: skip
BACKBONE = dict(arch="mobilenet_v2", weights="random", file=None, seed=0)
COMPUTE = ComputeParams(
    accelerator="cpu", devices=1, num_nodes=1, threads=2, precision="float32", compile=False,
    deterministic=True,
)  # fmt: skip
HEAD = HeadParams(
    model="multinomial", kernel="none", rbf={"features": 16, "scale": 1.0}, seed=0, select="val",
    criterion="log_loss", thresholds="joint", folds=3, refit=False, width_power=0.5,
    penalties={"strongest": 1.0, "weakest": 1e-3, "steps": 4},
)  # fmt: skip
COLLAPSE = CollapseParams(
    action="warn", patience=1, min_support=3, collapsed_share=0.99, natural_share=0.95,
    collapsed_kappa=0.2, standing_share=0.9, warning_excess=0.35, warning_kappa=0.2,
    warning_kappa_at_end=0.3, warning_bal_acc_adj=0.3,
)  # fmt: skip
TRAIN = TrainParams(
    seed=3, batch_size=8, weight_decay=0.01, dropout=0.2, schedule="cosine",
    keep="best", early_stopping_epochs=0, ramp_epochs=0, clip_norm=0, batchnorm="train",
    batchnorm_only=False, layer_decay=1, ema_decay=0, retrain_head_epochs=0, checkpoint_every_s=0,
)  # fmt: skip
BALANCING = BalancingParams(
    weighted_sampler=True, class_weights="none", power=1, effective_beta=None, allow_double=False
)
LOSS = LossParams(name="cross_entropy", gamma=2, tau=1, label_smoothing=0)
STRATEGY = StrategyParams(
    train_backbone=False, unfreeze_last_blocks=2, features="last", grey=False, head="gradient",
    lr=1e-2, epochs=4, warmup_epochs=1,
)  # fmt: skip


def recipe(**sections) -> Recipe:
    """Make a recipe called `mine`; each section's changes are given as a mapping."""
    whole = Recipe(
        "mine", CLASSES, STRATEGY, BackboneParams(**BACKBONE), HEAD, TRAIN, BALANCING, LOSS,
        COLLAPSE, AUGMENT, COMPUTE,
    )  # fmt: skip
    changed = {
        name: type(getattr(whole, name))(**{**getattr(whole, name).model_dump(), **change})
        for name, change in sections.items()
    }
    return replace(whole, **changed)


def lively_network(backbone):
    """Make a network of random parameters with the BatchNorm statistics that belong to them.

    With those of a new network every image looks the same after 19 blocks, and what tells images
    apart is lost in rounding.
    """
    torch.manual_seed(0)
    network = random_network(backbone).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches
    with torch.no_grad():
        for _ in range(8):
            network(torch.randn(32, 3, SIZE, SIZE))
    return network


def write_data(folder, backbone, network=None):
    """Write weights, and 48 images whose class is how much of them is bright."""
    state = (network or random_network(backbone)).state_dict()
    state = body(state, architecture_of(backbone))
    save_backbone(state, folder / "backbone.safetensors")
    random = np.random.default_rng(0)
    images = random.integers(0, 60, (48, SIZE, SIZE)).astype(np.uint8)
    for i, image in enumerate(images):
        image[: 4 + 7 * (i % 4)] += 120
    keys = [f"k{i:02d}" for i in range(48)]
    outlines = packed(np.ones(images.shape, dtype=bool))
    for at, items in ((folder / "tensors", images), (folder / "tensors" / OUTLINES, outlines)):
        at.mkdir()
        write_shards(iter(items), keys, at, 2**14)
    return folder


def make_fold():
    """Give 48 images labels, a patient to every two of them, 32 for training."""
    return Fold(np.arange(48) % 4, np.arange(48) // 2, np.arange(32), np.arange(32, 48), CLASSES)


def network_of(
    folder, backbone, trained, dropout=0.2, kind="multinomial", reads=None, **options
) -> Network:
    """Build the network that trains so many blocks; the head reads the last one by default."""
    reads = reads or BLOCK_NAMES[backbone.arch][-1:]
    shape = head_shape(backbone, reads, 0, kind, len(CLASSES))
    design = Design(BLOCKS - trained, reads, 0, shape, dropout, seed=1, **options)
    return build_network(folder / "backbone.safetensors", backbone, design)


def stored_folder(folder, backbone, trained, features="last", grey=False):
    """Embed the images for a strategy that trains so many blocks, once."""
    target = folder / f"embeddings-{trained}-{features}{'-grey' * grey}"
    if not target.exists():
        strategy = STRATEGY.model_copy(
            update={"unfreeze_last_blocks": trained, "features": features, "grey": grey}
        )
        params = EmbeddingParams(backbone, strategy, AUGMENT, EMBED, COMPUTE)
        store_embeddings(
            "mine", params, folder / "backbone.safetensors", folder / "tensors", target,
            folder / "scratch",
        )  # fmt: skip
    return target


def stored_views(folder, backbone, network, trained, reads=None):
    """Open what crosses the cut of a network."""
    stored = stored_folder(folder, backbone, trained)
    frozen = [name for name, _ in network.prefix.blocks.named_children()]
    reads = reads or BLOCK_NAMES[backbone.arch][-1:]
    features = open_features(stored, [name for name in reads if name in frozen], grey=False)
    return StoredViews(features, Tensors(stored / "cut") if trained else None)


@dataclass
class Run:
    """A training that is ready to run."""

    job: Job
    suffix: Suffix

    def train(self, start=None):
        """Run it."""
        return train(self.job, self.suffix, start)


def make_run(
    folder, backbone, fabric, trained=2, record=lambda row: None, source=None, progress=None,
    fold=None, kind="multinomial", strategy=None, **sections,
) -> Run:  # fmt: skip
    """Make a training; `strategy` and `sections` are changes of the recipe's sections."""
    chosen = recipe(strategy={"unfreeze_last_blocks": trained, **(strategy or {})}, **sections)
    params = chosen.train
    network = network_of(
        folder, backbone, trained, kind=kind, scope=params.scope, batchnorm=params.batchnorm
    )
    source = source or stored_views(folder, backbone, network, trained)
    job = Job(chosen, fold or make_fold(), source, fabric, record, progress)
    return Run(job, network.suffix)


def changed(before, after):
    """Name the entries in which two states differ."""
    return {key for key in before if not torch.equal(before[key], after[key])}


class Blank:
    """Features that say nothing: whatever a head does with them is a constant."""

    def train_batch(self, positions, draws):
        return None, np.zeros((len(positions), 1280), np.float32)

    def clean_batch(self, positions):
        return self.train_batch(positions, positions)

    def to_cut(self, batch, device):
        activations, side = batch
        crossing = None if activations is None else torch.from_numpy(activations).float()
        return Crossing(crossing, torch.from_numpy(side))
