"""What crosses the cut, computed once: every image clean and in several augmented views.

A frozen prefix gives the same answer in every epoch, so its activations are stored and training
starts from there. Pooled features of all blocks are stored for every strategy: heads are solved
on them. They don't depend on the cut, so they are computed once for all strategies that share
backbone, images and views, and kept in the scratch store; so are the activations before the last
blocks, which the same pass goes through.
"""

import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from mammo import paths
from mammo.embedding.embedder import Embedder
from mammo.embedding.grey import open_grey
from mammo.embedding.params import AugmentParams, EmbedParams
from mammo.embedding.plan import Plan, plan
from mammo.errors import UserError
from mammo.network.head import HeadShape
from mammo.network.network import Design, Network, block_widths, build_network
from mammo.network.params import BackboneParams, ComputeParams, CutParams, blocks_read, strategy_cut
from mammo.network.strategies import Prefix
from mammo.storage.digests import code_sha256, digest, file_sha256
from mammo.storage.files import whole_folder, write_json
from mammo.storage.tensors import ShardWriter, Tensors, write_shards

logger = logging.getLogger(__name__)

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
        folder: Where pooled features, activations, grey features and plan go; it is replaced.
        scratch: Where pooled features are kept for other strategies.
    """
    images = Tensors(tensors)
    network = strategy_network(name, params, weights)
    widths = block_widths(params.backbone)
    decision = plan(network, widths, images.shape[-1], len(images), params.embed)
    logger.info("%s: %s (%s)", name, "stored" if decision.stored else "not stored", decision.reason)
    kept = scratch / _key(params, weights, tensors)
    with whole_folder(folder, manifest=True) as partial:
        if not _take(kept / paths.POOLED, partial / paths.POOLED, images.keys):
            whole = _embedder(_every_block(name, params, weights), images, params, ends=True)
            with whole_folder(kept) as crossings:
                _store_crossings(whole, crossings)
            shutil.copytree(kept / paths.POOLED, partial / paths.POOLED)
        if decision.bytes_per_view and decision.stored:
            cut = partial / paths.CUT
            if not _take(kept / _cut_name(network.cut), cut, images.keys):
                cut.mkdir()
                items = _embedder(network.prefix, images, params, ends=False)
                write_shards(items.activations(), images.keys, cut, items.shard_bytes)
        if params.strategy.grey:
            (partial / paths.GREY).mkdir()
            every = open_grey(tensors)(np.arange(len(images)))
            write_shards(every, images.keys, partial / paths.GREY, params.embed.shard_mb * 2**20)
        write_json(_plain(decision), partial / paths.PLAN)


def _store_crossings(embedder: Embedder, folder: Path) -> None:
    """Store the pooled features of all blocks, and what crosses the cuts that are often made.

    Activations that would exceed `embed.budget_gb`, or half precision, are left out: a strategy
    that wants them all the same computes them itself, and says what is wrong with them.
    """
    blocks, images = len(embedder.prefix.blocks), len(embedder.tensors)
    params = embedder.params
    read = params.views > 0 and params.store != "never"
    cuts = [blocks - after for after in _AFTER_USUAL_CUTS] if read else []
    with _Stores(embedder.tensors.keys, folder, embedder.shard_bytes) as stores:
        for crossed in embedder.crossings(cuts):
            stores.write(paths.POOLED, crossed.pooled)
            for at, half in crossed.activations.items():
                fits = half[0].nbytes * images <= params.budget_gb * 1e9
                if fits and np.isfinite(half).all():
                    stores.write(_cut_name(at), half)
                else:
                    stores.leave_out(_cut_name(at))


class _Stores:
    """Folders of shards that are filled side by side, each below `folder`."""

    def __init__(self, keys: list[str], folder: Path, shard_bytes: int):
        self.keys, self.folder, self.shard_bytes = keys, folder, shard_bytes
        self._writers: dict[str, ShardWriter] = {}
        self._left_out: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def write(self, name: str, items: np.ndarray) -> None:
        """Write the next items of one folder, unless it is left out."""
        if name in self._left_out:
            return
        if name not in self._writers:
            (self.folder / name).mkdir()
            self._writers[name] = ShardWriter(self.keys, self.folder / name, self.shard_bytes)
        for item in items:
            self._writers[name].write(item)

    def leave_out(self, name: str) -> None:
        """Remove a folder, and write no more to it."""
        self._left_out.add(name)
        if name in self._writers:
            self._writers.pop(name).abandon()
            shutil.rmtree(self.folder / name)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for writer in self._writers.values():
            if kind is None:
                writer.close()
            else:
                writer.abandon()


# Numbers of blocks after the cut for which the pass over all blocks keeps what crosses it.
_AFTER_USUAL_CUTS = (1, 2)


def _cut_name(at: int) -> str:
    return f"{paths.CUT}-{at}"


def strategy_network(name: str, params: EmbeddingParams, weights: Path) -> Network:
    """Build a strategy's network; its head is a stand-in, for what crosses doesn't depend on it."""
    key = f"strategies.{name}"
    reads = blocks_read(params.backbone.arch, params.strategy.features, key)
    at = strategy_cut(params.backbone, params.strategy, name)
    return _network(params, weights, at, reads)


def _embedder(prefix: Prefix, images: Tensors, params: EmbeddingParams, ends: bool) -> Embedder:
    return Embedder(prefix, images, params.augment, params.embed, params.compute, ends)


def _every_block(name: str, params: EmbeddingParams, weights: Path) -> Prefix:
    names = blocks_read(params.backbone.arch, "all", name)
    return _network(params, weights, len(names), names).prefix


def _network(params: EmbeddingParams, weights: Path, at: int, reads: tuple[str, ...]) -> Network:
    widths = block_widths(params.backbone)
    head = HeadShape("multinomial", sum(widths[name] for name in reads), classes=2)
    return build_network(weights, params.backbone, Design(at, reads, grey=0, head=head))


def _key(params: EmbeddingParams, weights: Path, tensors: Path) -> str:
    """Hash all that features and activations depend on; the strategy isn't part of it."""
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
    """Copy what another strategy has left; say whether it was there, and sound."""
    try:
        if Tensors(kept).keys != keys:
            return False
    except (UserError, OSError, ValueError):
        return False
    shutil.copytree(kept, folder)
    return True


def _plain(decision: Plan) -> dict[str, object]:
    return asdict(decision)
