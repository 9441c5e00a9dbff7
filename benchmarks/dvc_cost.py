"""Time what DVC itself costs for tensors of RSNA's size, by shard size; write dvc_cost.md.

A repository of one stage that writes `data/tensors` and one that reads it, with the DVC settings
of this one. The shards hold random bytes, the time to make them isn't counted. Measured for each
shard size, with DVC's command-line start in every figure:

- commit: `dvc commit`, which hashes every byte and copies the files into the cache;
- status and repro: `dvc status` and `dvc repro` with nothing changed, files known by size and time;
- a new clone: `dvc status` once more without that knowledge, so that every byte is hashed again;
- an image more: `dvc commit` after the last shard alone has changed, and what the cache grows by.

    PYTHONPATH=src python benchmarks/dvc_cost.py            (6 minutes, 30 GB of disk)
    PYTHONPATH=src python benchmarks/dvc_cost.py --gb 1     (a try; writes nothing)
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from machine import machine
from mammo.storage.files import write_json

ROOT = Path(__file__).resolve().parent.parent
GB = 14.3  # 54,706 images of 512 x 512 bytes
SHARDS_MB = (64, 256, 1024)
REPEATS = 3  # of what is quick
STAGES = """stages:
  preprocess:
    cmd: "true"
    outs: [data/tensors]
  embed:
    cmd: touch embedded
    deps: [data/tensors]
    outs: [embedded]
"""


class Repository:
    """A DVC repository with its own cache and its own memory of files."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.tensors = folder / "data" / "tensors"
        self.tensors.mkdir(parents=True)
        (folder / "dvc.yaml").write_text(STAGES)
        self.state = folder / "state"
        self.run("git", "init", "-q")
        self.run("dvc", "init", "-q")
        settings = (ROOT / ".dvc" / "config").read_text()
        (folder / ".dvc" / "config").write_text(settings)
        (folder / ".dvc" / "config.local").write_text(
            f"[core]\n    site_cache_dir = {self.state}\n"
        )

    def run(self, *command: str) -> float:
        """Run a command and return its seconds."""
        started = time.perf_counter()
        subprocess.run(
            command, cwd=self.folder, check=True, capture_output=True, timeout=1800,
            env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        )  # fmt: skip
        return time.perf_counter() - started

    def cached_bytes(self) -> int:
        """Add up the cache."""
        cache = (self.folder / ".dvc" / "cache").rglob("*")
        return sum(path.stat().st_size for path in cache if path.is_file())


def write_shard(path: Path, size: int, random: np.random.Generator) -> None:
    """Write random bytes under a new inode: a linked file belongs to the cache too."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        for start in range(0, size, 2**24):
            file.write(random.bytes(min(2**24, size - start)))


def measure(folder: Path, total_bytes: int, shard_mb: int) -> dict[str, float]:
    """Measure one shard size."""
    repository, random = Repository(folder), np.random.default_rng(shard_mb)
    starts = range(0, total_bytes, shard_mb * 2**20)
    for number, start in enumerate(starts):
        size = min(shard_mb * 2**20, total_bytes - start)
        write_shard(repository.tensors / f"shard-{number:05d}.npy", size, random)
    costs: dict[str, float] = {"shard_mb": shard_mb, "files": len(starts)}
    costs["commit_s"] = repository.run("dvc", "commit", "--force", "preprocess")
    repository.run("dvc", "repro")
    for name in ("status", "repro"):
        seconds = [repository.run("dvc", name) for _ in range(REPEATS)]
        costs[f"{name}_s"] = statistics.median(seconds)
    shutil.rmtree(repository.state)
    costs["new_clone_s"] = repository.run("dvc", "status")
    before = repository.cached_bytes()
    last = sorted(repository.tensors.iterdir())[-1]
    write_shard(last, last.stat().st_size, random)
    costs["image_more_s"] = repository.run("dvc", "commit", "--force", "preprocess")
    costs["image_more_mb"] = (repository.cached_bytes() - before) / 1e6
    return costs


def report(rows: list[dict[str, Any]], total_bytes: int) -> str:
    """Write the page."""
    gb = total_bytes / 1e9
    lines = [
        "# What DVC itself costs at RSNA's size",
        "",
        f"`PYTHONPATH=src python benchmarks/dvc_cost.py` on {machine('dvc')}; {gb:.1f} GB in "
        "`data/tensors`. Seconds include DVC's start.",
        "",
        "| shard, MB | files | commit, s | GB/s | `dvc status`, s | `dvc repro`, nothing to do, s "
        "| status in a new clone, s | commit of an image more, s | cache grows by, MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['shard_mb']} | {row['files']} | {row['commit_s']:.1f} "
            f"| {gb / row['commit_s']:.2f} | {row['status_s']:.2f} | {row['repro_s']:.2f} "
            f"| {row['new_clone_s']:.1f} | {row['image_more_s']:.1f} | {row['image_more_mb']:.0f} |"
        )
    lines += [
        "",
        "The shard size changes none of the seconds that matter: a commit hashes every byte, which "
        "a new clone's status does too, and copies it into the cache, which is the rest. What it "
        "changes is what is stored twice: with the last image changed, the cache grows by the "
        "last shard, which holds what is left over, anything up to the shard size, and only it "
        "is hashed again. So `preprocess.shard_mb` and `embed.shard_mb` are 256: small enough "
        "that little is stored twice, large enough that a set of this size is some fifty files to "
        "open, list, push and pull. An image whose key sorts earlier moves all after it; then "
        "every later shard is new, whatever its size.",
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure every shard size, one after the other, each in a folder that is removed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=GB)
    parser.add_argument("--folder", type=Path, help="in place of the system's temporary one")
    arguments = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    total_bytes, rows = int(arguments.gb * 1e9), []
    for shard_mb in SHARDS_MB:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            rows.append(measure(Path(folder), total_bytes, shard_mb))
    text = report(rows, total_bytes)
    print(text)
    if arguments.gb == GB:
        Path(__file__).with_suffix(".md").write_text(text)
        write_json(
            [{key: round(value, 2) for key, value in row.items()} for row in rows],
            Path(__file__).with_suffix(".json"),
        )


if __name__ == "__main__":
    main()
