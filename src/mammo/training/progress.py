"""What is kept of a training: the deployable suffix, and the state from which a run goes on."""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mammo.storage.digests import code_sha256, digest, file_sha256

# The packages whose code bears on a trained state.
_CODE = tuple(
    f"mammo.{name}"
    for name in ("storage", "cohort", "network", "embedding", "evaluation", "heads", "training")
)


def run_key(params: Any, inputs: Sequence[Path]) -> str:
    """Hash all that determines a run: its parameters, its input files and the code that trains.

    Args:
        params: Plain JSON values.
        inputs: Files, or folders whose files all count.
    """
    files = [path for top in inputs for path in sorted([top, *top.rglob("*")])]
    hashes = [[str(f.name), file_sha256(f)] for f in files if f.is_file()]
    return digest([params, hashes, code_sha256(*_CODE)])[:24]


class Progress:
    """The state of an unfinished run, in the scratch store under a key of all it depends on.

    Saved at most every `every_s` seconds, at the end of an epoch, whole or not at all.
    """

    def __init__(self, folder: Path, every_s: float):
        self.path = folder / "progress.pt"
        self.every_s = every_s
        self._saved_at = time.monotonic()

    def due(self) -> bool:
        """Say whether it is time to save again."""
        return time.monotonic() - self._saved_at >= self.every_s

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state of tensors and plain values."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f"progress.{os.getpid()}.partial")
        torch.save(state, partial)
        partial.replace(self.path)
        self._saved_at = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the state of an interrupted run, or None if there is none."""
        if not self.path.exists():
            return None
        return torch.load(self.path, map_location="cpu", weights_only=True)

    def clear(self) -> None:
        """Forget the run, for it is done."""
        shutil.rmtree(self.path.parent, ignore_errors=True)
