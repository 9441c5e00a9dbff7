"""Training in several processes, as torchrun, Fabric's launcher and two machines start them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from mammo.errors import UserError
from mammo.network.backbones import architecture_of
from mammo.network.devices import start, start_fabric, start_together
from mammo.network.head import HeadShape, make_head
from mammo.network.inputs import IMAGENET
from mammo.network.params import BackboneParams, ComputeParams
from mammo.network.strategies import cut
from mammo.network.weights import random_network
from mammo.training.state import check_share
from support.pipeline_copy import ROOT, TINY, PipelineCopy
from support.several_processes import COMPUTE, TRAININGS, outcome_of
from support.trainings import BACKBONE, lively_network, stored_folder, write_data

pytestmark = pytest.mark.slow

# Sums over two halves of a batch round otherwise than one sum, 2^-24 of a value at a time.
TOLERANCE = 1e-5
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
PATIENCE_S = 120


def environment(**more):
    """Idle threads sleep: two processes of spinning ones would starve each other."""
    return {**os.environ, "PYTHONPATH": "src", "OMP_WAIT_POLICY": "PASSIVE", **more}


def job(folder, *command, **more):
    """Start a job in a folder."""
    return subprocess.Popen(
        command, cwd=folder, env=environment(**more), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process):
    """Wait for a job, within bounds, and return what it said."""
    try:
        return process.communicate(timeout=PATIENCE_S)[0]
    except subprocess.TimeoutExpired:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        raise
    finally:
        process.kill()


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What each of two processes came to, and one process alone."""
    folder = write_data(tmp_path_factory.mktemp("data"), BackboneParams(**BACKBONE))
    for trained in (0, 1, 2):  # stored before two processes would both store them
        stored_folder(folder, BackboneParams(**BACKBONE), trained)
    paths = os.pathsep.join(str(ROOT / part) for part in ("src", "tests"))
    both = job(ROOT, *TORCHRUN, "tests/support/several_processes.py", str(folder), PYTHONPATH=paths)
    said = finish(both)
    assert both.returncode == 0, said
    first, second = (json.loads((folder / f"process-{n}.json").read_text()) for n in (0, 1))
    return first, second, outcome_of(folder, start_fabric(COMPUTE), "head_only")


@pytest.mark.parametrize("training", TRAININGS)
def test_two_processes_come_to_the_same(together, training):
    """Metrics, best epoch, end, alert, every parameter and statistic: bit by bit."""
    first, second, _ = together
    assert first[training] == second[training]


def test_two_processes_learn_what_one_learns(together):
    first, _, alone = together
    two = first["head_only"]
    assert two["best"] == alone["best"]
    assert max(row["kappa"] for row in alone["rows"]) > 0.2  # something was learnt
    for row, expected in zip(two["rows"], alone["rows"], strict=True):
        assert row == pytest.approx(expected, abs=TOLERANCE)
    assert two["head"] == pytest.approx(alone["head"], abs=TOLERANCE)


def test_an_interrupted_training_of_two_ends_as_if_it_had_not_been(together):
    first, _, _ = together
    assert first["interrupted"] == first["last_blocks"]


def test_early_stopping_and_collapse_end_all_processes(together):
    first, _, _ = together
    assert first["stops_early"]["rows"][-1]["epoch"] == 3
    assert len(first["stops"]["rows"]) == 4 and first["stops"]["alerts"]
    assert "mine: collapsed at epoch 2" in first["fails"]["error"]


def test_batches_that_leave_a_process_without_images_are_refused():
    check_share(10, processes=5)
    with pytest.raises(
        UserError, match=r"train\.batch_size: must be at least 2 .* 5 processes, got 9"
    ):
        check_share(9, processes=5)


def test_only_train_shares_its_work(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"torchrun: only stages/train\.py shares its work"):
        start(COMPUTE)
    monkeypatch.undo()
    assert start(COMPUTE.model_copy(update={"devices": 2})).world_size == 1


def test_more_devices_than_there_are_end_with_a_clear_word():
    absent = ComputeParams(**{**COMPUTE.model_dump(), "accelerator": "cuda", "devices": 64})
    with pytest.raises(
        UserError, match=r"params\.yaml: compute: must fit this machine, got .*cuda"
    ):
        start_together(absent)


def test_synchronised_batchnorm_keeps_the_names_of_a_checkpoint():
    network = network_of_random_parameters()
    names = list(network.state_dict())
    torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in network.modules())
    assert list(network.state_dict()) == names


