"""Measure precision, threads and the embedding's batch size here; print the lines to set.

Nothing is changed: params.yaml holds fixed values, so that results are the same everywhere, and
what is printed is for its owner to take over.

    make tune                                                          (up to 3 minutes)
    PYTHONPATH=src python benchmarks/tune.py --busy       (beside other programs, all the same)
    PYTHONPATH=src python benchmarks/tune.py --compile                 (some minutes more)
"""

import argparse
import logging
import os
import statistics
import sys
import time
from collections.abc import Sequence

import psutil
import torch
from torch.nn.functional import cross_entropy

from machine import machine
from mammo.embedding.params import EmbedParams
from mammo.errors import UserError
from mammo.network.backbones import architecture_of
from mammo.network.compute import compile_module, compute_dtype, has_bfloat16
from mammo.network.devices import start, start_fabric
from mammo.network.head import make_head
from mammo.network.network import head_shape
from mammo.network.params import BLOCK_NAMES, BackboneParams, ComputeParams
from mammo.network.strategies import Prefix, Suffix, cut, fold_batchnorm
from mammo.network.weights import random_network
from mammo.params import load_leaf, load_params

CLASSES = 4
QUIET = 0.25  # cores that others may use while something is measured
BATCH_SIZES = (16, 32, 64, 128)
WORTH_IT = 1.03  # a setting must be faster than the present one by this to be advised
Rates = dict[object, float]


def cut_network(backbone: BackboneParams, at: int) -> tuple[Prefix, Suffix]:
    """Make a network of random parameters, cut, whose head reads the last block."""
    architecture, last = architecture_of(backbone), BLOCK_NAMES[backbone.arch][-1:]
    head = make_head(head_shape(backbone, last, 0, "multinomial", CLASSES))
    blocks = architecture.blocks(random_network(backbone))
    return cut(blocks, head, at, last, architecture.normalisation)


def prefix_rate(
    params: ComputeParams, backbone: BackboneParams, batch_size: int, size_px: int, repeats: int = 3
) -> float:
    """Time the whole backbone as a folded prefix on random data in memory: views a second."""
    fabric, dtype = start(params), compute_dtype(params)
    prefix, _ = cut_network(backbone, at=len(BLOCK_NAMES[backbone.arch]))
    prefix = fold_batchnorm(prefix, dtype).to(fabric.device)
    batch = torch.randn(batch_size, 3, size_px, size_px, device=fabric.device)
    batch = batch.to(dtype, memory_format=torch.channels_last)
    seconds = []
    with torch.inference_mode():
        for _ in range(1 + repeats):
            started = time.perf_counter()
            prefix(batch).side.cpu()  # waits for a GPU
            seconds.append(time.perf_counter() - started)
    return batch_size / statistics.median(seconds[1:])


def training_rate(
    params: ComputeParams, backbone: BackboneParams, batch_size: int, size_px: int, steps: int = 3
) -> float:
    """Time training steps of the whole network on random data in memory: images a second.

    The median step counts, after an untimed one that allocates (and compiles).
    """
    fabric = start_fabric(params)
    _, suffix = cut_network(backbone, at=0)
    suffix.to(fabric.device).to(memory_format=torch.channels_last)
    compile_module(suffix, params, fabric.device)
    model, optimizer = fabric.setup(suffix, torch.optim.AdamW(suffix.parameters()))
    model.train()
    images = torch.randn(batch_size, 3, size_px, size_px, device=fabric.device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch_size, device=fabric.device) % CLASSES
    nothing = torch.zeros(batch_size, 0, device=fabric.device)  # beside the pixels
    seconds = []
    for _ in range(1 + steps):
        started = time.perf_counter()
        loss = cross_entropy(model(images, nothing), labels)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        optimizer.step()
        loss.item()  # waits for a GPU
        seconds.append(time.perf_counter() - started)
    return batch_size / statistics.median(seconds[1:])


def busy_cores(watch_s: float = 2.0) -> float:
    """Say how many cores other programs keep busy."""
    return psutil.cpu_percent(interval=watch_s) / 100 * (os.cpu_count() or 1)


def refuse_company(busy: float) -> None:
    """Refuse to advise beside other programs.

    Raises:
        UserError: They keep more than `QUIET` of a core busy.
    """
    if busy > QUIET:
        raise UserError(
            f"tune: other programs keep {busy:.1f} of {os.cpu_count()} cores busy, and what is "
            "measured beside them holds beside them alone (bfloat16 and threads suffer most); "
            "wait for them to end, or add --busy to measure all the same"
        )


def advise(rates: Rates, present: object) -> object:
    """Choose the fastest setting, or the present one where that is as good."""
    fastest = max(rates, key=lambda setting: rates[setting])
    return fastest if rates[fastest] > WORTH_IT * rates.get(present, 0) else present


def report(key: str, unit: str, rates: Rates, present: object) -> object:
    """Print what was measured; return the advised setting."""
    chosen = advise(rates, present)
    measured = ", ".join(f"{setting}: {rate:.1f}" for setting, rate in rates.items())
    print(f"{key} ({unit}): {measured}; in params.yaml: {present}", flush=True)
    return chosen


def tune(
    compute: ComputeParams,
    backbone: BackboneParams,
    embed: EmbedParams,
    size_px: int,
    batch_size: int,
    with_compile: bool = False,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> dict[str, dict[str, object]]:
    """Measure one setting after the other, each with the best of those before it.

    Returns:
        The advised settings: section of params.yaml -> key -> value.
    """

    def rate(**changes: object) -> float:
        changed = compute.model_copy(update=changes)
        return training_rate(changed, backbone, batch_size, size_px)

    advised: dict[str, object] = {"compile": False}
    dtypes = ["float32", *(["bfloat16"] if has_bfloat16(compute.accelerator) else [])]
    unit = "training, images/s"
    rates: Rates = {one: rate(precision=one, compile=False) for one in dtypes}
    advised["precision"] = report("precision", unit, rates, compute.precision)
    cores = sorted({1, compute.threads, os.cpu_count() or 1})
    rates = {one: rate(**advised, threads=one) for one in cores}
    advised["threads"] = report("threads", unit, rates, compute.threads)
    if with_compile:
        rates = {one: rate(**{**advised, "compile": one}) for one in (False, True)}
        advised["compile"] = report("compile", unit, rates, compute.compile)
    changed = compute.model_copy(update=advised)
    sizes = sorted({*batch_sizes, embed.batch_size})
    rates = {one: prefix_rate(changed, backbone, one, size_px) for one in sizes}
    views = report("embed.batch_size", "prefix, views/s", rates, embed.batch_size)
    return {"embed": {"batch_size": views}, "compute": advised}


def main() -> None:
    """Measure for the configured backbone and print the lines of params.yaml."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too")
    parser.add_argument("--busy", action="store_true", help="measure beside other programs too")
    arguments = parser.parse_args()
    if not arguments.busy:
        refuse_company(busy_cores())
    logging.disable(logging.WARNING)
    backbone = load_params("backbone", BackboneParams)
    print(f"{machine('torch')}; {backbone.arch}\n")
    advised = tune(
        load_params("compute", ComputeParams), backbone, load_params("embed", EmbedParams),
        load_leaf("preprocess.size_px", int), load_leaf("train.batch_size", int),
        arguments.compile,
    )  # fmt: skip
    print("\nfor params.yaml:")
    for section, settings in advised.items():
        print(f"{section}:")
        for key, value in settings.items():
            print(f"  {key}: {str(value).lower()}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
