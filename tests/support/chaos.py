"""Kill, flip, fill and race the pipeline at random, and look for results that are silently wrong.

    make chaos                                            # five minutes
    PYTHONPATH=src:tests python tests/support/chaos.py --seconds 3600 --seed 7

A small data set goes through phantom, ingest, preprocess and split once: the reference. Then one
fault after the other is provoked, the run is repeated, and whatever ends with exit code 0 must have
left the reference's bytes. Flips are also tried by the hundred on single stores, in this process.
"""

import argparse
import contextlib
import io
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from mammo.errors import UserError
from mammo.storage.digests import digest
from mammo.storage.files import read_json, read_table, whole_folder, write_json, write_table
from mammo.storage.scratch import Store
from mammo.storage.tensors import Tensors, write_shards
from support.pipeline_copy import ROOT, PipelineCopy

SMALL = {
    "phantom.images": 24,
    "phantom.class_shares": {"B": 1, "C": 1},
    "phantom.min_patients": 3,
    "phantom.rows": 128,
    "phantom.columns": 96,
    "preprocess.size_px": 32,
    "preprocess.workers": 1,
    "split.folds": 3,
    "split.missing_class": "warn",
}
TARGET = "split"  # and all that it needs
STAGES = ("phantom", "ingest", "preprocess", "split")
OUTPUTS = ("data/*.csv", "data/tensors/**/*", "metrics/*.json")
PATIENCE_S = 120
FLIPS = 40  # tried at once on one kind of store


@dataclass
class Tally:
    """What became of the faults: kind -> how many, and those that ended silently wrong."""

    tried: Counter[str] = field(default_factory=Counter)
    noticed: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, kind: str, verdict: str) -> None:
        """Count one fault: `same`, `noticed`, or what is wrong."""
        self.tried[kind] += 1
        if verdict == "noticed":
            self.noticed[kind] += 1
        elif verdict != "same":
            self.wrong.append(f"{kind}: {verdict}")

    def lines(self) -> list[str]:
        """Say it, a kind a line; the last line is the sum."""
        lines = [
            f"{kind}: {count}, of them {self.noticed[kind]} refused or made anew"
            for kind, count in sorted(self.tried.items())
        ]
        lines += [f"SILENT WRONG: {wrong}" for wrong in self.wrong]
        return [*lines, f"silent wrong: {len(self.wrong)} of {sum(self.tried.values())}"]


