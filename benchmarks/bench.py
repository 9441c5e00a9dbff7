"""Time training beside the plain reference; write benchmarks/results.md and results.json.

For each architecture and strategy, two processes live side by side and work in turns: one trains
as `mammo` does (fast.py), one as a textbook loop does (plain.py), from the same tensors of random
pixels. What is measured and what is multiplied stands in the page that this writes.

    make bench                                                            (16 minutes)
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from tqdm import tqdm

from fast import Fast
from machine import machine
from mammo import paths
from mammo.network.backbones import architecture_of
from mammo.network.params import BackboneParams
from mammo.network.weights import body, random_network, save_backbone
from mammo.params import load_params, read_params
from mammo.storage.files import write_json, write_table, write_text
from mammo.storage.tensors import write_shards
from plain import Plain

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURES = ("resnet50", "efficientnet_b0")
BLOCKS = {"head_only": 0, "last_block": 1, "last_two_blocks": 2, "full": None}
TARGETS = {  # of ResNet50: first run, second experiment
    "head_only": (4.0, 100.0), "last_block": (2.5, 4.0), "full": (2.2, 2.2),
}  # fmt: skip
EPOCHS = 10
TRAIN, VAL, SIZE_PX, BATCH_SIZE = 240, 80, 224, 16
PLAIN_TRAIN, PLAIN_VAL = 64, 16  # of these, the images that the plain reference is timed on
REPEATS = 3


# ---- the data


def make_folder(folder: Path, arch: str, train: int, val: int, size_px: int) -> None:
    """Lay out the inputs of stages `embed` and `train`: random pixels and random weights."""
    values = read_params(ROOT / paths.PARAMS)
    values["backbone"] |= {"arch": arch, "weights": "random", "file": None}
    values["train"] |= {"batch_size": BATCH_SIZE, "checkpoint_every_s": 0}
    values["strategies"] = {
        name: {
            "train_backbone": blocks is None,
            "unfreeze_last_blocks": blocks or 0,
            "lr": 3.0e-4,
            "epochs": EPOCHS if name == "head_only" else 1,  # an epoch takes it milliseconds
            "warmup_epochs": 0,
        }
        for name, blocks in BLOCKS.items()
    }
    folder.mkdir()
    write_text(yaml.safe_dump(values), folder / paths.PARAMS)
    backbone = load_params("backbone", BackboneParams, folder / paths.PARAMS)
    state = body(random_network(backbone).state_dict(), architecture_of(backbone))
    (folder / paths.WEIGHTS).mkdir(parents=True)
    save_backbone(state, folder / paths.BACKBONE)
    keys = [f"{number:05d}" for number in range(train + val)]
    random = np.random.default_rng(0)
    (folder / paths.TENSORS).mkdir()
    images = (random.integers(0, 256, (size_px, size_px), dtype=np.uint8) for _ in keys)
    write_shards(images, keys, folder / paths.TENSORS, 2**28)
    labels = ["ABCD"[number % 4] for number in range(train + val)]
    write_table(pd.DataFrame({"key": keys, "label": labels}), folder / paths.LABELS)
    splits = ["train"] * train + ["val"] * val
    write_table(pd.DataFrame({"key": keys, "split": splits}), folder / paths.SPLITS)


# ---- two processes, in turns


class Worker:
    """A process of its own, for its own peak memory; works when asked and else sleeps."""

    def __init__(self, folder: Path, make: Callable[..., Any], *arguments: Any):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, folder, make, *arguments))
        self.process.start()

    def repeat(self) -> dict[str, float]:
        """Measure once."""
        self.pipe.send("repeat")
        return self.pipe.recv()

    def close(self) -> None:
        """End the process."""
        self.pipe.send("close")
        self.process.join()


def _serve(pipe: Connection, folder: Path, make: Callable[..., Any], *arguments: Any) -> None:
    os.chdir(folder)
    subject = make(*arguments)
    while pipe.recv() == "repeat":
        seconds = subject.repeat()
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pipe.send({**seconds, "peak_mb": peak_kb / 1024})


Measured = dict[str, list[dict[str, float]]]


def measure(
    folder: Path, strategy: str, repeats: int, plain_train: int, plain_val: int
) -> Measured:
    """Let both ways work in turns: way -> one result a repeat."""
    workers = {
        "plain": Worker(folder, Plain, strategy, plain_train, plain_val),
        "ours": Worker(folder, Fast, strategy),
    }
    found: Measured = {way: [] for way in workers}
    for _ in range(repeats):
        for way, worker in workers.items():
            found[way].append(worker.repeat())
    for worker in workers.values():
        worker.close()
    return found


def command_seconds(folder: Path, command: list[str]) -> float:
    """Time a whole command, interpreter start included."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'benchmarks'}"}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, check=True, capture_output=True
    )
    return time.perf_counter() - started