def network_of_random_parameters():
    backbone = BackboneParams(**BACKBONE)
    blocks = architecture_of(backbone).blocks(random_network(backbone))
    head = make_head(HeadShape("multinomial", 1280, 4))
    return cut(blocks, head, len(blocks) - 2, list(blocks)[-1:], IMAGENET)[1]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A tiny pipeline up to the training of head_only by one process."""
    weights = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(lively_network(BackboneParams(**BACKBONE)).state_dict(), weights)
    changes = {
        **TINY, "preprocess.size_px": 32, "backbone.arch": "mobilenet_v2",
        "backbone.weights": "file", "backbone.file": str(weights),
        "compute.precision": "float32", "compute.threads": 1, "train.dropout": 0,
        "strategies.head_only.lr": 0.03, "strategies.head_only.head": "gradient",
        "strategies.last_block.epochs": 30, "strategies.last_block.lr": 1e-3,
        "head.model": "multinomial",
        "train.checkpoint_every_s": 0,
    }  # fmt: skip
    copy = PipelineCopy(tmp_path_factory.mktemp("pipeline"), changes, drop=("strategies.full",))
    copy.repro("train@head_only", "embed@last_block")
    return copy


def trained(copy):
    """Read the history and the last parameters of head_only."""
    history = pd.read_csv(copy.folder / "plots/training/head_only/history.csv")
    return history, load_file(copy.folder / "models/head_only/last_model.safetensors")


@pytest.fixture(scope="module")
def alone(pipeline):
    return trained(pipeline)


def assert_same_training(copy, alone):
    history, parameters = trained(copy)
    expected, expected_parameters = alone
    pd.testing.assert_frame_equal(history, expected, rtol=0, atol=TOLERANCE)
    assert parameters.keys() == expected_parameters.keys()
    for name, value in expected_parameters.items():
        assert torch.allclose(parameters[name], value, rtol=0, atol=TOLERANCE), name


def test_torchrun_trains_as_one_process_does(pipeline, alone):
    process = job(pipeline.folder, *TORCHRUN, "stages/train.py", "head_only")
    said = finish(process)
    assert process.returncode == 0, said
    assert "Starting with 2 processes" in said
    assert_same_training(pipeline, alone)


def test_two_machines_train_as_one_process_does(pipeline, alone):
    """Two nodes of one device, as Fabric's num_nodes means them; here both are this machine."""
    before = (pipeline.folder / "params.yaml").read_text()
    pipeline.set_params({"compute.num_nodes": 2})
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = (sys.executable, "stages/train.py", "head_only")
    nodes = [job(pipeline.folder, *command, **meeting, NODE_RANK=str(rank)) for rank in (0, 1)]
    try:
        said = [finish(node) for node in nodes]
    finally:
        (pipeline.folder / "params.yaml").write_text(before)
    assert [node.returncode for node in nodes] == [0, 0], said
    assert "Starting with 2 processes" in said[0]
    assert_same_training(pipeline, alone)


def free_port():
    with socket.socket() as meeting:
        meeting.bind(("127.0.0.1", 0))
        return meeting.getsockname()[1]


def test_dvc_repro_starts_the_devices_that_params_yaml_asks_for(pipeline, alone):
    pipeline.set_params({"compute.devices": 2})
    done = pipeline.run("dvc", "repro", "train@head_only")
    assert "Starting with 2 processes" in done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("Starting with") == 1  # weights and embed are alone
    assert_same_training(pipeline, alone)
    pipeline.set_params({"compute.devices": 1})


def test_a_killed_process_ends_the_job_and_the_next_run_goes_on(pipeline):
    """The first process, which writes for all; the next run is of one process."""
    history = pipeline.folder / "plots/training/last_block/history.csv"
    history.unlink(missing_ok=True)
    both = job(pipeline.folder, *TORCHRUN, "stages/train.py", "last_block")
    deadline = time.monotonic() + PATIENCE_S
    while not history.exists() or history.read_text().count("\n") < 8:
        assert both.poll() is None and time.monotonic() < deadline, finish(both)
        time.sleep(0.02)
    ranks = {p.environ()["RANK"]: p for p in psutil.Process(both.pid).children()}
    ranks["0"].kill()
    killed_at = time.monotonic()
    said = finish(both)
    assert time.monotonic() - killed_at < 30
    assert both.returncode != 0
    assert f"Signal {signal.SIGKILL.value} (SIGKILL) received" in said
    assert not (pipeline.folder / "models/last_block").exists()
    assert not list(pipeline.folder.glob("models/.*")) + list(pipeline.folder.glob("metrics/**/.*"))

    resumed = job(pipeline.folder, sys.executable, "stages/train.py", "last_block")
    said = finish(resumed)
    assert resumed.returncode == 0, said
    assert "last_block: goes on after epoch" in said
    assert len(pd.read_csv(history)) == 1 + 2 * 30  # epoch 0, the solved head, has val alone
    assert not list((pipeline.folder / ".cache/train").glob("*"))
