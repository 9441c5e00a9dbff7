"""What crosses the cut, computed once: every image clean and in several augmented views.

A frozen prefix gives the same answer in every epoch, so its activations are stored and training
starts from there. Pooled features of all blocks are stored for every strategy: heads are solved
on them. They don't depend on the cut, so they are computed once for all strategies that share
backbone, images and views, and kept in the scratch store.
"""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mammo.embedding.augment import Augmentation
from mammo.embedding.params import AugmentParams, EmbedParams
from mammo.embedding.plan import Plan, plan
from mammo.errors import UserError
from mammo.network.compute import compute_dtype, start
from mammo.network.head import HeadShape
from mammo.network.inputs import network_input, read_ahead, unit_range
from mammo.network.network import Design, Network, block_widths, build_network
from mammo.network.params import BackboneParams, ComputeParams, CutParams, blocks_read, strategy_cut
from mammo.network.strategies import Crossing, Prefix, fold_batchnorm
from mammo.storage.digests import code_sha256, digest, file_sha256
from mammo.storage.files import whole_folder, write_json
from mammo.storage.tensors import Tensors, write_shards

logger = logging.getLogger(__name__)

PLAN = "plan.json"  # in a strategy's folder of embeddings
POOLED = "pooled"  # pooled features of all blocks: (views, F) float32 an image
CUT = "cut"  # activations at the cut: (views, C, h, w) float16 an image
_CODE = ("mammo.network", "mammo.embedding")


@dataclass(frozen=True)
class EmbeddingParams:
    """The sections that one strategy's embedding depends on."""

    backbone: BackboneParams
    strategy: CutParams
    augment: AugmentParams
    embed: EmbedParams
    compute: ComputeParams


def store_embeddings(
    name: str, params: EmbeddingParams, weights: Path, tensors: Path, folder: Path, scratch: Path
) -> None:
    """Embed every image, whatever its split or label.

    Args:
        name: The strategy's.
        params: What its embedding depends on.
        weights: The file of the backbone's parameters.
        tensors: The folder of the images.
        folder: Where pooled features, activations and plan go; it is replaced.
        scratch: Where pooled features are kept for other strategies.
    """
    images = Tensors(tensors)
    network = strategy_network(name, params, weights)
    widths = block_widths(params.backbone)
    decision = plan(network, widths, images.shape[-1], len(images), params.embed)
    logger.info("%s: %s (%s)", name, "stored" if decision.stored else "not stored", decision.reason)
    kept = scratch / _pooled_key(params, weights, tensors)
    with whole_folder(folder, manifest=True) as partial:
        if decision.bytes_per_view and decision.stored:
            (partial / CUT).mkdir()
            items = Embedder(network.prefix, images, params, ends=False)
            write_shards(items.activations(), images.keys, partial / CUT, items.shard_bytes)
        if not _take(kept, partial / POOLED, images.keys):
            with whole_folder(kept) as pooled:
                whole = _every_block(name, params, weights)
                embedder = Embedder(whole, images, params, ends=True)
                write_shards(embedder.pooled(), images.keys, pooled, embedder.shard_bytes)
            shutil.copytree(kept, partial / POOLED)
        write_json(_plain(decision), partial / PLAN)


def strategy_network(name: str, params: EmbeddingParams, weights: Path) -> Network:
    """Build a strategy's network; its head is a stand-in, for what crosses doesn't depend on it."""
    key = f"strategies.{name}"
    reads = blocks_read(params.backbone.arch, params.strategy.features, key)
    at = strategy_cut(params.backbone, params.strategy, name)
    return _network(params, weights, at, reads)


def _every_block(name: str, params: EmbeddingParams, weights: Path) -> Prefix:
    names = blocks_read(params.backbone.arch, "all", name)
    return _network(params, weights, len(names), names).prefix


def _network(params: EmbeddingParams, weights: Path, at: int, reads: tuple[str, ...]) -> Network:
    widths = block_widths(params.backbone)
    head = HeadShape("multinomial", sum(widths[name] for name in reads), classes=2)
    return build_network(weights, params.backbone, Design(at, reads, grey=0, head=head))


