"""Our path, timed: the library's own embedding and training, called as the stages call them."""

import shutil
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mammo import paths
from mammo.cohort.cases import read_cases
from mammo.embedding.params import EmbedParams
from mammo.embedding.store import EmbeddingParams, store_embeddings
from mammo.network.compute import compute_dtype
from mammo.network.devices import start_fabric
from mammo.network.network import Design, build_network, head_shape
from mammo.network.params import BLOCK_NAMES, CutParams
from mammo.network.strategies import Prefix, Suffix, fold_batchnorm
from mammo.params import load_params
from mammo.storage.tensors import Tensors
from mammo.training.optimizers import make_optimizer
from mammo.training.progress import Progress
from mammo.training.settings import load_recipe
from mammo.training.solving import solve
from mammo.training.trial import Stored, Trial, prepare, run_trial


class Fast:
    """One strategy on the images of the current folder, which is laid out as the pipeline's."""

    def __init__(self, strategy: str):
        self.name = strategy
        self.recipe = load_recipe(strategy)
        self.params = EmbeddingParams(
            self.recipe.backbone,
            load_params(f"strategies.{strategy}", CutParams),
            self.recipe.augment,
            load_params("embed", EmbedParams),
            self.recipe.compute,
        )
        self.fabric = start_fabric(self.recipe.compute)
        self.dtype = compute_dtype(self.recipe.compute)
        self.images = Tensors(paths.TENSORS)
        self.folder = paths.EMBEDDINGS / strategy

    def embed(self) -> None:
        """Do what stage `embed` does, with nothing kept from another strategy."""
        scratch = paths.SCRATCH / "pooled"
        shutil.rmtree(scratch, ignore_errors=True)
        store_embeddings(
            self.name, self.params, paths.BACKBONE, paths.TENSORS, self.folder, scratch
        )

    def open(self) -> Trial:
        """Do what stage `train` does before it trains."""
        cases = read_cases(paths.IMAGES, paths.LABELS, paths.SPLITS)
        stored = Stored(paths.BACKBONE, self.folder, paths.TENSORS)
        return prepare(self.recipe, stored, cases, self.fabric)

    def train(self, trial: Trial, progress: Path) -> None:
        """Do what stage `train` does, the writing of its results apart."""
        shutil.rmtree(progress, ignore_errors=True)
        run_trial(
            trial,
            lambda row: None,
            Progress(progress, self.recipe.train.checkpoint_every_s),
        )

    def repeat(self) -> dict[str, float]:
        """Time embedding, opening, solving and an epoch, and the two bare rates beside them.

        Returns:
            Seconds: `embed`, `open`, `fixed` (solving the head, path and cross-fitting included)
            and `epoch` (0 where nothing but a solved head trains, and then `once` is what solving
            takes without `head.refit`); `bare_embed` and `bare_epoch` on random data in memory,
            where nothing or everything of the backbone trains.
        """
        started = time.perf_counter()
        self.embed()
        embedded = time.perf_counter()
        trial = self.open()
        opened = time.perf_counter()
        by_gradient = self.recipe.trained_blocks > 0 or self.recipe.strategy.head == "gradient"
        if by_gradient and self.recipe.strategy.head == "solved":
            solve(trial.job, trial.features)
        solved = time.perf_counter()
        self.train(trial, paths.SCRATCH / "bench" / self.name)
        trained = time.perf_counter()
        fixed, whole = solved - opened, trained - solved
        seconds = {"embed": embedded - started, "open": opened - embedded}
        if by_gradient:
            epoch = (whole - fixed) / self.recipe.strategy.epochs
            seconds |= {"fixed": fixed, "epoch": epoch}
        else:
            seconds |= {"fixed": whole, "epoch": 0.0}
            started = time.perf_counter()
            solve(trial.job, trial.features)
            seconds["once"] = time.perf_counter() - started
        if self.recipe.cut == self.recipe.blocks:
            seconds["bare_embed"] = self.bare_embed()
        if self.recipe.cut == 0:
            seconds["bare_epoch"] = self.bare_epoch(trial)
        return seconds

    def whole_prefix(self) -> Prefix:
        """Build what embeds pooled features: all blocks, every one read, BatchNorm folded."""
        names = BLOCK_NAMES[self.recipe.backbone.arch]
        head = head_shape(self.recipe.backbone, names, 0, "multinomial", 2)
        design = Design(len(names), names, 0, head)
        prefix = build_network(paths.BACKBONE, self.recipe.backbone, design).prefix
        return fold_batchnorm(prefix, self.dtype).to(self.fabric.device)

    @torch.inference_mode()
    def bare_embed(self, batches: int = 4) -> float:
        """Time the network alone on a random batch in memory, scaled to all views of all images."""
        prefix, views = self.whole_prefix(), 1 + self.params.embed.views
        count = max(1, self.params.embed.batch_size // views) * views
        batch = self.random_images(count).to(self.dtype)
        prefix(batch)
        started = time.perf_counter()
        for _ in range(batches):
            prefix(batch)
        each = (time.perf_counter() - started) / (batches * count)
        return each * views * len(self.images)

    def bare_epoch(self, trial: Trial, train_steps: int = 6, val_steps: int = 3) -> float:
        """Time steps on one random batch, scaled to those of an epoch: training, then val."""
        suffix, fold = trial.network.suffix, trial.job.fold
        size, params = self.recipe.train.batch_size, self.recipe.train
        optimizer = make_optimizer(suffix, self.recipe.strategy.lr, params.weight_decay, 1)
        batch, labels = self.random_images(size), torch.arange(size) % len(fold.classes)
        self.bare_step(suffix, optimizer, batch, labels)
        started = time.perf_counter()
        for _ in range(train_steps):
            self.bare_step(suffix, optimizer, batch, labels)
        trained = time.perf_counter()
        suffix.eval()
        with torch.inference_mode(), self.fabric.autocast():
            for _ in range(val_steps):
                suffix(batch, torch.zeros(size, 0))
        validated = time.perf_counter()
        train_step, val_step = (trained - started) / train_steps, (validated - trained) / val_steps
        return (len(fold.train) * train_step + len(fold.val) * val_step) / size

    def bare_step(
        self, suffix: Suffix, optimizer: torch.optim.Optimizer, batch: Tensor, labels: Tensor
    ) -> None:
        """Take a training step on data in memory."""
        suffix.train()
        with self.fabric.autocast():
            loss = cross_entropy(suffix(batch, torch.zeros(len(batch), 0)), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(suffix.parameters(), self.recipe.train.clip_norm or 1e9)
        optimizer.step()

    def random_images(self, count: int) -> Tensor:
        """Draw a normalised batch: (count, 3, H, W) float32, channels-last."""
        size_px = self.images.shape[-1]
        return torch.randn(count, 3, size_px, size_px).to(memory_format=torch.channels_last)
