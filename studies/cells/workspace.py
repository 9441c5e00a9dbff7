"""The pipeline's own stages, run in a folder of their own with other parameters.

So a study repeats what the pipeline does, not something like it: same scripts, same files, in a
folder whose params.yaml differs from the root's by what the study changes, and whose data/ links
to what both share.
"""

import contextlib
import importlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mammo import paths


@contextlib.contextmanager
def workspace(values: dict[str, Any], shared: Mapping[Path, Path]) -> Iterator[Path]:
    """Make a folder for a few stages; it is gone afterwards.

    Args:
        values: Its params.yaml.
        shared: What it links to: a path of `mammo.paths` -> where that lies.
    """
    with tempfile.TemporaryDirectory(prefix="study-") as name:
        folder = Path(name)
        (folder / paths.PARAMS).write_text(yaml.safe_dump(values), encoding="utf-8")
        # A reader's corrections are of the root's images: none apply to those made here.
        corrections = folder / Path(values["dataset"]["corrections"]).name
        corrections.write_text("key,old,new,who,when\n", encoding="utf-8")
        for inside, outside in shared.items():
            (folder / inside).parent.mkdir(parents=True, exist_ok=True)
            (folder / inside).symlink_to(outside.resolve())
        yield folder


def run_stages(folder: Path, stages: Sequence[str]) -> None:
    """Run stages in a folder: each the name of its script, and its argument after a space."""
    for stage in stages:
        script, *arguments = stage.split()
        module = importlib.import_module(f"stages.{script}")
        before, sys.argv = sys.argv, [script, *arguments]
        try:
            with contextlib.chdir(folder):
                module.main()
        finally:
            sys.argv = before


def keep(workspace: Path, kept: Sequence[Path], folder: Path) -> None:
    """Copy what stages have made, or were given, into a folder of the same layout."""
    for path in kept:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (workspace / path).is_dir() else shutil.copy
        copy(workspace / path, target)
