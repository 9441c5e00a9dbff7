"""What a worker process runs: it answers one task after the other over a pipe.

A worker is this module run by a fresh interpreter, so it works from any parent (a daemonic Dask
worker, too), and what passes between the two is JSON and plain arrays.
"""

import importlib
import io
import json
import resource
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import psutil

from mammo.errors import FileFault

Task = dict[str, Any]  # plain JSON values
Function = Callable[[Task], tuple[dict[str, Any], np.ndarray | None]]

_CV_NO_MEMORY = -4  # cv2.Error.StsNoMem


def load_function(name: str) -> Function:
    """Import a function by `module:name`."""
    module, _, attribute = name.partition(":")
    function: Function = getattr(importlib.import_module(module), attribute)
    return function


def run_numbered(task: Task) -> tuple[dict[str, Any], np.ndarray | None]:
    """Run the function that a numbered task names."""
    return load_function(task["function"])(task["task"])


def pack(facts: dict[str, Any], array: np.ndarray | None) -> bytes:
    """Write one line of JSON, then the array as .npy."""
    buffer = io.BytesIO()
    buffer.write(json.dumps(facts).encode() + b"\n")
    if array is not None:
        np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def unpack(message: bytes) -> tuple[dict[str, Any], np.ndarray | None]:
    """Undo `pack`."""
    line, _, rest = message.partition(b"\n")
    array = np.load(io.BytesIO(rest), allow_pickle=False) if rest else None
    return json.loads(line), array


def _serve(function: Function, connection: Connection) -> None:
    """Answer tasks until the parent closes the pipe."""
    connection.send_bytes(pack({}, None))
    while True:
        try:
            task = json.loads(connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            return
        try:
            answer = pack(*function(task))
        except FileFault as error:
            answer = pack({"reason": error.reason, "detail": error.detail}, None)
        except Exception as error:
            if not _lacks_memory(error):
                raise
            said = " ".join(str(error).split())  # Python's own MemoryError says nothing
            detail = "ran out of its memory" + (f": {said}" if said else "")
            answer = pack({"reason": "decoder_memory", "detail": detail}, None)
        connection.send_bytes(answer)


def _lacks_memory(error: Exception) -> bool:
    """Tell what an allocation beyond the bound ends in: a library may not even be mapped."""
    kind = type(error)
    of_opencv = (kind.__module__, kind.__name__) == ("cv2", "error")
    insufficient = of_opencv and getattr(error, "code", 0) == _CV_NO_MEMORY
    unmapped = isinstance(error, ImportError) and "map" in str(error)
    return isinstance(error, MemoryError) or unmapped or insufficient


def _limit_memory(memory_mb: int) -> None:
    """Make allocations beyond the bound fail at once; elsewhere than on Linux the parent looks."""
    limit = psutil.Process().memory_info().vms + memory_mb * 2**20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)  # set from outside, by a cluster's scheduler say
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _main() -> None:
    name, descriptor, memory_mb = sys.argv[1:]
    function = load_function(name)
    _limit_memory(int(memory_mb))
    _serve(function, Connection(int(descriptor)))


if __name__ == "__main__":
    _main()
