"""A DVC repository with one stage that runs in a blink, to change things under it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

DVC_YAML = """
vars:
  - folders: {raw: raw}
stages:
  train:
    foreach: ${strategies}
    do:
      cmd: python stages/train.py ${key} ${item.lr}
      deps: [stages/train.py, "${folders.raw}", table.csv]
      params:
        - train
        - strategies.${key}.lr
        - other.yaml: [a.b]
        - whole.yaml:
      outs: ["models/${key}.txt"]
  list:
    foreach: [x, y]
    do:
      cmd: echo ${item} > list-${item}.txt
      outs:
        - list-${item}.txt: {cache: false}
"""

PARAMS = "train: {seed: 8, deep: {rate: 0.1}}\nstrategies:\n  a: {lr: 0.5}\n  b: {lr: 0.25}\n"

# Does what its file `act.py` says between its start and its end.
SCRIPT = """
import sys
from pathlib import Path
from mammo.stage import after_success, run_stage

def main():
    Path("models").mkdir(exist_ok=True)
    Path("models", sys.argv[1] + ".txt").write_text("trained")
    after_success(lambda: Path("resumable").unlink(missing_ok=True))
    exec(Path("act.py").read_text())

run_stage(main)
"""


class SmallPipeline:
    """The repository and what runs in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        files = {
            "dvc.yaml": DVC_YAML, "params.yaml": PARAMS, "stages/train.py": SCRIPT, "act.py": "",
            "other.yaml": "a: {b: 1, c: 2}\n", "whole.yaml": "z: 1\n", "table.csv": "key\n1\n",
            "raw/one.dcm": "1", "raw/below/two.dcm": "2", "resumable": "", ".dvcignore": "*.tmp\n",
        }  # fmt: skip
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def write(self, name: str, text: str) -> None:
        """Write a file of the repository."""
        (self.folder / name).write_text(text)

    def train(self, *arguments: str, act: str = "") -> subprocess.CompletedProcess[str]:
        """Run the stage as DVC would, without DVC; `act` is Python that runs in its midst."""
        self.write("act.py", act)
        return self.run(sys.executable, "stages/train.py", *(arguments or ("a", "0.5")))

    def start(self, act: str) -> subprocess.Popen[bytes]:
        """Start the stage of strategy a without waiting for its end."""
        self.write("act.py", act)
        return subprocess.Popen(
            [sys.executable, "stages/train.py", "a", "0.5"], cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the repository with this Python first on the PATH."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DVC_")}
        return subprocess.run(
            command, cwd=self.folder, text=True, capture_output=True, timeout=120,
            env={**environment, "PATH": path, "PYTHONPATH": str(ROOT / "src"),
                 "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self.folder / ".site")},
        )  # fmt: skip