def measure_commands(folder: Path, repeats: int) -> dict[str, list[float]]:
    """Time `stages/train.py head_only` as it is run, and the start of the plain reference."""
    found: dict[str, list[float]] = {"start": [], "train": []}
    train = [str(ROOT / "stages/train.py"), "head_only"]
    for _ in range(repeats):
        found["start"].append(command_seconds(folder, ["-c", "import plain"]))
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        found["train"].append(command_seconds(folder, train))
    return found


# ---- from seconds to ratios


def ratio(plain: list[float], ours: list[float]) -> dict[str, float]:
    """Divide repeat by repeat: the median, the least and the largest ratio."""
    ratios = [p / o for p, o in zip(plain, ours, strict=True)]
    each = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    return {name: round(value, 2) for name, value in each.items()}


def summarise(measured: Measured, images: int, commands: dict[str, list[float]]) -> dict[str, Any]:
    """Turn one strategy's repeats into medians and ratios.

    Args:
        measured: As `measure` returns it.
        images: Those of an epoch, training and validation.
        commands: As `measure_commands` returns it, for `head_only`; else empty.
    """
    plain, ours = measured["plain"], measured["ours"]

    def middle(runs: list[dict[str, float]], key: str) -> float:
        return statistics.median(run[key] for run in runs)

    training = {way: [EPOCHS * run["epoch"] for run in measured[way]] for way in measured}
    plain_run = [run["open"] + EPOCHS * run["epoch"] for run in plain]
    our_second = [run["open"] + EPOCHS * run["epoch"] for run in ours]
    our_first = [run["embed"] + second for run, second in zip(ours, our_second, strict=True)]
    ratios = {
        "first_run": ratio(plain_run, our_first),
        "second_experiment": ratio(training["plain"], training["ours"]),
        "second_experiment_opened": ratio(plain_run, our_second),
    }
    if commands:
        plain_command = [s + run for s, run in zip(commands["start"], plain_run, strict=True)]
        ratios["second_experiment_command"] = ratio(plain_command, commands["train"])
    found: dict[str, Any] = {name: values["median"] for name, values in ratios.items()}
    found["ranges"] = {name: [v["min"], v["max"]] for name, v in ratios.items()}
    for way, runs, first in (("plain", plain, plain_run), ("ours", ours, our_first)):
        epoch = middle(runs, "epoch")
        found[way] = {
            "first_run_s": round(statistics.median(first), 2),
            "second_experiment_s": round(statistics.median(training[way]), 2),
            "epoch_s": round(epoch, 3),
            "images_per_s": round(images / epoch, 1),
            "peak_mb": round(max(run["peak_mb"] for run in runs)),
        }
    found["ours"]["embed_s"] = round(middle(ours, "embed"), 2)
    if commands:
        found["ours"]["command_s"] = round(statistics.median(commands["train"]), 2)
    for share, bare, real in (
        ("embedding_share", "bare_views", "views"), ("training_share", "bare_epoch", "epoch"),
    ):  # fmt: skip
        if bare in ours[0]:
            found[share] = ratio([run[bare] for run in ours], [run[real] for run in ours])
    return found


# ---- the page


