"""Tasks that misbehave for real; run by worker processes in tests."""

import os
import resource
import signal
import time
from pathlib import Path

import cv2
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
        case "memory" | "opencv" | "opencv bug" | "import" | "missing":
            _fail_in_a_library(task["do"])
        case "note":
            with Path(task["file"]).open("a") as file:
                file.write(f"{os.getppid()}\n")
            time.sleep(0.05)
            return {}, np.full((2, 3), task["number"], np.uint16)
    raise ValueError(task["do"])


def _fail_in_a_library(how):
    if how == "memory":
        raise MemoryError  # as the interpreter's own: without a text
    if how == "import":
        raise ImportError("libx.so: failed to map segment from shared object")
    if how == "missing":
        raise ImportError("No module named 'a_codec'")
    side, size = (8, 32_000) if how == "opencv" else (0, 8)  # 1 GB, or nothing to resize
    cv2.resize(np.zeros((side, side), np.uint8), (size, size))


def unlimited(task):
    """Do the same without the limit that workers set themselves."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return act(task)
