import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from mammo.errors import UserError
from mammo.running.workers import Bounds, run_in_order, run_tasks

BOUNDS = Bounds(timeout_s=20, memory_mb=300, section="there")


def run(tasks, processes=2, bounds=BOUNDS):
    return list(run_tasks("support.worker_tasks:act", tasks, processes, bounds))


def answers(count):
    return [{"do": "answer", "number": number} for number in range(count)]


def test_every_task_has_one_outcome():
    outcomes = run(answers(20))
    assert sorted(outcome.task["number"] for outcome in outcomes) == list(range(20))
    for outcome in outcomes:
        assert outcome.fault is None
        assert (outcome.array == outcome.task["number"]).all()
        assert outcome.array.shape == (2, 3)


def test_no_task_needs_no_worker():
    assert run([]) == []


def test_one_worker_serves_many_tasks_and_two_share_them():
    assert len({outcome.facts["pid"] for outcome in run(answers(5), processes=1)}) == 1
    assert len({outcome.facts["pid"] for outcome in run(answers(20), processes=2)}) == 2


def test_a_refused_file_keeps_its_reason_and_its_worker():
    refused, answered = run([{"do": "refuse"}, *answers(1)], processes=1)
    assert (refused.fault.reason, refused.fault.detail) == ("some_reason", "some detail")
    assert answered.fault is None


@pytest.mark.parametrize(
    ("do", "reason", "detail"),
    [
        ("segfault", "decoder_crashed", "signal 11"),
        ("exit", "decoder_crashed", "exit code 3"),
        ("bug", "decoder_crashed", "exit code 1"),
        ("allocate", "decoder_memory", "; there.memory_mb in params.yaml raises it"),
        ("memory", "decoder_memory", "ran out of its memory; there.memory_mb"),
        ("opencv", "decoder_memory", "Insufficient memory"),
        ("import", "decoder_memory", "failed to map segment"),
        ("opencv bug", "decoder_crashed", "exit code 1"),
        ("missing", "decoder_crashed", "exit code 1"),
    ],
)
def test_a_lost_worker_costs_its_task_alone(do, reason, detail):
    outcomes = run([*answers(2), {"do": do}, *answers(2)], processes=1)
    assert [outcome.fault is None for outcome in outcomes] == [True, True, False, True, True]
    assert outcomes[2].fault.reason == reason
    assert detail in outcomes[2].fault.detail
    assert outcomes[1].facts["pid"] != outcomes[3].facts["pid"]


def test_a_hanging_task_is_stopped_in_time():
    tasks = [{"do": "hang"}, *answers(2)]
    outcomes = run(tasks, processes=1, bounds=Bounds(timeout_s=0.5, memory_mb=300))
    assert [outcome.fault.reason if outcome.fault else "" for outcome in outcomes] == [
        "decoder_timeout",
        "",
        "",
    ]
    assert outcomes[0].fault.detail == "stopped after 0.5 s"
    (named,) = run(tasks[:1], bounds=Bounds(0.5, 300, "preprocess"))
    assert "; preprocess.timeout_s in params.yaml raises it" in named.fault.detail


def test_memory_is_bounded_by_watching_where_no_limit_can_be_set():
    # As on macOS: the worker sets no limit of its own, the parent sees it grow.
    outcomes = list(
        run_tasks(
            "support.worker_tasks:unlimited", [{"do": "allocate"}], 1, Bounds(60, memory_mb=200)
        )
    )
    assert outcomes[0].fault.reason == "decoder_memory"
    assert "took more than" in outcomes[0].fault.detail


def test_workers_that_can_not_start_end_the_run():
    with pytest.raises(UserError, match="could not start"):
        list(run_tasks("no_such_module:act", answers(1), 1, BOUNDS))


def test_no_worker_outlives_the_run():
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    outcomes = run_tasks("support.worker_tasks:act", answers(10), 2, BOUNDS)
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]  # a generator
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_tasks_are_read_as_workers_become_free():
    read = []

    def tasks():
        for task in answers(50):
            read.append(task)
            yield task

    outcomes = run_tasks("support.worker_tasks:act", tasks(), 2, BOUNDS)
    next(outcomes)
    assert len(read) <= 6
    outcomes.close()  # type: ignore[attr-defined]  # a generator


@pytest.mark.parametrize("processes", [0, 1, 3])
def test_outcomes_in_order_keep_the_order_of_the_tasks(processes):
    tasks = [*answers(7), {"do": "refuse"}, *answers(2)]
    outcomes = list(run_in_order("support.worker_tasks:act", tasks, processes, BOUNDS))
    assert [outcome.task for outcome in outcomes] == tasks
    assert [outcome.fault is None for outcome in outcomes] == [True] * 7 + [False] + [True] * 2
    assert (outcomes[3].array == 3).all()
    mine = {outcome.facts["pid"] == os.getpid() for outcome in outcomes if not outcome.fault}
    assert mine == {processes == 0}


@pytest.mark.slow
def test_a_hard_limit_from_outside_below_the_bound_is_kept_to():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9, 2 * 10**9)); "
        "from mammo.running.workers import Bounds, run_tasks; "
        "answer = {'do': 'answer', 'number': 1}; tasks = [answer, {'do': 'allocate'}, answer]; "
        "print([o.fault and o.fault.reason for o in "
        "run_tasks('support.worker_tasks:act', tasks, 1, Bounds(100, 10**6))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})  # fmt: skip
    assert done.stdout.strip() == "[None, 'decoder_memory', None]"


def test_an_interrupt_leaves_a_worker_that_still_starts_alone(capfd):
    """The parent ends its workers itself; a traceback of each would hide what it says."""

    def tasks():
        yield from answers(1)
        for _ in range(50):  # while the interpreter comes up, imports, and waits
            for child in psutil.Process().children():
                child.send_signal(signal.SIGINT)
            time.sleep(0.01)
        yield from answers(1)

    assert [outcome.fault for outcome in run(tasks())] == [None, None]
    assert "Traceback" not in capfd.readouterr().err
