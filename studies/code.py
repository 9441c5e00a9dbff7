"""Note the code that a stage of a study runs: -> data/studies/STUDY/STAGE_code.txt.

A stage that is run many times depends on this file in place of all its modules: DVC reads every
dvc.lock with every command, and thirty modules noted with every cell would cost it seconds.
"""

import hashlib
import sys
from pathlib import Path

import yaml

from mammo import paths
from mammo.stage import run_stage
from mammo.storage.files import write_text


def main() -> None:
    """Write the SHA-256 of each dependency of the stage STAGE_code in the study's dvc.yaml."""
    study, stage = sys.argv[1:]
    stages = yaml.safe_load(Path("studies", study, "dvc.yaml").read_text("utf-8"))["stages"]
    files = sorted(stages[f"{stage}_code"]["deps"])
    lines = [f"{hashlib.sha256(Path(file).read_bytes()).hexdigest()}  {file}\n" for file in files]
    write_text("".join(lines), paths.STUDY_DATA / study / f"{stage}_code.txt")


if __name__ == "__main__":
    run_stage(main)
