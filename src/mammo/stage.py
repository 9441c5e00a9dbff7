"""How a stage runs: its inputs watched, messages to stderr, a clear end, a log of its cost."""

import atexit
import contextlib
import errno
import logging
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import psutil

from mammo import paths
from mammo.dvc_yaml import Stage, running_stage
from mammo.errors import UserError
from mammo.fingerprint import changes, complaint, edited_since, take
from mammo.locks import only_one

logger = logging.getLogger(__name__)

_TICK_S = 0.02  # the start of a process is known to a clock tick

# What ranks a process among those that share one training: by torchrun, Fabric, SLURM.
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")

_REMEDIES = {
    errno.ENOSPC: "make room on this disk, then run again",
    errno.EDQUOT: "make room within your quota, then run again",
    errno.EROFS: "this file system can only be read: write to another one",
    errno.EACCES: "check the permissions of the file and of its folder",
    errno.EPERM: "check the permissions of the file and of its folder",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.EIO: "the disk reports a fault: check it before anything else",
}

_afterwards: list[Callable[[], None]] = []


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's `main`: a `UserError` becomes one line on stderr and exit code 1.

    Where the process is a stage of a dvc.yaml, what DVC will lock for it is noted before and
    compared after: if it changed meanwhile the stage fails, and DVC locks nothing. Seconds and
    memory go to logs/stages.csv, outside Git and DVC, so that no committed byte depends on the
    machine's speed.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.captureWarnings(True)
    sys.excepthook = _last_resort
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        watched = _run(main)
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        _log_usage()
    if watched:
        _leave()


def after_success(action: Callable[[], None]) -> None:
    """Do something once the stage has ended well: what an interrupted run needs is kept till then.

    Outside of a stage it is done when the process's next stage ends well.
    """
    _afterwards.append(action)


def seconds_since_start() -> float:
    """Count from the start of the interpreter: imports are a stage's time, too."""
    if sys.platform == "linux":
        # Ticks since boot, field 22 of proc_pid_stat(5); the name in field 2 may hold blanks.
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks = float(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks
    return time.time() - psutil.Process().create_time()


def _run(main: Callable[[], None]) -> bool:
    """Run `main`; tell whether this is a stage of a dvc.yaml, whose inputs were watched."""
    stage = running_stage(sys.argv, dict(os.environ))
    if stage is None:
        main()
        _finish()
        return False
    with _alone(stage):
        before = take(stage)
        edited = edited_since(stage, time.time() - seconds_since_start() + _TICK_S)
        main()
    # As late as can be: what is edited while the stage holds its lock is seen without exception.
    try:
        changed = edited or changes(before, take(stage))
    except UserError as error:  # params.yaml can't be read any more
        changed = [str(error)]
    if changed:
        raise UserError(complaint(stage, changed))
    _finish()
    return True


def _leave() -> None:
    """End the process with exit code 0, without taking the interpreter apart.

    That takes a second where PyTorch is loaded, and whatever is edited in it is locked unseen.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter does, first: else
    atexit._run_exitfuncs()  # joblib's workers hold the process until they time out
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _finish() -> None:
    while _afterwards:
        _afterwards.pop(0)()


@contextlib.contextmanager
def _alone(stage: Stage) -> Iterator[None]:
    """Keep a second run of the same stage out: one left behind by a killed DVC, for example."""
    if any(os.environ.get(rank, "0") != "0" for rank in _RANKS):
        yield  # the first process of a shared training holds the lock for all
        return
    with contextlib.ExitStack() as stack:
        name = f"{stage.folder}-{stage.name}".replace(os.sep, "_").lstrip(".-")
        file = Path(".cache", "locks", f"{name}.lock")
        try:
            stack.enter_context(only_one(file, stage.name))
        except OSError as error:
            logger.warning("%s: no lock (%s): don't run %s twice at once", file, error, stage.name)
        yield


def _last_resort(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Word a fault that nothing else has caught; its traceback goes to logs/ alone."""
    text = "".join(traceback.format_exception(kind, error, trace))
    name = "-".join([Path(sys.argv[0]).stem, *sys.argv[1:]]).replace(os.sep, "_")
    file = paths.LOGS / f"{name}.traceback.txt"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        where = f"the traceback is in {file}"
    except OSError:
        where = f"no traceback could be kept in {paths.LOGS}:\n{text}"
    sys.stderr.write(f"error: {worded(error)}; {where}\n")


def worded(error: BaseException) -> str:
    """Word a fault that isn't a `UserError`: file, fault and remedy, where they are known."""
    if isinstance(error, OSError):
        name = error.filename2 or error.filename
        place = f"{os.fsdecode(name)}: " if isinstance(name, str | bytes) else ""
        fault = error.strerror or str(error) or type(error).__name__
        remedy = _REMEDIES.get(error.errno or 0, "")
        return f"{place}{fault}" + (f": {remedy}" if remedy else "")
    if isinstance(error, MemoryError):
        detail = f" ({error})" if str(error) else ""
        return (
            f"out of memory{detail}: raise the limit, or lower batch sizes, preprocess.workers "
            "or preprocess.memory_mb in params.yaml"
        )
    if isinstance(error, ArithmeticError):
        return (
            f"{error or type(error).__name__}: the numbers of this run left their range; look at "
            "the learning rates, the loss and the weights file in params.yaml"
        )
    return f"unexpected {type(error).__name__}: {error}; this is a fault of the program"


def _log_usage() -> None:
    """Append this stage's wall time and the peak memory of its largest process.

    A log that can't be written costs a warning, never a finished training.
    """
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes there, else in KiB
    peak = max(
        resource.getrusage(who).ru_maxrss / unit
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    name = " ".join([Path(sys.argv[0]).stem, *sys.argv[1:]])
    try:
        paths.LOGS.mkdir(parents=True, exist_ok=True)
        with (paths.LOGS / "stages.csv").open("a", encoding="utf-8") as log:
            if log.tell() == 0:
                log.write("stage,seconds,peak_mb\n")
            log.write(f"{name},{seconds_since_start():.1f},{peak:.0f}\n")
    except OSError as error:
        logger.warning("%s: not written: %s", paths.LOGS / "stages.csv", error.strerror or error)
