"""The faster precision here: a few training steps of both are timed, once for a machine.

Opt-in (`compute.precision: auto`), for what follows from a measurement is not the same everywhere.
The choice is kept in the scratch store, so that the stages of one pipeline agree on it.
"""

import logging
import os
import platform
import statistics
import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mammo import paths
from mammo.errors import UserError
from mammo.network.backbones import GlobalPool, architecture_of, make_head
from mammo.network.compute import compile_module, has_bfloat16, start
from mammo.network.params import BackboneParams, ComputeParams
from mammo.network.weights import random_network
from mammo.storage.digests import digest
from mammo.storage.files import read_json, write_json

logger = logging.getLogger(__name__)

CLASSES = 4
BATCH_SIZE = 16
SIZE_PX = 128
STEPS = 5


def settle(params: ComputeParams, backbone: BackboneParams) -> ComputeParams:
    """Replace precision `auto` by the one that trains this backbone faster; others stay.

    Raises:
        UserError: Several processes run: each would measure, and they could disagree.
    """
    if params.precision != "auto":
        return params
    if params.devices * params.num_nodes > 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "params.yaml: compute.precision: auto measures one process alone, got several; set "
            "bfloat16 or float32 (`make tune` prints which is faster)"
        )
    if not has_bfloat16(params.accelerator):
        logger.info("compute.precision: auto: float32, for this processor has no bfloat16")
        return params.model_copy(update={"precision": "float32"})
    kept = paths.SCRATCH / "precision" / f"{digest(_circumstances(params, backbone))}.json"
    if not kept.exists():
        write_json(training_rates(params, backbone), kept)
    rates = read_json(kept)
    fastest = max(rates, key=rates.get)
    measured = ", ".join(f"{name} {rate:.1f}" for name, rate in rates.items())
    logger.info("compute.precision: auto: %s (training, images/s: %s)", fastest, measured)
    return params.model_copy(update={"precision": fastest})


def training_rates(params: ComputeParams, backbone: BackboneParams) -> dict[str, float]:
    """Measure both precisions: precision -> images a second.

    Uncompiled, whatever `compile` says: compiling twice would take minutes.
    """
    return {
        precision: training_rate(
            params.model_copy(update={"precision": precision, "compile": False}), backbone
        )
        for precision in ("float32", "bfloat16")
    }


def training_rate(
    params: ComputeParams,
    backbone: BackboneParams,
    batch_size: int = BATCH_SIZE,
    size_px: int = SIZE_PX,
    steps: int = STEPS,
) -> float:
    """Time training steps of the whole network on random data in memory: images a second.

    The median step counts, after an untimed one that allocates (and compiles).
    """
    fabric = start(params)
    architecture = architecture_of(backbone)
    blocks = architecture.blocks(random_network(backbone))
    head = make_head(architecture.features, CLASSES, dropout=0)
    network = nn.Sequential(*blocks.values(), GlobalPool(), head)
    network.to(fabric.device).to(memory_format=torch.channels_last)
    compile_module(network, params, fabric.device)
    model, optimizer = fabric.setup(network, torch.optim.AdamW(network.parameters()))
    model.train()
    images = torch.randn(batch_size, 3, size_px, size_px, device=fabric.device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch_size, device=fabric.device) % CLASSES
    seconds = []
    for _ in range(1 + steps):
        started = time.perf_counter()
        loss = cross_entropy(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        optimizer.step()
        loss.item()  # waits for a GPU
        seconds.append(time.perf_counter() - started)
    return batch_size / statistics.median(seconds[1:])


def _circumstances(params: ComputeParams, backbone: BackboneParams) -> dict[str, object]:
    """List what the rates depend on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "arch": backbone.arch,
        "compute": params.model_dump(mode="json"),
        "torch": torch.__version__,
        "processor": [platform.machine(), torch.backends.cpu.get_cpu_capability(), os.cpu_count()],
        "gpu": gpu,
    }
