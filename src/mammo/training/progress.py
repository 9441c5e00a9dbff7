"""The state from which an interrupted training goes on."""

import hashlib
import io
import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError  # the error alone: nothing is unpickled
from typing import Any

import psutil
import torch

from mammo.storage.digests import code_sha256, digest, file_sha256
from mammo.storage.files import write_bytes

logger = logging.getLogger(__name__)

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


# The number counts the forms that the file has had; one of another form isn't gone on from.
_FORM = b"mammo progress 1 "
_DIGITS = 64


class Progress:
    """The state of an unfinished run, in the scratch store under a key of all it depends on.

    Saved at most every `every_s` seconds, at the end of an epoch, whole or not at all, with a
    digest around it: a flipped bit would load as another state and train another model.
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
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getbuffer()
        write_bytes(b"".join([_FORM, _digest(content), content]), self.path)
        self._saved_at = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the state of an interrupted run, or None if there is none to go on from."""
        self._remove_left_overs()
        try:
            content = memoryview(self.path.read_bytes())
            head = len(_FORM) + _DIGITS
            if content[:head] != _FORM + _digest(content[head:]):
                raise ValueError("its digest doesn't match")
            state = torch.load(io.BytesIO(content[head:]), map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RuntimeError, EOFError, UnpicklingError) as error:
            logger.warning(
                "%s: can't be gone on from (%s): the training starts from the beginning",
                self.path,
                error,
            )
            return None
        return dict(state)

    def clear(self) -> None:
        """Forget the run, for it is done."""
        shutil.rmtree(self.path.parent, ignore_errors=True)

    def _remove_left_overs(self) -> None:
        """Remove what processes that were killed while they saved have left."""
        for partial in self.path.parent.glob(f".{self.path.name}.*.partial"):
            process = partial.name.split(".")[-2].partition("-")[0]
            if not process.isdigit() or not psutil.pid_exists(int(process)):
                partial.unlink(missing_ok=True)


def _digest(content: memoryview) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
