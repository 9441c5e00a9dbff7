"""Our path, timed: the library's own embedding and training, called as the stages call them."""

import shutil
import time
from dataclasses import asdict
from pathlib import Path

import torch
from mammo.embedding.embedding import embed, plan
from torch import nn
from torch.nn.functional import cross_entropy

from mammo import paths
from mammo.cohort.cases import make_fold
from mammo.embedding.augment import Augmentation
from mammo.embedding.params import EmbedParams
from mammo.embedding.sources import PLAN, open_source
from mammo.network.compute import compute_dtype, start
from mammo.network.network import Network, build_network
from mammo.network.strategies import fold_batchnorm
from mammo.params import load_params
from mammo.storage.files import read_table, write_json
from mammo.storage.tensors import Tensors, write_shards
from mammo.training.loop import Run, train
from mammo.training.optimizers import make_optimizer
from mammo.training.progress import Progress
from mammo.training.settings import load_settings


class Fast:
    """One strategy on the images of the current folder, which is laid out as the pipeline's."""

    def __init__(self, strategy: str):
        self.name = strategy
        self.settings = load_settings(strategy)
        self.params = load_params("embed", EmbedParams)
        self.fabric = start(self.settings.compute)
        self.dtype = compute_dtype(self.settings.compute)
        self.images = Tensors(paths.TENSORS)
        self.folder = paths.EMBEDDINGS / strategy

    def network(self) -> Network:
        """Load and cut the network."""
        settings = self.settings
        return build_network(
            paths.BACKBONE, settings.backbone, settings.cut, settings.classes,
            settings.train.dropout, settings.train.seed,
        )  # fmt: skip

    def embed(self) -> float:
        """Do what stage `embed` does; return the seconds that the views alone took (0: none)."""
        network = self.network()
        size_px, count = self.images.shape[-1], len(self.images)
        decision = plan(network.prefix, network.suffix, size_px, count, self.params)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        seconds = 0.0
        if decision.stored:
            prefix = fold_batchnorm(network.prefix, self.dtype).to(self.fabric.device)
            augmentation = Augmentation(self.settings.augment)
            started = time.perf_counter()
            items = embed(
                self.images,
                prefix,
                augmentation,
                self.params,
                self.fabric.device,
                self.dtype,
                network.normalisation,
            )
            write_shards(items, self.images.keys, self.folder, self.params.shard_mb * 2**20)
            seconds = time.perf_counter() - started
        write_json(asdict(decision), self.folder / PLAN)
        return seconds

    def open(self, progress: Path) -> Run:
        """Do what stage `train` does before it trains."""
        network = self.network()
        keys, source = open_source(
            self.folder, paths.TENSORS, network, self.settings.augment,
            self.settings.compute, self.fabric.device,
        )  # fmt: skip
        table = read_table(paths.LABELS).merge(read_table(paths.SPLITS), on="key")
        fold = make_fold(keys, table, self.settings.classes)
        shutil.rmtree(progress, ignore_errors=True)
        return Run(
            self.settings.describe(fold, network.blocks), self.settings.train,
            self.settings.collapse, fold, source, network.suffix, self.fabric,
            record=lambda row: None,
            progress=Progress(progress, self.settings.train.checkpoint_every_s),
        )  # fmt: skip

    def repeat(self) -> dict[str, float]:
        """Time embedding, opening and an epoch, and the two bare rates beside them.

        Returns:
            Seconds: `embed` whole, `views` its part that makes and stores views, `open`, `epoch`;
            `bare_views` and `bare_epoch` on random data in memory.
        """
        started = time.perf_counter()
        views = self.embed()
        embedded = time.perf_counter()
        run = self.open(paths.SCRATCH / "bench" / self.name)
        opened = time.perf_counter()
        train(run)
        trained = time.perf_counter()
        seconds = {
            "embed": embedded - started if views else 0.0,
            "views": views,
            "open": opened - embedded,
            "epoch": (trained - opened) / run.epochs,
        }
        if views:
            seconds["bare_views"] = self.bare_views()
        if self.settings.cut == 0:
            seconds["bare_epoch"] = self.bare_epoch(run)
        return seconds

    @torch.inference_mode()
    def bare_views(self, batches: int = 4) -> float:
        """Time the prefix alone on a random batch in memory, scaled to the views of all images."""
        prefix = fold_batchnorm(self.network().prefix, self.dtype)
        views = 1 + self.params.views
        count = max(1, self.params.batch_size // views) * views
        batch = self.random_images(count).to(self.dtype)
        prefix(batch)
        started = time.perf_counter()
        for _ in range(batches):
            prefix(batch)
        each = (time.perf_counter() - started) / (batches * count)
        return each * views * len(self.images)

    def bare_epoch(self, run: Run, train_steps: int = 6, val_steps: int = 3) -> float:
        """Time steps on one random batch, scaled to those of an epoch: training, then val."""
        suffix, size = run.suffix, run.params.batch_size
        suffix.load_state_dict(self.network().suffix.state_dict())
        optimizer = make_optimizer(suffix, run.lr, run.params.weight_decay, layer_decay=1)
        batch, labels = self.random_images(size), torch.arange(size) % len(run.fold.classes)
        self.bare_step(suffix, optimizer, batch, labels)
        started = time.perf_counter()
        for _ in range(train_steps):
            self.bare_step(suffix, optimizer, batch, labels)
        trained = time.perf_counter()
        suffix.eval()
        with torch.inference_mode(), self.fabric.autocast():
            for _ in range(val_steps):
                suffix(batch)
        validated = time.perf_counter()
        train_step, val_step = (trained - started) / train_steps, (validated - trained) / val_steps
        return (len(run.fold.train) * train_step + len(run.fold.val) * val_step) / size

    def bare_step(
        self, suffix: nn.Module, optimizer: torch.optim.Optimizer, batch: torch.Tensor,
        labels: torch.Tensor,
    ) -> None:  # fmt: skip
        """Take a training step on data in memory."""
        suffix.train()
        with self.fabric.autocast():
            loss = cross_entropy(suffix(batch), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def random_images(self, count: int) -> torch.Tensor:
        """Draw a normalised batch: (count, 3, H, W) float32, channels-last."""
        size_px = self.images.shape[-1]
        return torch.randn(count, 3, size_px, size_px).to(memory_format=torch.channels_last)
