"""The same run on a Dask scheduler with two workers on loopback, one of them killed."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from distributed import Client

from mammo.errors import UserError
from mammo.running.cluster import run_tasks_on_cluster
from mammo.running.workers import Bounds
from support.decoding import contents_of, run, some_files

ROOT = Path(__file__).resolve().parents[2]
ACT = "support.worker_tasks:act"

pytestmark = pytest.mark.timeout(120)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command: str, *arguments: str) -> subprocess.Popen:
    paths = [str(ROOT / "src"), str(ROOT / "tests")]
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{command}", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "DASK_LOGGING__DISTRIBUTED": "40"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def cluster(tmp_path):
    """Start a scheduler and two workers without nannies; yield its address and the workers."""
    address = f"tcp://127.0.0.1:{free_port()}"
    options = ["--local-directory", str(tmp_path), "--no-dashboard"]
    processes = [start("scheduler", "--host", address, "--no-dashboard")]
    worker = [address, "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1", *options]
    processes += [start("worker", *worker) for _ in range(2)]
    try:
        # Else the first worker to connect may do all the work, and there is none to kill at it.
        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(cluster, tmp_path):
    address, workers = cluster
    log = tmp_path / "log"
    tasks = [{"do": "note", "number": number, "file": str(log)} for number in range(64)]

    def kill_one_at_work() -> None:
        while workers[0].poll() is None and not done.wait(0.02):
            if log.exists() and log.read_text().splitlines().count(str(workers[0].pid)) >= 3:
                workers[0].kill()

    done = threading.Event()
    killer = threading.Thread(target=kill_one_at_work)
    killer.start()
    outcomes = list(run_tasks_on_cluster(ACT, tasks, address, Bounds(30, 512)))
    done.set()
    killer.join()
    assert workers[0].poll() is not None, "the worker did no work, so it was never killed at it"
    assert len(log.read_text().splitlines()) > len(tasks)  # what it had under way ran again
    assert sorted(outcome.task["number"] for outcome in outcomes) == list(range(64))
    assert all((outcome.array == outcome.task["number"]).all() for outcome in outcomes)


def test_a_crash_on_the_cluster_costs_its_task_alone(cluster):
    address, workers = cluster
    tasks = [{"do": "answer", "number": 1}, {"do": "segfault"}, {"do": "answer", "number": 2}]
    outcomes = list(run_tasks_on_cluster(ACT, tasks, address, Bounds(30, 512)))
    assert [outcome.fault.reason if outcome.fault else "" for outcome in outcomes] == [
        "",
        "decoder_crashed",
        "",
    ]
    assert all(worker.poll() is None for worker in workers)


@pytest.mark.slow
def test_the_cluster_writes_the_bytes_of_one_machine(cluster, tmp_path):
    address, _ = cluster
    files = some_files(tmp_path / "images", 5)
    here, folder = run(tmp_path, files, "here", store="one")
    there, remote = run(tmp_path, files, "there", store="two", scheduler=address)
    assert contents_of(folder) == contents_of(remote)
    assert here.metrics == there.metrics


def test_a_silent_scheduler_is_named(monkeypatch):
    monkeypatch.setattr("mammo.running.cluster._CONNECT_S", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match=rf"preprocess\.scheduler: no Dask scheduler .*{address}"):
        list(run_tasks_on_cluster(ACT, [{"do": "hang"}], address, Bounds(1, 64)))
