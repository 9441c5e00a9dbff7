"""Time a training step alone and beside a busy program, threads waiting in a spin or asleep.

    PYTHONPATH=src python benchmarks/neighbour.py                         (about 5 minutes)

GNU's OpenMP, which torch's Linux wheels bring, reads its settings when it is loaded, so every
line of the table is a process of its own. `active` spins as long as GNU lets it, `default` is
what it does unasked, `passive` lets a waiting thread sleep at once, `mammo` after a short spin:
what `import mammo` asks for.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from machine import machine
from mammo.network.params import BackboneParams, ComputeParams
from mammo.params import load_leaf, load_params

ASKED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
POLICIES = {"active": "ACTIVE", "default": None, "passive": "PASSIVE", "mammo": None}
STEPS = 5


def spin() -> None:
    """Keep a core busy."""
    while True:
        pass


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Run busy programs beside what is inside."""
    processes = [multiprocessing.Process(target=spin, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def seconds(policy: str, precision: str, threads: int) -> float:
    """Time a step of the whole network in a process of its own: seconds."""
    wanted = POLICIES[policy]
    environment = {k: v for k, v in os.environ.items() if k not in ASKED}
    environment |= {"OMP_WAIT_POLICY": wanted} if wanted else {}
    command = [sys.executable, __file__, "--step", policy, precision, str(threads)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def step(policy: str, precision: str, threads: int) -> float:
    """Time a step in this process; torch is loaded here, under this process's policy."""
    if policy == "default":  # `import mammo` has set them
        for name in ASKED:
            os.environ.pop(name, None)
    from tune import training_rate

    compute = load_params("compute", ComputeParams)
    changes = {"precision": precision, "threads": threads}
    batch_size = load_leaf("train.batch_size", int)
    backbone, size_px = (
        load_params("backbone", BackboneParams),
        load_leaf("preprocess.size_px", int),
    )
    rate = training_rate(
        compute.model_copy(update=changes), backbone, batch_size, size_px, steps=STEPS
    )
    return batch_size / rate


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        policy, precision, threads = arguments.step
        print(step(policy, precision, int(threads)))
        return
    backbone, cores = load_params("backbone", BackboneParams), os.cpu_count() or 1
    busy = psutil.cpu_percent(interval=2) / 100 * cores
    print(f"{machine('torch')}; {backbone.arch}, a step of the whole network; others keep")
    print(f"{busy:.1f} of {cores} cores busy before the first line\n")
    print("| precision | threads | waiting | alone, s | one neighbour, s |\n|---|---|---|---|---|")
    for precision in ("bfloat16", "float32"):
        for threads in sorted({1, cores}):
            for policy in POLICIES if threads > 1 else ("mammo",):
                times = []
                for count in (0, 1):
                    with neighbours(count):
                        times.append(seconds(policy, precision, threads))
                cells = " | ".join(f"{time:.2f}" for time in times)
                print(f"| {precision} | {threads} | {policy} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
