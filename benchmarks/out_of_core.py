"""Embed and train on a set of RSNA's size, and write down its memory and its cost per image.

54,706 made-up images as shards, without DICOMs, at 512 x 512 and at 128 x 128; MobileNetV2, the
lightest of the architectures. By the library's calls, without DVC:

- head_only at 512 px: the clean view of every image goes through the prefix and is stored;
- last_block at 128 px: stored with one view or run on the fly, as `embed.store: auto` decides.

Then each trains on 1,000 images up to all of them. Anonymous memory is sampled while all this
runs; pages of a memmap are the page cache's and don't count.

    PYTHONPATH=src python benchmarks/out_of_core.py            (under an hour, 15 GB of disk)
    PYTHONPATH=src python benchmarks/out_of_core.py --images 2000 --folder FOLDER    (a try)
"""

import argparse
import logging
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import numpy as np
import yaml
from lightning_fabric import Fabric
from tqdm import tqdm

matplotlib.use("agg")
from matplotlib import pyplot as plt

from machine import machine
from mammo.cohort.cases import Fold
from mammo.embedding.augment import Augmentation
from mammo.embedding.embedder import Embedder
from mammo.embedding.features import Features
from mammo.embedding.params import AugmentParams, EmbedParams
from mammo.embedding.plan import plan
from mammo.embedding.sources import FreshViews, Source, StoredViews
from mammo.evaluation.params import CollapseParams
from mammo.network.backbones import architecture_of
from mammo.network.compute import compute_dtype
from mammo.network.devices import start_fabric
from mammo.network.network import Design, Network, block_widths, build_network, head_shape
from mammo.network.params import (
    BLOCK_NAMES,
    BackboneParams,
    ComputeParams,
    StrategyParams,
    strategy_cut,
)
from mammo.network.strategies import fold_batchnorm
from mammo.network.weights import body, random_network, save_backbone
from mammo.storage.files import write_json
from mammo.storage.tensors import Tensors, write_shards
from mammo.training.job import Job
from mammo.training.loop import train
from mammo.training.params import TrainParams
from mammo.training.settings import load_recipe

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
IMAGES = 54_706  # of RSNA's screening mammography challenge
SHARD_BYTES = 256 * 2**20
WINDOW = 1_000  # images of which one cost is measured
SIZES = (1_000, 3_000, 10_000, 25_000, IMAGES)  # that are trained on
VALIDATION = 1_000
MEMORY_TARGET_GB = 3
FLATNESS_TARGET = 0.25
ARCH = "mobilenet_v2"
LAST = BLOCK_NAMES[ARCH][-1:]
CLASSES = ["A", "B", "C", "D"]
ARMS = {"head_only": 512, "last_block": 128}  # strategy: side of the images, px
PIXELS_PER_BATCH = 2**21  # that a step of embedding takes: 8 views at 512 px


@dataclass
class Memory:
    """The largest anonymous memory of this process, sampled ten times a second.

    Source: proc(5), RssAnon of /proc/pid/status.
    """

    peak_bytes: int = 0
    _end: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Sample until the end."""
        while not self._end.wait(0.1):
            lines = Path("/proc/self/status").read_text().splitlines()
            now = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.peak_bytes = max(self.peak_bytes, 1024 * now)


@contextmanager
def watched() -> Iterator[Memory]:
    """Watch the memory of what is inside."""
    memory = Memory()
    thread = threading.Thread(target=memory.watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        memory._end.set()
        thread.join()


def pictures(images: int, size_px: int) -> Iterator[np.ndarray]:
    """Cut every image out of one large texture: (size_px, size_px) uint8.

    The class, the number modulo 4, is how bright it is; nothing else here resembles a mammogram.
    """
    random = np.random.default_rng(0)
    coarse = random.integers(0, 90, (2 * size_px // 8, 2 * size_px // 8), dtype=np.uint8)
    texture = np.kron(coarse, np.ones((8, 8), dtype=np.uint8))
    texture += random.integers(0, 60, texture.shape, dtype=np.uint8)
    corners = random.integers(0, size_px, (images, 2))
    for number, (y, x) in enumerate(corners):
        yield texture[y : y + size_px, x : x + size_px] + np.uint8(30 * (number % 4))


def keys(images: int) -> list[str]:
    """Name the images."""
    return [f"{number:06d}" for number in range(images)]


def timed(items: Iterable[T], total: int, costs: list[float]) -> Iterator[T]:
    """Pass items on; append the seconds per item of every whole window to `costs`."""
    started = time.perf_counter()
    window = min(WINDOW, total)
    for number, item in enumerate(items, start=1):
        yield item
        if number % window == 0:
            costs.append((time.perf_counter() - started) / window)
            started = time.perf_counter()


def write_pictures(folder: Path, images: int, size_px: int) -> Tensors:
    """Write the images as `preprocess` does."""
    folder.mkdir()
    bar = tqdm(pictures(images, size_px), f"write {size_px} px", images, mininterval=5)
    write_shards(bar, keys(images), folder, SHARD_BYTES)
    return Tensors(folder)


def section(name: str, model: type[T], **changes: Any) -> T:
    """Read a section of params.yaml, with changes."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key in name.split("."):
        values = values[key]
    return model(**{**values, **changes})


