"""Tasks that misbehave for real; run by worker processes in tests."""

import os
import resource
import signal
import time
from pathlib import Path

import numpy as np

from mammo.errors import FileFault


def act(task):
    """Do what `task["do"]` says."""
    match task["do"]:
        case "answer":
            return {"pid": os.getpid()}, np.full((2, 3), task["number"], np.uint16)
        case "refuse":
            raise FileFault("some_reason", "some detail")
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "bug":
            raise ZeroDivisionError("a bug")
        case "hang":
            time.sleep(600)
        case "allocate":
            held = [np.ones(10_000_000) for _ in range(1000)]  # 80 GB
            return {"held": len(held)}, None
        case "note":
            with Path(task["file"]).open("a") as file:
                file.write(f"{os.getppid()}\n")
            time.sleep(0.05)
            return {}, np.full((2, 3), task["number"], np.uint16)
    raise ValueError(task["do"])


def unlimited(task):
    """Do the same without the limit that workers set themselves."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return act(task)
