"""Worker processes that may crash, hang or eat memory: each costs its task, never the run.

This is the parent's end; `serving` is what a worker runs.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Pipe, wait
from typing import Any

import numpy as np
import psutil

from mammo.errors import FileFault, UserError
from mammo.running.serving import Function, Task, load_function, unpack

logger = logging.getLogger(__name__)

_START_S = 120.0  # imports on a busy machine
_POLL_S = 0.2  # how often memory and deadlines are looked at


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        task: As given.
        facts: Plain values that the function returned.
        array: The array that it returned, if any.
        fault: Why there is neither.
    """

    task: Task
    facts: dict[str, Any]
    array: np.ndarray | None
    fault: FileFault | None


@dataclass(frozen=True)
class Bounds:
    """What one task may take.

    Attributes:
        timeout_s: Seconds.
        memory_mb: MiB beyond what the worker holds when idle.
        section: Of params.yaml, whose keys of these names set the bounds; "" if none does.
    """

    timeout_s: float
    memory_mb: int
    section: str = ""

    def advice(self, key: str) -> str:
        """Say, behind a fault, which key sets the bound."""
        return f"; {self.section}.{key} in params.yaml raises it" if self.section else ""


def run_tasks(
    function: str, tasks: Iterable[Task], processes: int, bounds: Bounds
) -> Iterator[Outcome]:
    """Run a function on tasks in worker processes; outcomes come as they finish.

    Args:
        function: `module:name` of a function of one task, importable by the workers.
        tasks: Read as workers become free; at most one a worker is under way.
        processes: How many workers.
        bounds: A task that exceeds them is stopped and its worker replaced.

    Raises:
        UserError: A worker can't even start.
    """
    queue = iter(tasks)
    workers: list[_Worker] = []
    try:
        for task in queue:
            workers.append(_Worker(function, bounds, task))
            if len(workers) == processes:
                break
        while workers:
            wait([worker.connection for worker in workers], timeout=_POLL_S)
            for place, worker in reversed(list(enumerate(workers))):
                outcome = worker.outcome()
                if outcome is None:
                    continue
                following = next(queue, None)
                if following is None:
                    worker.stop()
                    del workers[place]
                elif worker.alive():
                    worker.give(following)
                else:
                    workers[place] = _Worker(function, bounds, following)
                yield outcome
    finally:
        for worker in workers:
            worker.stop()


def run_in_order(
    function: str, tasks: Sequence[Task], processes: int, bounds: Bounds
) -> Iterator[Outcome]:
    """Run a function on tasks as `run_tasks` does; outcomes come in the order of the tasks.

    Args:
        function: `module:name`.
        tasks: All of them.
        processes: How many workers; 0 runs the tasks in this process, for fewer than a worker's
            start is worth.
        bounds: What one task may take, in a worker.
    """
    if processes == 0:
        yield from map(partial(_run_here, load_function(function)), tasks)
        return
    numbered = (
        {"number": number, "task": task, "function": function} for number, task in enumerate(tasks)
    )
    waiting: dict[int, Outcome] = {}
    due = 0
    for outcome in run_tasks("mammo.running.serving:run_numbered", numbered, processes, bounds):
        waiting[outcome.task["number"]] = replace(outcome, task=outcome.task["task"])
        while due in waiting:
            yield waiting.pop(due)
            due += 1


def cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run_here(function: Function, task: Task) -> Outcome:
    try:
        facts, array = function(task)
    except FileFault as fault:
        return Outcome(task, {}, None, fault)
    return Outcome(task, facts, array, None)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start a process that no interrupt ever reaches: a child inherits what is blocked.

    One from the terminal goes to the whole group, and the parent ends its workers itself.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """The parent's end of one worker process and the one task it has."""

    def __init__(self, function: str, bounds: Bounds, task: Task):
        self.connection, theirs = Pipe()
        self._bounds, self._task, self._started = bounds, task, False
        command = [sys.executable, "-m", "mammo.running.serving", function, str(theirs.fileno())]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            # One process a core: the libraries' own threads would only get in each other's way.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        with _interrupts_blocked():
            self._process = subprocess.Popen(
                [*command, str(bounds.memory_mb)],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
            )
        theirs.close()
        self._deadline = time.monotonic() + _START_S

    def alive(self) -> bool:
        """Tell whether the process can take another task."""
        return self._process.poll() is None

    def give(self, task: Task) -> None:
        """Hand over a task; its time starts now."""
        self._task = task
        self._deadline = time.monotonic() + self._bounds.timeout_s
        # If the worker died since, `outcome` finds out and says how.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send_bytes(json.dumps(task).encode())

    def outcome(self) -> Outcome | None:
        """Take the outcome if there is one: an answer, an end, or a bound exceeded."""
        try:
            if self.connection.poll():
                return self._answer(self.connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            return self._ended()
        if time.monotonic() > self._deadline:
            if not self._started:
                self.stop()
                raise UserError(f"a worker process did not start within {_START_S:.0f} s")
            return self._lost(
                "decoder_timeout",
                f"stopped after {self._bounds.timeout_s} s{self._bounds.advice('timeout_s')}",
            )
        if self._started and self._resident_mb() > self._idle_mb + self._bounds.memory_mb:
            return self._lost(
                "decoder_memory",
                f"took more than {self._bounds.memory_mb} MiB{self._bounds.advice('memory_mb')}",
            )
        return None

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self.connection.close()

    def _answer(self, message: bytes) -> Outcome | None:
        facts, array = unpack(message)
        if not self._started:  # the first message only says that the imports are done
            self._started = True
            self._idle_mb = self._resident_mb()
            self.give(self._task)
            return None
        if "reason" not in facts:
            return Outcome(self._task, facts, array, None)
        if facts["reason"] == "decoder_memory":
            return self._lost("decoder_memory", facts["detail"] + self._bounds.advice("memory_mb"))
        return Outcome(self._task, {}, None, FileFault(facts["reason"], facts["detail"]))

    def _ended(self) -> Outcome:
        code = self._process.wait()
        if not self._started:
            raise UserError(f"a worker process could not start: exit code {code}, see above")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return self._lost("decoder_crashed", f"the worker ended by {how}")

    def _lost(self, reason: str, detail: str) -> Outcome:
        self.stop()
        logger.warning("worker replaced: %s: %s", reason, detail)
        return Outcome(self._task, {}, None, FileFault(reason, detail))

    def _resident_mb(self) -> float:
        try:
            return psutil.Process(self._process.pid).memory_info().rss / 2**20
        except psutil.Error:
            return 0.0  # it ended between two looks: the pipe says so next
