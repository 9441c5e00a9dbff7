"""What is kept of a training: the deployable suffix, and the state from which a run goes on."""

import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from mammo.errors import UserError
from mammo.files import file_sha256, write_bytes
from mammo.store import digest

State = dict[str, Tensor]


def save_suffix(state: State, facts: dict[str, Any], path: Path) -> None:
    """Write a suffix as safetensors with one metadata key, `mammo`: JSON of `facts`.

    One key, because a file with several isn't byte-stable.
    """
    tensors = {key: state[key].detach().cpu().contiguous() for key in sorted(state)}
    metadata = {"mammo": json.dumps(facts, sort_keys=True)}
    write_bytes(safetensors.torch.save(tensors, metadata), path)


def load_suffix(path: Path) -> tuple[State, dict[str, Any]]:
    """Read a suffix and its facts.

    Raises:
        UserError: The file is missing or isn't one of ours.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; run `dvc repro train@{path.parent.name}`")
    with safetensors.safe_open(path, framework="pt") as file:
        facts = (file.metadata() or {}).get("mammo")
        if facts is None:
            raise UserError(f"{path}: not a suffix of this pipeline (no metadata key `mammo`)")
        return {key: file.get_tensor(key) for key in file.keys()}, json.loads(facts)  # noqa: SIM118


def check_backbone(facts: dict[str, Any], sha256: str, path: Path) -> None:
    """Refuse a suffix whose prefix came from other backbone weights.

    Raises:
        UserError: The SHA-256 differ.
    """
    if facts["backbone_sha256"] != sha256:
        raise UserError(
            f"{path}: belongs to the backbone weights {facts['backbone_sha256'][:12]}…, "
            f"but data/weights holds {sha256[:12]}…; run `dvc repro`"
        )


def run_key(params: Any, inputs: Sequence[Path]) -> str:
    """Hash all that determines a run: its parameters, its input files and the library's code.

    Args:
        params: Plain JSON values.
        inputs: Files, or folders whose files all count.
    """
    code = Path(__file__).parent
    files = [path for top in (*inputs, code) for path in sorted([top, *top.rglob("*")])]
    hashes = [[str(f.name), file_sha256(f)] for f in files if f.is_file() and f.suffix != ".pyc"]
    return digest([params, hashes])[:24]


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