def _pooled_key(params: EmbeddingParams, weights: Path, tensors: Path) -> str:
    """Hash all that pooled features depend on; how they are cut into shards isn't part of it."""
    shards = sorted(path for path in tensors.iterdir() if path.is_file())
    return digest(
        {
            "backbone": params.backbone.arch,
            "weights": file_sha256(weights),
            "tensors": [[path.name, file_sha256(path)] for path in shards],
            "augment": params.augment.model_dump(mode="json"),
            "embed": params.embed.model_dump(mode="json"),
            "compute": params.compute.model_dump(mode="json"),
            "processor": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "code": code_sha256(*_CODE),
        }
    )


def _take(kept: Path, folder: Path, keys: list[str]) -> bool:
    """Copy pooled features that another strategy has left; say whether there were sound ones."""
    try:
        if Tensors(kept).keys != keys:
            return False
    except (UserError, OSError, ValueError):
        return False
    shutil.copytree(kept, folder)
    return True


def _plain(decision: Plan) -> dict[str, object]:
    return asdict(decision)


class Embedder:
    """Runs a prefix over all views of all images."""

    def __init__(self, prefix: Prefix, tensors: Tensors, params: EmbeddingParams, ends: bool):
        fabric, self.dtype = start(params.compute), compute_dtype(params.compute)
        self.device = fabric.device
        self.prefix = fold_batchnorm(prefix, self.dtype).to(self.device)
        self.prefix.ends = ends
        self.tensors, self.params = tensors, params.embed
        self.augmentation = Augmentation(params.augment)
        self.shard_bytes = params.embed.shard_mb * 2**20

    def pooled(self) -> Iterator[np.ndarray]:
        """Yield each image's pooled features: (1 + views, F) float32; entry 0 is the clean view.

        Raises:
            FloatingPointError: A feature isn't finite.
        """
        for pictures, number in self._batches():
            side = self._cross(pictures).side
            if not side.isfinite().all():
                raise FloatingPointError("a pooled feature isn't finite")
            yield from side.float().cpu().numpy().reshape(number, -1, side.shape[1])

    def activations(self) -> Iterator[np.ndarray]:
        """Yield each image's activations at the cut: (1 + views, C, h, w) float16.

        Raises:
            FloatingPointError: An activation doesn't fit half precision.
        """
        for pictures, number in self._batches():
            crossing = cast(Tensor, self._cross(pictures).activations)
            # Contiguous, as it is stored; otherwise writing would pick out element by element.
            half = crossing.to(torch.float16, memory_format=torch.contiguous_format)
            if not half.abs().amax().isfinite():  # NaN and infinity both show in the maximum
                raise FloatingPointError("an activation at the cut exceeds half precision (65,504)")
            yield from half.cpu().numpy().reshape(number, -1, *half.shape[1:])

    def _cross(self, pictures: np.ndarray) -> Crossing:
        normalisation = self.prefix.normalisation
        crossing: Crossing = self.prefix(
            network_input(pictures, self.device, self.dtype, normalisation)
        )
        return crossing

    def _batches(self) -> Iterator[tuple[np.ndarray, int]]:
        """Yield all views of a few images, (b * views, H, W) float32, and b."""
        views = 1 + self.params.views
        count = max(1, self.params.batch_size // views)
        every = np.arange(len(self.tensors))
        batches = np.array_split(every, np.ceil(len(every) / count).astype(int))
        bar = tqdm(total=len(every), desc="embed", unit="image", mininterval=1, disable=None)
        with bar, torch.inference_mode():
            for pictures in read_ahead(self._views(batch) for batch in batches):
                yield pictures, len(pictures) // views
                bar.update(len(pictures) // views)

    def _views(self, positions: np.ndarray) -> np.ndarray:
        images = unit_range(self.tensors.gather(positions))
        keys = [self.tensors.keys[position] for position in positions]
        return np.stack(
            [
                self.augmentation.view(image, key, view)
                for image, key in zip(images, keys, strict=True)
                for view in range(1 + self.params.views)
            ]
        )