class Pipeline:
    """The small run, its reference, and the faults that need processes."""

    def __init__(self, folder: Path, draw: random.Random):
        self.copy, self.draw = PipelineCopy(folder, SMALL), draw
        self.folder = folder
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("DVC_")},
            "PATH": path, "PYTHONPATH": "src", "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(folder / ".site"),
        }  # fmt: skip
        self.seconds: dict[str, float] = {}
        self.copy.repro(TARGET)
        self.reference = self.outputs()

    def outputs(self) -> dict[str, bytes]:
        return self.copy.read_bytes(*OUTPUTS)

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def finish(self) -> str:
        """Repeat the run after a fault; say what came of it."""
        end = time.monotonic() + PATIENCE_S
        while True:
            process = self.start("dvc", "repro", TARGET)
            said = process.communicate(timeout=PATIENCE_S)[0]
            if process.returncode == 0:
                break
            if "Traceback" in said:
                return f"a traceback:\n{said[-2000:]}"
            if time.monotonic() > end:
                return f"never recovers:\n{said[-2000:]}"
            time.sleep(0.5)  # a stage that outlived its DVC still holds its lock
        return self.compare("same")

    def compare(self, otherwise: str) -> str:
        found = self.outputs()
        names = sorted(found.keys() | self.reference.keys())
        wrong = [name for name in names if found.get(name) != self.reference.get(name)]
        return f"other bytes in {', '.join(wrong[:5])}" if wrong else otherwise

    def kill(self, number: int, whom: str) -> str:
        """Kill DVC or the stage at a random moment of a forced run."""
        stage = self.draw.choice(STAGES)
        process = self.start("dvc", "repro", "-f", "-s", stage)
        delay = self.draw.uniform(0, 1.2) * self.seconds.get(stage, 3)
        started = time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        victims = [process.pid] if whom == "dvc" else self._stages_of(process.pid)
        self._signal(victims, number)
        process.communicate(timeout=PATIENCE_S)
        if not victims:
            self.seconds[stage] = time.monotonic() - started
        verdict = self.finish()
        return "noticed" if verdict == "same" and process.returncode else verdict

    @staticmethod
    def _signal(victims: list[int], number: int) -> None:
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, number)

    def _stages_of(self, pid: int) -> list[int]:
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(pid).children(recursive=True)
            return [c.pid for c in children if any("stages/" in word for word in c.cmdline())]
        return []

    def flip_scratch(self) -> str:
        """Flip a bit in each of some entries of the scratch store, and decode again."""
        entries = [p for p in (self.folder / ".cache").rglob("*") if p.is_file()]
        for entry in self.draw.sample(entries, min(8, len(entries))):
            flip(entry, self.draw)
        process = self.start("dvc", "repro", "-f", "-s", "preprocess")
        said = process.communicate(timeout=PATIENCE_S)[0]
        if process.returncode:
            return f"a damaged scratch entry stops the run:\n{said[-1000:]}"
        return self.compare("noticed" if "damaged" in said else "same")

    def flip_output(self) -> str:
        """Flip a bit in a file of data/tensors: whoever reads it refuses, DVC makes it anew."""
        files = [p for p in (self.folder / "data/tensors").rglob("*") if p.is_file()]
        victim = self.draw.choice(sorted(files))
        content = victim.read_bytes()
        loosen(victim)
        flip(victim, self.draw)
        code = (
            "from pathlib import Path; from mammo.storage.tensors import Tensors; "
            "Tensors(Path('data/tensors')); Tensors(Path('data/tensors/outline'))"
        )
        reader = self.start(sys.executable, "-c", code)
        reader.communicate(timeout=PATIENCE_S)
        if not reader.returncode and victim.read_bytes() != content:
            return f"{victim.name} is read with a flipped bit"
        verdict = self.finish()
        return "noticed" if verdict == "same" else verdict

    def flip_cache(self) -> str:
        """Flip a bit in an object of DVC's cache: `make verify` must name it."""
        objects = [p for p in (self.folder / ".dvc/cache/files").rglob("*") if p.is_file()]
        victim = self.draw.choice(sorted(objects))
        kept = victim.read_bytes()
        loosen(victim)
        flip(victim, self.draw)
        verify = self.start(sys.executable, str(ROOT / "tools/verify_cache.py"))
        said = verify.communicate(timeout=PATIENCE_S)[0]
        victim.unlink(missing_ok=True)
        victim.write_bytes(kept)
        victim.chmod(0o444)
        named = victim.name in said and verify.returncode
        return "noticed" if named else f"{victim.name} isn't named by make verify"

    def two_at_once(self) -> str:
        """Start one stage twice side by side."""
        stage = self.draw.choice(STAGES)
        command = (sys.executable, f"stages/{stage}.py")
        for path in (self.folder / "data").rglob("*"):  # as DVC does before a stage
            if path.is_file() and path.stat().st_nlink > 1:
                loosen(path)
        first = self.start(*command)
        time.sleep(self.draw.uniform(0, 0.3))
        second = self.start(*command)
        said = [p.communicate(timeout=PATIENCE_S)[0] for p in (first, second)]
        codes = {first.returncode, second.returncode}
        if 0 not in codes or "Traceback" in "".join(said):
            return f"neither ends well, or with a traceback:\n{said}"
        return self.compare("noticed" if codes != {0} else "same")

    def full_disk(self) -> str:
        """Decode with a scratch store on a file system of a few pages."""
        for path in (self.folder / ".cache/images").glob("*"):
            shutil.rmtree(path)
        size = self.draw.choice((16, 32, 64))
        mount = f"mount -t tmpfs -o size={size}k tmpfs .cache && exec dvc repro -f -s preprocess"
        process = self.start("unshare", "-rm", "sh", "-c", mount)
        said = process.communicate(timeout=PATIENCE_S)[0]
        if process.returncode == 0:
            return self.compare("same")
        if "Traceback" in said or "No space left" not in said:
            return f"another end than a message about the disk:\n{said[-1500:]}"
        verdict = self.finish()
        return "noticed" if verdict == "same" else verdict

    def edit_meanwhile(self) -> str:
        """Edit params.yaml while a stage runs: nothing of it may be locked.

        The stage is stopped for the edit while it holds its lock: it compares after letting go.
        What is edited after that, before DVC has written dvc.lock, can't be seen by anybody.
        """
        params = self.folder / "params.yaml"
        text = params.read_text()
        process = self.start("dvc", "repro", "-f", "-s", "preprocess")
        lock = self.folder / ".cache/locks/preprocess.lock"
        while process.poll() is None and not lock.exists():
            time.sleep(0.01)
        time.sleep(self.draw.uniform(0, 0.15))
        stages = self._stages_of(process.pid)
        self._signal(stages, signal.SIGSTOP)
        running = lock.exists()
        if running:
            params.write_text(text.replace("size_px: 32", "size_px: 48"))
        self._signal(stages, signal.SIGCONT)
        said = process.communicate(timeout=PATIENCE_S)[0]
        # A stage that began with the edit has made tensors of that size.
        size = Tensors(self.folder / "data/tensors").shape[-1] if process.returncode == 0 else 48
        params.write_text(text)
        if running and size != 48:
            return f"an edited size is locked for tensors of another:\n{said[-1000:]}"
        verdict = self.finish()
        return "noticed" if verdict == "same" and running else verdict


