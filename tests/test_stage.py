"""How a stage runs: what it read is what DVC may lock, and every end has its message."""

import re
import signal
import time

import pytest

from mammo import fingerprint
from mammo.dvc_yaml import Stage
from mammo.fingerprint import changes, take
from support.small_pipeline import SmallPipeline

EDIT_SEED = "Path('params.yaml').write_text(Path('params.yaml').read_text().replace('8', '9'))"


@pytest.fixture
def pipeline(tmp_path):
    return SmallPipeline(tmp_path)


def test_a_stage_whose_inputs_stay_ends_well(pipeline):
    done = pipeline.train()
    assert (done.returncode, done.stderr) == (0, "")
    assert not (pipeline.folder / "resumable").exists()


# An edit at the last moment at which the stage holds its lock.
EDIT_AT_RELEASE = (
    "sys.addaudithook(lambda event, about: event == 'os.remove' and "
    f"str(about[0]).endswith('.lock') and {EDIT_SEED})"
)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (EDIT_SEED, r"params\.yaml: train\.seed changed from 8 to 9 while train@a ran"),
        (EDIT_AT_RELEASE, r"params\.yaml: train\.seed changed from 8 to 9 while train@a ran"),
        ("Path('params.yaml').write_text('train: {}')", r"strategies\.a\.lr vanished"),
        ("Path('params.yaml').write_text('a: [')", r"params\.yaml.*not valid YAML"),
        ("Path('other.yaml').write_text('a: {b: 3}')", r"other\.yaml: a\.b changed from 1 to 3"),
        ("Path('whole.yaml').write_text('{z: 1, y: 2}')", r"whole\.yaml: y appeared"),
        ("Path('table.csv').write_text('key\\n2\\n')", r"table\.csv changed while"),
        ("Path('table.csv').unlink()", r"table\.csv vanished"),
        ("Path('raw/below/two.dcm').write_text('3')", r"raw/below/two\.dcm changed"),
        ("Path('raw/three.dcm').write_text('3')", r"raw/three\.dcm appeared"),
        ("Path('stages/train.py').write_text('pass')", r"stages/train\.py changed"),
    ],
)
def test_a_stage_whose_inputs_change_fails_and_says_what(pipeline, act, said):
    done = pipeline.train(act=act)
    assert done.returncode == 1
    assert re.search(said, done.stderr), done.stderr
    assert "run dvc repro again" in done.stderr
    assert (pipeline.folder / "resumable").exists()


@pytest.mark.parametrize(
    "act",
    [
        "Path('table.csv').write_text(Path('table.csv').read_text())",  # the same bytes again
        "Path('params.yaml').write_text('# a comment\\n' + Path('params.yaml').read_text())",
        "Path('other.yaml').write_text('a: {b: 1, c: 9}')",  # a key of no stage
        "Path('params.yaml').write_text(Path('params.yaml').read_text().replace('0.25', '0.3'))",
        "Path('raw/x.tmp').write_text('')",  # .dvcignore leaves it out
    ],
)
def test_what_dvc_will_not_lock_may_change(pipeline, act):
    done = pipeline.train(act=act)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_large_dependency_is_compared_by_size_time_and_inode(pipeline):
    with (pipeline.folder / "raw/large.dcm").open("wb") as file:
        file.truncate(9 * 2**20)
    same_size = "import os; p = 'raw/large.dcm'; open(p, 'r+b').write(b'x')"
    done = pipeline.train(act=same_size)
    assert "raw/large.dcm changed" in done.stderr


def test_code_edited_between_the_interpreters_start_and_the_stages_is_noticed(pipeline):
    script = (pipeline.folder / "stages/train.py").read_text()
    edit = "import pathlib, time\ntime.sleep(.1)\nme = pathlib.Path(__file__)\n"
    pipeline.write("stages/train.py", f"{edit}me.write_text(me.read_text())\n{script}")
    assert "stages/train.py: changed while train@a ran" in pipeline.train().stderr


