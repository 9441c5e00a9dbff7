"""The same tasks on a Dask cluster, through joblib's Dask backend."""

import itertools
from collections.abc import Iterable, Iterator

import joblib

from mammo.errors import UserError
from mammo.running.serving import Task
from mammo.running.workers import Bounds, Outcome, run_tasks

# A batch shares one worker process; a lost Dask worker costs its batches a second run.
_BATCH = 16
_CONNECT_S = 10


def run_tasks_on_cluster(
    function: str, tasks: Iterable[Task], scheduler: str, bounds: Bounds
) -> Iterator[Outcome]:
    """Run a function on tasks, as `running.workers.run_tasks` does, on the workers of a cluster.

    The workers need this code, its libraries and the same paths to the images.

    Args:
        function: `module:name`.
        tasks: Read as the cluster becomes free.
        scheduler: Its address, `tcp://host:port`.
        bounds: What one task may take.

    Raises:
        UserError: Dask is missing, or the scheduler doesn't answer.
    """
    try:
        from dask.distributed import Client  # an extra of the project: few have a cluster
    except ImportError as error:
        raise UserError(
            "preprocess.scheduler: Dask is not installed; pip install -e '.[cluster]'"
        ) from error
    try:
        client = Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"preprocess.scheduler: no Dask scheduler answers at {scheduler}: {error}"
        ) from error
    with client, joblib.parallel_config(backend="dask", client=client):
        parallel = joblib.Parallel(return_as="generator_unordered")
        calls = (joblib.delayed(run_batch)(function, batch, bounds) for batch in _batches(tasks))
        for outcomes in parallel(calls):
            yield from outcomes


def run_batch(function: str, batch: list[Task], bounds: Bounds) -> list[Outcome]:
    """Run tasks one after the other in a worker process of their own."""
    return list(run_tasks(function, batch, processes=1, bounds=bounds))


def _batches(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    source = iter(tasks)
    while batch := list(itertools.islice(source, _BATCH)):
        yield batch
