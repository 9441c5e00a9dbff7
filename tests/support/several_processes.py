"""Small trainings that every process of `torchrun` runs; each writes down what it came to.

    torchrun --standalone --nproc_per_node 2 tests/support/several_processes.py FOLDER

FOLDER holds the data of test_training.py; `process-0.json`, … are written into it.
"""

import contextlib
import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mammo.network.devices import start_together, together
from mammo.network.params import BackboneParams, ComputeParams
from mammo.storage.files import write_json
from mammo.training.progress import Progress
from mammo.training.retraining import retrain_head
from mammo.training.watch import CollapseError
from support.trainings import BACKBONE, Blank, make_run

COMPUTE = ComputeParams(
    accelerator="cpu", devices=1, num_nodes=1, threads=1, precision="float32", compile=False,
    deterministic=True,
)  # fmt: skip


class Telling(Blank):
    """Noise at the cut in which the class, position modulo 4, raises one value a little."""

    def __init__(self):
        noise = np.random.default_rng(0).normal(size=(48, 1280))
        noise[np.arange(48), np.arange(48) % 4] += 4
        self.features = noise.astype(np.float32)

    def train_batch(self, positions, draws):
        return None, self.features[positions]


# What differs from `make_run`'s own options.
TRAININGS = {
    "head_only": dict(trained=0, source=Telling(), strategy=dict(warmup_epochs=0, epochs=6)),
    "last_blocks": dict(trained=2),
    "interrupted": dict(trained=2),
    "average": dict(trained=2, train=dict(ema_decay=0.9)),
    "retrained": dict(trained=1, train=dict(retrain_head_epochs=2)),
    "stops_early": dict(
        trained=0, source=Blank(), strategy=dict(warmup_epochs=0, epochs=9),
        train=dict(early_stopping_epochs=2),
    ),
    "stops": dict(
        trained=0, source=Blank(), strategy=dict(warmup_epochs=0, epochs=6),
        collapse=dict(patience=2, action="stop"),
    ),
    "fails": dict(
        trained=0, source=Blank(), strategy=dict(warmup_epochs=0, epochs=6),
        collapse=dict(patience=2, action="fail"),
    ),
}  # fmt: skip


def run_of(folder, fabric, name):
    """Prepare a training without dropout; of one, the first process keeps the progress."""
    keeps = name == "interrupted" and fabric.is_global_zero
    progress = Progress(folder / name, 0) if keeps else None
    backbone = BackboneParams(**BACKBONE)
    run = make_run(folder, backbone, fabric, progress=progress, **TRAININGS[name])
    run.suffix.head.dropout.p = 0.0
    return run


def interrupt(row):
    """End a training in its third epoch."""
    if row["epoch"] == 3:
        raise KeyboardInterrupt


def outcome_of(folder, fabric, name):
    """Train; return the history, the best epoch and the parameters' hashes, or the error."""
    if name == "interrupted":
        run = run_of(folder, fabric, name)
        run.job = replace(run.job, record=interrupt)
        with contextlib.suppress(KeyboardInterrupt):
            run.train()
    run = run_of(folder, fabric, name)
    try:
        outcome = run.train()
    except CollapseError as error:
        return {"error": str(error)}
    if run.job.recipe.train.retrain_head_epochs:
        outcome = retrain_head(run.job, run.suffix, outcome)
    weight = outcome.last["head.linear.weight"]
    return {
        "rows": outcome.rows,
        "best": outcome.best.epoch,
        "alerts": outcome.alerts,
        "states": [digest(state) for state in (outcome.best.state, outcome.last)],
        "head": weight.flatten().tolist(),
    }


def digest(state: dict[str, torch.Tensor]) -> str:
    """Hash parameters and statistics."""
    each = b"".join(state[key].numpy().tobytes() for key in sorted(state))
    return hashlib.sha256(each).hexdigest()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    ranks = start_together(COMPUTE)
    with together(ranks):
        found = {name: outcome_of(target, ranks, name) for name in TRAININGS}
    write_json(found, target / f"process-{ranks.global_rank}.json")
