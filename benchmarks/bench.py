"""Time training beside the plain reference; write benchmarks/results.md.

For each architecture and strategy, two processes live side by side and work in turns: one trains
as `mammo` does (fast.py), one as a textbook loop does (plain.py), from the same tensors of random
pixels. What is measured and what is multiplied stands in the page that this writes.

    make bench                                                (8 to 15 minutes: the default network)
    PYTHONPATH=src python benchmarks/bench.py --archs resnet50 efficientnet_b0
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
from mammo.network.backbone_sources import store_backbone
from mammo.network.params import PACKAGED, BackboneParams
from mammo.params import load_params, read_params
from mammo.storage.files import write_table, write_text
from mammo.storage.tensors import OUTLINES, packed, write_shards
from plain import Plain

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURES = ("efficientnet_lite0", "resnet50", "efficientnet_b0")
BLOCKS = {"probe": 0, "head_only": 0, "last_block": 1, "last_two_blocks": 2, "full": None}
COMMAND = "probe"  # the strategy whose stage `train` is timed as a command
_DEPTHWISE = {"probe": (10.0, 100.0), "head_only": (10.0, 100.0), "full": (2.2, 2.2)}
TARGETS: dict[str, dict[str, tuple[float, float]]] = {  # first run, second experiment
    "efficientnet_lite0": _DEPTHWISE,
    "resnet50": {**_DEPTHWISE, "last_block": (2.5, 4.0)},
    "efficientnet_b0": _DEPTHWISE,
}
EPOCHS = 10
TRAIN, VAL, SIZE_PX, BATCH_SIZE = 240, 80, 224, 16
PLAIN_TRAIN, PLAIN_VAL = 64, 16  # of these, the images that the plain reference is timed on
REPEATS = 5


# ---- the data


def make_folder(folder: Path, arch: str, train: int, val: int, size_px: int) -> None:
    """Lay out the inputs of stages `embed` and `train`: random pixels, and weights.

    The weights are the packaged ones or random: solving a head takes longer on real features.
    """
    values = read_params(ROOT / paths.PARAMS)
    weights = "packaged" if arch in PACKAGED else "random"
    values["backbone"] |= {"arch": arch, "weights": weights, "file": None}
    values["train"] |= {"batch_size": BATCH_SIZE, "checkpoint_every_s": 0}
    values["strategies"] = {
        name: {
            "train_backbone": blocks is None,
            "unfreeze_last_blocks": blocks or 0,
            "features": "inner" if name == "probe" else "last",
            "grey": name == "probe",
            "head": "solved",
            "lr": 1.0e-4,
            "epochs": 1,  # is measured; EPOCHS of them are counted
            "warmup_epochs": 0,
        }
        for name, blocks in BLOCKS.items()
    }
    folder.mkdir()
    write_text(yaml.safe_dump(values), folder / paths.PARAMS)
    backbone = load_params("backbone", BackboneParams, folder / paths.PARAMS)
    (folder / paths.DATA).mkdir()
    store_backbone(backbone, folder / paths.WEIGHTS)
    keys = [f"{number:05d}" for number in range(train + val)]
    random = np.random.default_rng(0)
    (folder / paths.TENSORS).mkdir()
    images = (random.integers(0, 256, (size_px, size_px), dtype=np.uint8) for _ in keys)
    write_shards(images, keys, folder / paths.TENSORS, 2**28)
    (folder / paths.TENSORS / OUTLINES).mkdir()
    outline = packed(np.ones((size_px, size_px), dtype=bool))
    write_shards((outline for _ in keys), keys, folder / paths.TENSORS / OUTLINES, 2**28)
    facts = {"key": keys, "patient": keys, "laterality": "L", "view": "CC"}
    write_table(pd.DataFrame(facts), folder / paths.IMAGES)
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
    """Time stage `train` of `COMMAND` as it is run, and the start of the plain reference."""
    found: dict[str, list[float]] = {"start": [], "train": []}
    train = [str(ROOT / "stages/train.py"), COMMAND]
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
        commands: As `measure_commands` returns it, for `COMMAND`; else empty.
    """
    plain, ours = measured["plain"], measured["ours"]

    def middle(runs: list[dict[str, float]], key: str) -> float:
        return statistics.median(run[key] for run in runs)

    training = {
        way: [run.get("fixed", 0) + EPOCHS * run["epoch"] for run in measured[way]]
        for way in measured
    }
    opened = {
        way: [r["open"] + t for r, t in zip(measured[way], training[way], strict=True)]
        for way in measured
    }
    plain_run, our_second = opened["plain"], opened["ours"]
    our_first = [run["embed"] + second for run, second in zip(ours, our_second, strict=True)]
    ratios = {
        "first_run": ratio(plain_run, our_first),
        "second_experiment": ratio(training["plain"], training["ours"]),
        "second_experiment_opened": ratio(plain_run, our_second),
    }
    if "once" in ours[0]:
        ratios["second_experiment_once"] = ratio(training["plain"], [run["once"] for run in ours])
    if "bare_embed" in ours[0]:
        ratios["bound"] = ratio(plain_run, [run["bare_embed"] for run in ours])
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
            "images_per_s": round(images / epoch, 1) if epoch else None,
            "peak_mb": round(max(run["peak_mb"] for run in runs)),
        }
    found["ours"]["embed_s"] = round(middle(ours, "embed"), 2)
    found["ours"]["fixed_s"] = round(middle(ours, "fixed"), 2)
    if commands:
        found["ours"]["command_s"] = round(statistics.median(commands["train"]), 2)
    for share, bare, real in (
        ("embedding_share", "bare_embed", "embed"), ("training_share", "bare_epoch", "epoch"),
    ):  # fmt: skip
        if bare in ours[0]:
            found[share] = ratio([run[bare] for run in ours], [run[real] for run in ours])
    return found