def loosen(path: Path) -> None:
    """Part a file from DVC's cache, whose links can't be written to."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def flip(path: Path, draw: random.Random) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    if content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)


def flips_of_stores(folder: Path, draw: random.Random) -> Iterator[tuple[str, str]]:
    """Flip bits of each kind of store in this process, a reader after each: kind and verdict."""
    for kind, victims, read in stores(folder):
        right = read()
        for _ in range(FLIPS):
            victim = draw.choice(victims)
            sound = victim.read_bytes()
            flip(victim, draw)
            try:
                found = read()
            except UserError:
                yield kind, "noticed"
            except Exception as error:  # noqa: BLE001 - whatever a reader lets through is a fault
                yield kind, f"{type(error).__name__} instead of a message: {error}"
            else:
                same = found is None or found == right
                yield kind, "noticed" if found is None else "same" if same else "another content"
            victim.write_bytes(sound)


def stores(folder: Path) -> Iterator[tuple[str, list[Path], Callable[[], Any]]]:
    """Make a small store of each kind; yield its files, and a reader that gives plain values."""
    arrays = np.arange(6 * 20, dtype=np.uint8).reshape(6, 20)
    shards = folder / "shards"
    shards.mkdir()
    write_shards(iter(arrays), list("abcdef"), shards, 40)
    yield (
        "flip in shards",
        sorted(shards.iterdir()),
        lambda: Tensors(shards).gather(np.arange(6)).tobytes(),
    )
    store, key = Store(folder / "scratch"), digest("key")
    store.put(key, arrays)

    def kept() -> bytes | None:
        found = store.get(key)
        return None if found is None else found.tobytes()

    yield "flip in the scratch store", [store.path(key)], kept
    table = pd.DataFrame({"key": list("abcdef"), "label": list("ABCDAB")})
    evaluation = folder / "evaluation"
    with whole_folder(evaluation, manifest=True) as partial:
        write_table(table, partial / "predictions.csv")
        write_json({"kappa": 0.5}, partial / "metrics.json")
    yield (
        "flip in predictions",
        sorted(evaluation.iterdir()),
        lambda: (
            read_table(evaluation / "predictions.csv").to_csv(),
            read_json(evaluation / "metrics.json"),
        ),
    )
    with contextlib.suppress(ImportError):
        import torch

        from mammo.training.progress import Progress

        progress = Progress(folder / "progress", 0)
        progress.save({"epoch": 3, "weights": torch.arange(50.0)})

        def resumed() -> bytes | None:
            state = progress.load()
            if state is None:
                return None
            buffer = io.BytesIO()
            np.save(buffer, state["weights"].numpy())
            return buffer.getvalue() + bytes([state["epoch"]])

        yield "flip in the resume file", [progress.path], resumed


def can_fill_a_disk() -> bool:
    """Say whether a file system of a few pages can be mounted here."""
    if not shutil.which("unshare"):
        return False
    probe = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=16k tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True).returncode == 0


def run(seconds: float, seed: int) -> Tally:
    """Provoke faults for about so many seconds; the sequence depends on `seed` alone."""
    draw, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        inner = Path(name, "stores")
        inner.mkdir()
        for kind, verdict in flips_of_stores(inner, draw):
            tally.add(kind, verdict)
        pipeline = Pipeline(Path(name, "pipeline"), draw)
        faults: list[tuple[str, Callable[[], str]]] = [
            ("the stage killed (9)", lambda: pipeline.kill(signal.SIGKILL, "stage")),
            ("params.yaml edited meanwhile", pipeline.edit_meanwhile),
            ("flips below .cache", pipeline.flip_scratch),
            ("DVC killed (9)", lambda: pipeline.kill(signal.SIGKILL, "dvc")),
            ("two at once", pipeline.two_at_once),
            ("flip in data/tensors", pipeline.flip_output),
            ("the stage terminated (15)", lambda: pipeline.kill(signal.SIGTERM, "stage")),
            ("flip in DVC's cache", pipeline.flip_cache),
            ("DVC terminated (15)", lambda: pipeline.kill(signal.SIGTERM, "dvc")),
        ]
        if can_fill_a_disk():
            faults.insert(3, ("full disk", pipeline.full_disk))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for kind, provoke in faults:  # each kind in turn
                if time.monotonic() < end:
                    tally.add(kind, provoke())
    return tally


def main() -> int:
    """Run and print the tally."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # of hundreds of flips, each noticed
    tally = run(arguments.seconds, arguments.seed)
    print("\n".join(tally.lines()))
    return int(bool(tally.wrong))


if __name__ == "__main__":
    sys.exit(main())