INTRODUCTION = f"""# Training and embedding, beside a plain reference

Written by `make bench`. {TRAIN} training and {VAL} validation images of {SIZE_PX} x {SIZE_PX}
random pixels, batches of {BATCH_SIZE}, random weights, {EPOCHS} epochs without warm-up; `compute`,
`embed` and `augment` as in params.yaml. Medians of {REPEATS} repeats, the two ways in turns, each
in a process of its own; a ratio is taken repeat by repeat, its least and largest value behind it.

What is measured, and what is multiplied:

- **Plain** (plain.py): opening, and an epoch over {PLAIN_TRAIN} of the training and {PLAIN_VAL} of
  the validation images, after a pass that starts the loader's workers and an untimed step. Their
  seconds times {(TRAIN + VAL) / (PLAIN_TRAIN + PLAIN_VAL):g} are an epoch, times {EPOCHS} a run.
- **Ours** (fast.py): embedding is measured whole, every image clean and in its views, written to
  disk; opening and a whole epoch too, times {EPOCHS} for a run, with a resumable checkpoint after
  every epoch. Of `head_only` all {EPOCHS} epochs are really run.
- **First run** is embedding (where there is something to store), opening and {EPOCHS} epochs.
  **Second experiment** is the {EPOCHS} epochs alone, on both sides; `opened` adds the opening of
  the network and the data on both sides. **Command**, for `head_only`: `python stages/train.py
  head_only`, really run, against the plain reference's interpreter start (measured), opening and
  epochs.
- Images a second are the {TRAIN + VAL} of an epoch by its seconds. Peak memory is the process's
  resident maximum, mapped files included, the plain reference's loader processes not.
"""


def with_range(found: dict[str, Any], name: str) -> str:
    """Set a ratio and its range; a dash where there is none."""
    if name not in found:
        return "–"
    low, high = found["ranges"][name]
    return f"**{found[name]:.1f}** ({low:.1f} to {high:.1f})"


def page(results: dict[str, dict[str, Any]], seconds: float) -> str:
    """Set the results in Markdown."""
    packages = ("torch", "torchvision", "numpy", "albumentations")
    lines = [
        INTRODUCTION,
        f"{machine(*packages)}. The whole took {seconds / 60:.1f} minutes.",
    ]
    for arch, strategies in results.items():
        lines += [
            "",
            f"## {arch}: ratios to the plain reference",
            "",
            "| strategy | first run | second experiment | opened | command | target |",
            "|---|---|---|---|---|---|",
        ]
        for name, found in strategies.items():
            wanted = TARGETS.get(name) if arch == "resnet50" else None
            target = "≥ {:g} / ≥ {:g}".format(*wanted) if wanted else "–"
            kinds = ("first_run", "second_experiment")
            kinds += ("second_experiment_opened", "second_experiment_command")
            cells = [with_range(found, kind) for kind in kinds]
            lines.append(f"| {name} | {' | '.join(cells)} | {target} |")
        lines += [
            "",
            f"## {arch}: seconds",
            "",
            "| strategy | | first run | embedding | second experiment | command | an epoch "
            "| images/s | peak MB |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for name, found in strategies.items():
            for way in ("plain", "ours"):
                each = found[way]
                embedding = each.get("embed_s") or "–"
                lines.append(
                    f"| {name} | {way} | {each['first_run_s']} | {embedding} "
                    f"| {each['second_experiment_s']} | {each.get('command_s', '–')} "
                    f"| {each['epoch_s']} | {each['images_per_s']} | {each['peak_mb']} |"
                )
        lines += ["", f"## {arch}: share of the bare rate on random data in memory", ""]
        for name, found in strategies.items():
            for share, what, least in (
                ("embedding_share", "making and storing views against the bare prefix", 0.90),
                ("training_share", "an epoch against its bare training and validation steps", 0.95),
            ):
                if share in found:
                    values = found[share]
                    lines.append(
                        f"- {name}: {what}: **{values['median']:.0%}** ({values['min']:.0%} to "
                        f"{values['max']:.0%}); target {least:.0%}."
                    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure everything, print the page and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archs", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument("--strategies", nargs="+", choices=BLOCKS, default=list(BLOCKS))
    arguments = parser.parse_args()
    started = time.perf_counter()
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for arch in arguments.archs:
            folder = Path(scratch) / arch
            make_folder(folder, arch, TRAIN, VAL, SIZE_PX)
            results[arch] = {}
            for name in tqdm(arguments.strategies, desc=arch):
                measured = measure(folder, name, REPEATS, PLAIN_TRAIN, PLAIN_VAL)
                commands = measure_commands(folder, REPEATS) if name == "head_only" else {}
                results[arch][name] = summarise(measured, TRAIN + VAL, commands)
    text = page(results, time.perf_counter() - started)
    print(text)
    complete = arguments.archs == ARCHITECTURES and arguments.strategies == list(BLOCKS)
    if complete:
        write_json(results, Path(__file__).with_name("results.json"))
        write_text(text, Path(__file__).with_name("results.md"))


if __name__ == "__main__":
    main()