# ---- the page


INTRODUCTION = f"""# Training and embedding, beside a plain reference

Written by `make bench`. {TRAIN} training and {VAL} validation images of {SIZE_PX} x {SIZE_PX}
random pixels, batches of {BATCH_SIZE}, {EPOCHS} epochs; `compute`, `embed`, `augment`, `head` and
`train` as in params.yaml; weights packaged where there are such, else random. Medians of {REPEATS}
repeats, the two ways in turns, each in a process of its own; a ratio is taken repeat by repeat, its
least and largest value behind it.

What is measured, and what is multiplied:

- **Plain** (plain.py): opening, and an epoch over {PLAIN_TRAIN} of the training and {PLAIN_VAL} of
  the validation images, after a pass that starts the loader's workers and an untimed step. Their
  seconds times {(TRAIN + VAL) / (PLAIN_TRAIN + PLAIN_VAL):g} are an epoch, times {EPOCHS} a run.
- **Ours** (fast.py): embedding is measured whole, every image clean and in its views, written to
  disk; opening too; solving the head, with the regularisation path and its cross-fitting (the
  *fixed part*: all there is for `probe` and `head_only`); and for the others a whole epoch, times
  {EPOCHS} for a run, with a resumable checkpoint after it.
- **First run** is embedding, opening, the fixed part and {EPOCHS} epochs. **Second experiment** is
  the fixed part and {EPOCHS} epochs alone, against the plain reference's {EPOCHS} epochs (which
  trains a head by AdamW); `once` is that without `head.refit`, which solves the head a second time
  on train and val; `opened` adds the opening of the network and the data on both sides.
  **Command**, for `{COMMAND}`: `python stages/train.py {COMMAND}`, really run, against the plain
  reference's interpreter start (measured), opening and epochs.
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
            "| strategy | first run | second experiment | once | opened | command | target |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, found in strategies.items():
            wanted = TARGETS.get(arch, {}).get(name)
            target = "≥ {:g} / ≥ {:g}".format(*wanted) if wanted else "–"
            kinds = ("", "_once", "_opened", "_command")
            cells = [
                with_range(found, name)
                for name in ("first_run", *(f"second_experiment{kind}" for kind in kinds))
            ]
            lines.append(f"| {name} | {' | '.join(cells)} | {target} |")
        lines += [
            "",
            f"## {arch}: seconds",
            "",
            "| strategy | | first run | embedding | fixed part | second experiment | command "
            "| an epoch | images/s | peak MB |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for name, found in strategies.items():
            for way in ("plain", "ours"):
                each = found[way]
                embedding = each.get("embed_s") or "–"
                lines.append(
                    f"| {name} | {way} | {each['first_run_s']} | {embedding} "
                    f"| {each.get('fixed_s', '–')} | {each['second_experiment_s']} "
                    f"| {each.get('command_s', '–')} | {each['epoch_s'] or '–'} "
                    f"| {each['images_per_s'] or '–'} | {each['peak_mb']} |"
                )
        lines += ["", f"## {arch}: share of the bare rate on random data in memory", ""]
        for name, found in strategies.items():
            for share, what, least in (
                (
                    "embedding_share",
                    "making, embedding and storing views against the bare network",
                    0.90,
                ),
                ("training_share", "an epoch against its bare training and validation steps", 0.95),
            ):
                if share in found:
                    values = found[share]
                    lines.append(
                        f"- {name}: {what}: **{values['median']:.0%}** ({values['min']:.0%} to "
                        f"{values['max']:.0%}); target {least:.0%}."
                    )
            if "bound" in found:
                lines.append(
                    f"- {name}: a first run in which all but the bare network took no time: "
                    f"{with_range(found, 'bound')} times as fast as the plain reference."
                )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure everything, print the page and write it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archs", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES[:1])
    parser.add_argument("--strategies", nargs="+", choices=BLOCKS, default=list(BLOCKS))
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args()
    started = time.perf_counter()
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for arch in arguments.archs:
            folder = Path(scratch) / arch
            make_folder(folder, arch, TRAIN, VAL, SIZE_PX)
            results[arch] = {}
            for name in tqdm(arguments.strategies, desc=arch):
                measured = measure(folder, name, arguments.repeats, PLAIN_TRAIN, PLAIN_VAL)
                commands = measure_commands(folder, arguments.repeats) if name == COMMAND else {}
                results[arch][name] = summarise(measured, TRAIN + VAL, commands)
    text = page(results, time.perf_counter() - started)
    print(text)
    asked = (arguments.archs, arguments.strategies, arguments.repeats)
    if asked == (ARCHITECTURES[:1], list(BLOCKS), REPEATS):  # the page is the default's
        write_text(text, Path(__file__).with_name("results.md"))


if __name__ == "__main__":
    main()
