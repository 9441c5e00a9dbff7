"""The deployable suffix of a network as a file."""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from mammo.errors import UserError
from mammo.storage.files import write_bytes
from mammo.storage.manifest import check_file

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
        UserError: The file is missing, damaged or isn't one of ours.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; run `dvc repro train@{path.parent.name}`")
    check_file(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = (file.metadata() or {}).get("mammo")
            if facts is None:
                raise UserError(f"{path}: not a suffix of this pipeline (no metadata key `mammo`)")
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return state, json.loads(facts)
    except (safetensors.SafetensorError, ValueError) as error:
        raise UserError(
            f"{path}: a damaged model ({error}); remove it and run "
            f"`dvc repro train@{path.parent.name}`"
        ) from None


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
