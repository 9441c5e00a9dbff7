"""A copy of the repository in a temporary folder, with a tiny data set, to run DVC in."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]

RESULTS = {"dvc.lock", "metrics", "plots", "report.md"}

# Small enough that a stage costs little more than its imports.
TINY = {
    "phantom.images": 64,
    "phantom.class_shares": {"A": 3, "B": 4, "C": 5, "D": 4},
    "phantom.rows": 256,
    "phantom.columns": 208,
    "phantom.min_patients": 5,
    "preprocess.size_px": 64,
    "embed.views": 1,
    "compute.threads": 1,
    "strategies.last_block.epochs": 3,
    "strategies.last_block.warmup_epochs": 1,
    "compare.draws": 100,
}
DROPPED = ("strategies.last_two_blocks", "strategies.full")
ARMS = tuple(
    name
    for name in yaml.safe_load((ROOT / "params.yaml").read_text())["strategies"]
    if f"strategies.{name}" not in DROPPED
)
# Every stage of such a copy, as DVC names it.
ALL = sorted(
    name
    for stage, body in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
    for name in ([f"{stage}@{arm}" for arm in ARMS] if "foreach" in body else [stage])
)


def is_result(name: str) -> bool:
    """Say whether a committed file is written by a run: of the pipeline, or of a study."""
    path = Path(name)
    if path.parts[0] == "studies" and len(path.parts) > 2:
        return path.suffix in (".lock", ".json", ".csv", ".png") or path.name == "results.md"
    return path.parts[0] in RESULTS


class PipelineCopy:
    """The files that Git knows or would add, committed in a repository of their own."""

    def __init__(
        self,
        folder: Path,
        params: dict[str, Any],
        drop: tuple[str, ...] = (),
        with_results: bool = False,
    ):
        """Copy the files; the committed results and dvc.lock only `with_results`."""
        self.folder = folder
        self.ran: list[str] = []
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.decode()
        for name in filter(None, names.split("\0")):
            if is_result(name) and not with_results:
                continue
            if (ROOT / name).is_file():  # not one that is deleted but still in Git's index
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)
        self.set_params(params, drop)
        self.run("git", "init", "-q", "-b", "main")
        self.commit("start")

    def duplicate(self, folder: Path) -> "PipelineCopy":
        """Copy everything: data, caches and history too."""
        shutil.copytree(self.folder, folder, symlinks=True)
        copy = object.__new__(PipelineCopy)
        copy.folder, copy.ran = folder, self.ran
        return copy

    @classmethod
    def clone(cls, other: "PipelineCopy", folder: Path) -> "PipelineCopy":
        """Clone the repository alone, as a colleague does: no data, no cache."""
        copy = object.__new__(cls)
        copy.folder, copy.ran = folder, []
        other.run("git", "clone", "-q", str(other.folder), str(folder))
        return copy

    def reset(self) -> None:
        """Go back to the commit."""
        self.run("git", "restore", ".")
        self.run("dvc", "checkout", "-q", "--force", "--allow-missing")

    def set_params(
        self, changes: dict[str, Any], drop: tuple[str, ...] = (), file: str = "params.yaml"
    ) -> None:
        """Change values of params.yaml by their dotted keys, and drop whole entries."""
        path = self.folder / file
        values = yaml.safe_load(path.read_text())
        for key, value in changes.items():
            *parents, last = key.split(".")
            entry = values
            for parent in parents:
                entry = entry[parent]
            entry[last] = value
        for key in drop:
            parent, last = key.rsplit(".", 1)
            values[parent].pop(last, None)
        path.write_text(yaml.safe_dump(values, sort_keys=False))

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy with this Python first on the PATH."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        names = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org"}
        names |= {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org"}
        done = subprocess.run(
            command, cwd=self.folder, text=True, capture_output=True, stdin=subprocess.DEVNULL,
            timeout=900,
            env={**os.environ, **names, "PATH": path, "DVC_NO_ANALYTICS": "1"},
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{command} failed:\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}")
        return done

    def repro(self, *targets: str, check: bool = True) -> list[str]:
        """Run `dvc repro`; return the stages that ran, in order."""
        done = self.run("dvc", "repro", *targets, check=check)
        return re.findall(r"Running stage '([^']+)'", done.stdout)

    def stale(self, pipeline: str) -> dict[str, str]:
        """Name code, parameters and commands that differ from a lock; missing data don't count."""
        stale = {}
        status = json.loads(self.run("dvc", "status", "--json", pipeline).stdout)
        for stage, changes in status.items():
            for change in changes:
                if change == "changed command":
                    stale[stage] = change
                    continue
                for path, state in change.get("changed deps", {}).items():
                    if state != "deleted":
                        stale[f"{stage}: {path}"] = state
                for path, state in change.get("changed outs", {}).items():
                    if state not in ("deleted", "not in cache"):
                        stale[f"{stage}: {path}"] = state
        return stale

    def commit(self, message: str) -> None:
        """Commit everything."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "--allow-empty", "-m", message)

    def read_bytes(self, *patterns: str) -> dict[str, bytes]:
        """Read the files that match, by their paths."""
        paths = sorted(p for pattern in patterns for p in self.folder.glob(pattern))
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in paths if p.is_file()}