@pytest.mark.slow
def test_dvc_locks_nothing_of_a_stage_whose_inputs_changed(pipeline):
    pipeline.run("dvc", "init", "--no-scm", "-q")
    pipeline.write("act.py", EDIT_SEED)
    done = pipeline.run("dvc", "repro", "train@a")
    assert done.returncode != 0
    assert "train.seed changed from 8 to 9" in done.stderr
    assert not (pipeline.folder / "dvc.lock").exists()
    assert pipeline.run("dvc", "repro", "train@a").returncode == 0


def test_a_script_in_a_folder_without_a_pipeline_just_runs(pipeline):
    (pipeline.folder / "dvc.yaml").unlink()
    done = pipeline.train(act=EDIT_SEED)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("files", [1, 9])
def test_what_is_large_is_compared_by_its_facts_and_never_read(tmp_path, monkeypatch, files):
    for number in range(files):
        with (tmp_path / f"{number}.npy").open("wb") as file:
            file.truncate(2**20 if files > 1 else 9 * 2**20)  # nine of a megabyte are too much, too
    stage = Stage("train", tmp_path, "", (".",), (), {})
    monkeypatch.setattr(fingerprint, "_content", None)
    before = take(stage)
    assert len(before) == files and not changes(before, take(stage))
    (tmp_path / "0.npy").write_bytes(b"other")
    monkeypatch.undo()
    assert changes(before, take(stage))


def test_a_second_run_of_the_same_stage_is_refused_and_told_of_the_first(pipeline):
    act = "Path('at_work').touch(); import time; time.sleep(30)"
    first = pipeline.start(act)
    try:
        while not (pipeline.folder / "at_work").exists():
            time.sleep(0.02)
        second = pipeline.train(act="")
        assert second.returncode == 1
        assert f"train@a: is being written by process {first.pid} (train.py a 0.5)" in second.stderr
        assert pipeline.train("b", "0.25", act="").returncode == 0  # another stage may
    finally:
        first.kill()
        first.wait()
    assert pipeline.train(act="").returncode == 0  # a killed one leaves the lock free


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("Path('no/such').read_text()", "error: no/such: No such file or directory"),
        ("raise OSError(28, 'No space left on device', 'data/x')", "data/x: No space left.*room"),
        ("raise MemoryError", "out of memory.*batch sizes"),
        ("raise FloatingPointError('loss is nan')", "loss is nan.*learning rates"),
        ("1 / 0", "division by zero"),
        ("{}['a']", "unexpected KeyError: 'a'; this is a fault of the program"),
    ],
)
def test_any_fault_ends_in_a_message_with_the_traceback_in_the_logs_alone(pipeline, act, said):
    done = pipeline.train(act=act)
    assert done.returncode == 1
    assert re.search(said, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    log = pipeline.folder / "logs/train-a-0.5.traceback.txt"
    assert "Traceback" in log.read_text() and str(log.relative_to(pipeline.folder)) in done.stderr


def test_a_log_that_can_not_be_written_costs_a_warning(pipeline):
    pipeline.write("logs", "a file where the folder should be")
    done = pipeline.train()
    assert done.returncode == 0
    assert "logs/stages.csv: not written" in done.stderr
    assert "Traceback" in pipeline.train(act="1 / 0").stderr  # nowhere else to keep it


def test_a_terminated_stage_still_cleans_up(pipeline):
    act = "import time\ntry:\n Path('on').touch(); time.sleep(30)\nfinally: Path('clean').touch()"
    process = pipeline.start(act)
    while not (pipeline.folder / "on").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    assert (pipeline.folder / "clean").exists()


@pytest.mark.slow
def test_the_log_counts_from_the_start_of_the_interpreter(pipeline):
    script = (pipeline.folder / "stages/train.py").read_text()
    pipeline.write("stages/train.py", f"import time; time.sleep(1.5)\n{script}")
    assert pipeline.train().returncode == 0
    log = (pipeline.folder / "logs/stages.csv").read_text().splitlines()
    assert log[0] == "stage,seconds,peak_mb"
    stage, seconds, peak = log[1].split(",")
    assert stage == "train a 0.5" and 1.5 <= float(seconds) < 30 and float(peak) > 5