def make_network(folder: Path, strategy: str) -> Network:
    """Cut a network of random parameters as the strategy does; the head reads the last block."""
    backbone = backbone_params()
    path = folder / "backbone.safetensors"
    save_backbone(body(random_network(backbone).state_dict(), architecture_of(backbone)), path)
    at = strategy_cut(backbone, section(f"strategies.{strategy}", StrategyParams), strategy)
    head = head_shape(backbone, LAST, 0, "multinomial", len(CLASSES))
    return build_network(path, backbone, Design(at, LAST, 0, head, dropout=0.2))


def backbone_params() -> BackboneParams:
    """Choose a small network of random parameters."""
    return section("backbone", BackboneParams, arch=ARCH, weights="random")


@dataclass
class Arm:
    """What is measured of a strategy."""

    strategy: str
    size_px: int
    plan: str = ""
    embedded_views: int = 0
    embed_seconds: float = 0.0
    embed_costs: list[float] = field(default_factory=list)  # s an image, one a window
    train_costs: dict[int, float] = field(default_factory=dict)  # images: s an image and epoch
    train_seconds: float = 0.0
    peak_gb: dict[str, float] = field(default_factory=dict)


def embed_arm(
    arm: Arm, network: Network, tensors: Tensors, folder: Path, compute: ComputeParams
) -> Source:
    """Store what crosses the cut, or leave it to training; note the decision and the cost.

    head_only stores the clean view alone: with one view more, its share of the time would double.
    """
    clean_alone = arm.strategy == "head_only"
    batch_size = min(64, PIXELS_PER_BATCH // arm.size_px**2)
    params = section("embed", EmbedParams, views=0 if clean_alone else 1, batch_size=batch_size)
    decided = plan(
        network, block_widths(backbone_params()), arm.size_px, len(tensors),
        params.model_copy(update={"views": 1}),
    )  # fmt: skip
    arm.plan = f"{'stored' if decided.stored else 'on the fly'} ({decided.reason})"
    augment, dtype = section("augment", AugmentParams), compute_dtype(compute)
    if not decided.stored:
        prefix = fold_batchnorm(network.prefix, dtype)
        return FreshViews(tensors, prefix, dtype, Augmentation(augment))
    arm.embedded_views = 1 + params.views
    embedder = Embedder(network.prefix, tensors, augment, params, compute, ends=True)
    items = (item for crossed in embedder.crossings(()) for item in crossed.pooled)
    target = folder / f"embeddings-{arm.strategy}"
    target.mkdir()
    started = time.perf_counter()
    with watched() as memory:
        write_shards(timed(items, len(tensors), arm.embed_costs), tensors.keys, target, SHARD_BYTES)
    arm.embed_seconds = time.perf_counter() - started
    arm.peak_gb["embed"] = memory.peak_bytes / 1e9
    pooled = Tensors(target)
    width = pooled.shape[-1]
    return StoredViews(Features(pooled, np.arange(width), (width,)))


def fold_of(total: int, images: int) -> Fold:
    """Train on the first images, validate on some of them: this is about time, not about skill."""
    labels = np.arange(total) % len(CLASSES)
    return Fold(
        labels, np.arange(total), np.arange(images), np.arange(min(VALIDATION, images)), CLASSES
    )


def train_arm(arm: Arm, network: Network, source: Source, total: int, fabric: Fabric) -> None:
    """Train two epochs or more on sets of growing size; note the seconds an image and epoch.

    The first epoch of every size isn't counted; of the others the median is. So that a cost that
    grows with the number of images would show, no size is allowed fewer images in all than 2,000.
    """
    fresh = {key: value.clone() for key, value in network.suffix.state_dict().items()}
    started = time.perf_counter()
    with watched() as memory:
        for images in sorted({min(size, total) for size in SIZES}):
            epochs = 1 + max(1, min(9, 20_000 // images))
            changes = dict(head="gradient", epochs=epochs, warmup_epochs=0)
            strategy = section(f"strategies.{arm.strategy}", StrategyParams, **changes)
            recipe = replace(
                load_recipe(arm.strategy), strategy=strategy, backbone=backbone_params(),
                train=section("train", TrainParams, early_stopping_epochs=0),
                collapse=section("collapse", CollapseParams, action="warn"),
            )  # fmt: skip
            network.suffix.load_state_dict(fresh)
            clock = EpochClock()
            job = Job(recipe, fold_of(total, images), source, fabric, clock.record)
            train(job, network.suffix)
            arm.train_costs[images] = statistics.median(clock.seconds[1:]) / images
    arm.train_seconds = time.perf_counter() - started
    arm.peak_gb["train"] = memory.peak_bytes / 1e9


class EpochClock:
    """Times the epochs' training, from the end of one validation to the row of the next epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._since = time.perf_counter()

    def record(self, row: dict[str, Any]) -> None:
        """Take in a finished row of the history."""
        now = time.perf_counter()
        if row["split"] == "train":
            self.seconds.append(now - self._since)
        self._since = now


def measure(folder: Path, images: int) -> tuple[list[Arm], dict[str, float]]:
    """Make the sets, embed, train; remove each set when it is done with."""
    compute = section("compute", ComputeParams, accelerator="cpu")
    fabric = start_fabric(compute)
    arms, sizes = [], {}
    for strategy, size_px in ARMS.items():
        arm = Arm(strategy, size_px)
        images_folder = folder / f"tensors-{size_px}"
        tensors = write_pictures(images_folder, images, size_px)
        sizes[strategy] = sum(p.stat().st_size for p in images_folder.iterdir()) / 1e9
        network = make_network(folder, strategy)
        source = embed_arm(arm, network, tensors, folder, compute)
        if arm.embedded_views:  # from here on no pixel is read
            del tensors
            shutil.rmtree(images_folder)
        train_arm(arm, network, source, images, fabric)
        arms.append(arm)
    return arms, sizes


def spread(costs: list[float]) -> float:
    """Say how far the costs are from their median at most, as a share of it."""
    middle = statistics.median(costs)
    return max(abs(cost - middle) for cost in costs) / middle


def medians(arm: Arm, total: int) -> dict[int, float]:
    """Put the windows of embedding together by tenths of the set: {images so far: median cost}."""
    tenths = np.array_split(np.array(arm.embed_costs), min(10, len(arm.embed_costs)))
    ends = np.cumsum([len(tenth) for tenth in tenths]) * min(WINDOW, total)
    return {int(end): float(np.median(tenth)) for end, tenth in zip(ends, tenths, strict=True)}


def draw(arms: list[Arm], total: int, path: Path) -> None:
    """Draw the cost per image over the number of images, relative to each curve's median."""
    figure, panels = plt.subplots(1, 2, figsize=(9.6, 3.6), sharey=True, layout="constrained")
    for arm, colour in zip(arms, ("#0b6e99", "#d17a00"), strict=True):
        label = f"{arm.strategy}, {arm.size_px} px"
        if arm.embed_costs:
            middle = statistics.median(arm.embed_costs)
            windows = np.arange(1, len(arm.embed_costs) + 1) * min(WINDOW, total)
            relative = np.array(arm.embed_costs) / middle
            panels[0].plot(windows, relative, color=colour, linewidth=0.8, alpha=0.5)
            tenths = medians(arm, total)
            name = f"{label}: {1e3 * middle:.2f} ms"
            values = [value / middle for value in tenths.values()]
            panels[0].plot(list(tenths), values, "o-", color=colour, label=name)
        middle = statistics.median(arm.train_costs.values())
        name = f"{label}: {1e3 * middle:.3f} ms"
        values = [value / middle for value in arm.train_costs.values()]
        panels[1].plot(list(arm.train_costs), values, "o-", color=colour, label=name)
    titles = (f"embed: windows of {min(WINDOW, total):,} images", "train: one epoch")
    labels = ("images embedded so far", "images in the training set")
    for axes, title, text in zip(panels, titles, labels, strict=True):
        axes.axhspan(1 - FLATNESS_TARGET, 1 + FLATNESS_TARGET, color="0.92", zorder=0)
        axes.set(title=title, xlabel=text, ylim=(0, 2))
        axes.legend(fontsize=8, frameon=False, title="median cost per image", title_fontsize=8)
        axes.xaxis.set_major_formatter("{x:,.0f}")
    sizes = list(arms[0].train_costs)
    panels[1].set_xscale("log")
    panels[1].set_xticks(sizes, [f"{size:,}" for size in sizes])
    panels[1].minorticks_off()
    panels[0].set_ylabel("cost per image / its median")
    figure.savefig(path, dpi=120)


def as_values(arms: list[Arm], total: int) -> dict[str, Any]:
    """Return what was measured as plain JSON values."""
    return {
        arm.strategy: {
            "size_px": arm.size_px,
            "plan": arm.plan,
            "views_embedded": arm.embedded_views,
            "embed_seconds": round(arm.embed_seconds, 1),
            "embed_ms_per_image": {n: round(1e3 * s, 3) for n, s in medians(arm, total).items()}
            if arm.embed_costs
            else {},
            "train_seconds": round(arm.train_seconds, 1),
            "train_ms_per_image": {n: round(1e3 * s, 4) for n, s in arm.train_costs.items()},
            "peak_anonymous_gb": {name: round(gb, 2) for name, gb in arm.peak_gb.items()},
        }
        for arm in arms
    }


def report(arms: list[Arm], sizes: dict[str, float], total: int, seconds: float) -> str:
    """Write the page."""
    lines = [
        "# Out of core: a set of RSNA's size",
        "",
        f"`PYTHONPATH=src python benchmarks/out_of_core.py` on {machine('torch', 'numpy')}: "
        f"{total:,} made-up images, MobileNetV2 with random parameters; {seconds / 60:.0f} "
        "minutes in all.",
        "",
        "| | images, GB | embedding | s | ms an image, median | largest deviation of a tenth "
        "| training, ms an image and epoch, median | largest deviation "
        "| peak anonymous memory, GB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for arm in arms:
        train_costs = list(arm.train_costs.values())
        embedding = ["on the fly", "–", "–", "–"]
        if arm.embed_costs:
            tenths = list(medians(arm, total).values())
            views = "clean" if arm.embedded_views == 1 else f"clean + {arm.embedded_views - 1}"
            embedding = [
                views, f"{arm.embed_seconds:,.0f}",
                f"{1e3 * statistics.median(arm.embed_costs):.2f}", f"{spread(tenths):.0%}",
            ]  # fmt: skip
        cells = [
            f"{arm.strategy}, {arm.size_px} px", f"{sizes[arm.strategy]:.1f}", *embedding,
            f"{1e3 * statistics.median(train_costs):.3f}", f"{spread(train_costs):.0%}",
            ", ".join(f"{gb:.2f} ({name})" for name, gb in arm.peak_gb.items()),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    peak = max(gb for arm in arms for gb in arm.peak_gb.values())
    flat = max(
        spread(costs)
        for arm in arms
        for costs in (list(arm.train_costs.values()), list(medians(arm, total).values()))
        if costs
    )
    lines += [
        "",
        *(f"- `embed.store: auto`, {arm.strategy} with one view: {arm.plan}." for arm in arms),
        f"- Memory: {peak:.2f} GB, target at most {MEMORY_TARGET_GB}: "
        f"{'met' if peak <= MEMORY_TARGET_GB else 'missed'}.",
        f"- Flatness: no median is further than {flat:.0%} from its curve's median, target "
        f"{FLATNESS_TARGET:.0%}: {'met' if flat <= FLATNESS_TARGET else 'missed'}.",
        "- head_only is embedded clean alone, without the view that training could draw from: a "
        "second view at 512 px would double the longest part of this program. What a view costs "
        "more, its augmentation, is measured at 128 px.",
        "- ResNet50's last_block at 128 px would store 131 KB a view, 14 GB for two views, beyond "
        "`embed.budget_gb`, and run its prefix in every epoch.",
        "",
        "![cost per image](out_of_core.png)",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the page, the curve and the figures; a try writes into its folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--folder", type=Path, help="in place of a temporary one")
    arguments = parser.parse_args()
    logging.disable()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        arms, sizes = measure(Path(folder), arguments.images)
    seconds = time.perf_counter() - started
    whole = arguments.images == IMAGES
    target = Path(__file__).parent if whole else arguments.folder or Path.cwd()
    text = report(arms, sizes, arguments.images, seconds)
    print(text)
    (target / "out_of_core.md").write_text(text)
    write_json(as_values(arms, arguments.images), target / "out_of_core.json")
    draw(arms, arguments.images, target / "out_of_core.png")


if __name__ == "__main__":
    main()
