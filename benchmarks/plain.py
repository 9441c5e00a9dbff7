"""The plain reference: a textbook PyTorch loop, as most published code trains.

float32, contiguous, no folding, nothing stored: the frozen prefix runs again in every epoch, under
`no_grad` and in eval mode, and the same blocks train as in ours, with a multinomial head. Samples
are read, augmented and normalised one by one in a DataLoader with two worker processes.
"""

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, Subset

from mammo import paths
from mammo.cohort.cases import make_fold, read_cases
from mammo.embedding.augment import Augmentation
from mammo.network.backbones import architecture_of
from mammo.network.head import make_head
from mammo.network.inputs import Normalisation
from mammo.network.network import head_shape
from mammo.network.strategies import Prefix, Suffix, cut
from mammo.network.weights import load_backbone
from mammo.storage.tensors import Tensors
from mammo.training.settings import Recipe, load_recipe

WORKERS = 2


class Samples(Dataset):
    """One image at a time: read, augment, normalise, repeat to three channels."""

    def __init__(
        self,
        tensors: Tensors,
        labels: np.ndarray,
        normalisation: Normalisation,
        augmentation: Augmentation | None,
    ):
        self.tensors = tensors
        self.labels = labels
        self.mean = torch.tensor(normalisation.mean).view(3, 1, 1)
        self.std = torch.tensor(normalisation.std).view(3, 1, 1)
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.tensors)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        """Make one sample: (3, H, W) float32 and its label."""
        image = self.tensors.gather(np.array([position]))[0].astype(np.float32) / 255
        if self.augmentation:
            view = int(torch.randint(1, 2**31, ()))
            image = self.augmentation.view(image, self.tensors.keys[position], view)
        rgb = torch.from_numpy(image).expand(3, -1, -1)
        return (rgb - self.mean) / self.std, int(self.labels[position])


def make_network(recipe: Recipe) -> tuple[Prefix, Suffix]:
    """Load the whole network in float32, contiguous, with a multinomial head."""
    architecture, params = architecture_of(recipe.backbone), recipe.train
    blocks = architecture.blocks(load_backbone(paths.BACKBONE, architecture))
    shape = head_shape(recipe.backbone, recipe.reads, 0, "multinomial", len(recipe.classes))
    return cut(
        blocks, make_head(shape, params.dropout), recipe.cut, recipe.reads,
        architecture.normalisation, params.scope, params.batchnorm,
    )  # fmt: skip


def train_batch(
    prefix: nn.Module, suffix: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor,
    labels: Tensor,
) -> float:  # fmt: skip
    """Take one step; return the loss."""
    with torch.no_grad():
        crossing = prefix(images)
    loss = cross_entropy(suffix(*crossing), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


class Plain:
    """The reference, ready to train on part of the images in the current folder."""

    def __init__(self, strategy: str, train_images: int, val_images: int):
        self.recipe = load_recipe(strategy)
        torch.set_num_threads(self.recipe.compute.threads)
        tensors = Tensors(paths.TENSORS)
        cases = read_cases(paths.IMAGES, paths.LABELS, paths.SPLITS)
        fold = make_fold(tensors.keys, cases, self.recipe.classes)
        batch_size = self.recipe.train.batch_size
        normalisation = architecture_of(self.recipe.backbone).normalisation

        def loader(positions: np.ndarray, augmentation: Augmentation | None) -> DataLoader:
            samples = Samples(tensors, fold.labels, normalisation, augmentation)
            chosen = Subset(samples, positions.tolist())
            return DataLoader(
                chosen, batch_size, shuffle=augmentation is not None, num_workers=WORKERS,
                persistent_workers=True,
            )  # fmt: skip

        self.train = loader(fold.train[:train_images], Augmentation(self.recipe.augment))
        self.val = loader(fold.val[:val_images], None)
        self.share = (train_images + val_images) / (len(fold.train) + len(fold.val))
        self.open()
        self._warm_up()

    def open(self) -> None:
        """Load the network and make the optimizer."""
        self.prefix, self.suffix = make_network(self.recipe)
        rate, decay = self.recipe.strategy.lr, self.recipe.train.weight_decay
        self.optimizer = torch.optim.AdamW(self.suffix.parameters(), lr=rate, weight_decay=decay)

    def _warm_up(self) -> None:
        """Start the workers of both loaders and take one step, untimed."""
        for batches in (self.val, self.train):
            *_, (images, labels) = batches
        self.suffix.train()
        train_batch(self.prefix, self.suffix, self.optimizer, images, labels)

    def epoch(self) -> None:
        """Train on the chosen images, then validate."""
        self.suffix.train()
        for images, labels in self.train:
            train_batch(self.prefix, self.suffix, self.optimizer, images, labels)
        self.suffix.eval()
        for correct in self._validate():
            correct.sum()

    def _validate(self) -> Iterator[Tensor]:
        with torch.no_grad():
            for images, labels in self.val:
                yield self.suffix(*self.prefix(images)).argmax(dim=1) == labels

    def repeat(self) -> dict[str, float]:
        """Time opening, and the chosen images, scaled to a whole epoch: seconds."""
        started = time.perf_counter()
        self.open()
        opened = time.perf_counter()
        self.epoch()
        return {
            "open": opened - started,
            "epoch": (time.perf_counter() - opened) / self.share,
        }
