"""The benchmark programs run, and the plain reference trains what ours trains."""

import multiprocessing

import numpy as np
import pytest
import torch
import yaml

import bench
import neighbour
import same_answer
import tune
from fast import Fast
from mammo.embedding.params import EmbedParams
from mammo.errors import UserError
from mammo.network.backbones import count_parameters
from mammo.network.params import BackboneParams, ComputeParams
from mammo.params import load_params
from mammo.training.loop import train
from plain import Plain, Samples, make_network, train_batch

pytestmark = pytest.mark.slow

ARCH = "mobilenet_v2"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The benchmark's inputs, small, with nothing random in a step; the current folder."""
    folder = tmp_path / "bench"
    bench.make_folder(folder, ARCH, train=16, val=16, size_px=32)
    values = yaml.safe_load((folder / "params.yaml").read_text())
    values["compute"]["precision"] = "float32"
    values["train"] |= {"dropout": 0.0, "clip_norm": 0, "ramp_epochs": 0, "ema_decay": 0}
    values["balancing"] |= {"weighted_sampler": False, "class_weights": "none"}
    values["augment"] = dict.fromkeys(values["augment"], 0)
    values["head"]["model"] = "multinomial"
    values["head"]["folds"] = 2
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("strategy", ["probe", "head_only", "last_block", "full"])
def test_the_first_step_of_the_plain_reference_is_ours(folder, strategy):
    values = yaml.safe_load((folder / "params.yaml").read_text())
    # the plain reference knows no grey features
    values["strategies"][strategy] |= {"head": "gradient", "grey": False}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    fast = Fast(strategy)
    fast.embed()
    trial = fast.open()
    ours, fold = trial.network.suffix, trial.job.fold
    prefix, suffix = make_network(fast.recipe)
    assert count_parameters(suffix, trainable_only=True) == count_parameters(ours)
    suffix.load_state_dict(ours.state_dict())
    suffix.train()
    rate, decay = fast.recipe.strategy.lr, fast.recipe.train.weight_decay
    optimizer = torch.optim.AdamW(suffix.parameters(), lr=rate, weight_decay=decay)
    samples = Samples(fast.images, fold.labels, prefix.normalisation, augmentation=None)
    batch = [samples[position] for position in fold.train]
    images, labels = torch.stack([image for image, _ in batch]), torch.tensor([k for _, k in batch])
    loss = train_batch(prefix, suffix, optimizer, images, labels)
    assert train(trial.job, ours).rows[0]["loss"] == pytest.approx(loss, rel=2e-3)  # half precision


SHARES = [("probe", "embedding_share"), ("last_block", None), ("full", "training_share")]


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "share"), SHARES)
def test_both_ways_are_timed_and_set_in_a_page(folder, strategy, share):
    measured = {"plain": [], "ours": []}
    for way, subject in (("plain", Plain(strategy, 16, 16)), ("ours", Fast(strategy))):
        measured[way] = [{**subject.repeat(), "peak_mb": 1.0} for _ in range(2)]
    found = bench.summarise(measured, images=32, commands={})
    assert set(found) >= {"first_run", "second_experiment"}
    assert {"embedding_share", "training_share"} & set(found) == ({share} if share else set())
    assert f"| {strategy} | ours |" in bench.page({ARCH: {strategy: found}}, seconds=60)


def test_ratios_are_taken_repeat_by_repeat():
    assert bench.ratio([6, 8, 9], [2, 4, 1]) == {"median": 3, "min": 2, "max": 9}
    run = {"open": 1.0, "embed": 4.0, "fixed": 1.0, "epoch": 0.4, "peak_mb": 1.0}
    run |= {"once": 0.5, "bare_embed": 3.0}
    plain = {"open": 1.0, "epoch": 5.0, "peak_mb": 1.0}
    commands = {"start": [2.0], "train": [10.6]}
    found = bench.summarise({"plain": [plain], "ours": [run]}, 32, commands)
    assert found["first_run"] == 5.1  # (1 + 50) / (4 + 1 + 1 + 4)
    assert found["second_experiment"] == 10  # 50 / (1 + 4)
    assert found["second_experiment_once"] == 100  # 50 / 0.5
    assert found["bound"] == 17  # (1 + 50) / 3
    assert found["second_experiment_opened"] == 8.5  # (1 + 50) / (1 + 1 + 4)
    assert found["second_experiment_command"] == 5  # (2 + 1 + 50) / 10.6


def test_the_interval_of_paired_differences_is_students():
    # t with 4 degrees of freedom: 2.776; standard deviation of 1..5: 1.5811, / sqrt 5 = 0.7071
    assert same_answer.interval([1, 2, 3, 4, 5]) == pytest.approx((3, 1.9629), abs=1e-3)
    assert np.isclose(same_answer.interval([1, -1])[0], 0)


def test_tuning_advises_only_what_is_clearly_faster():
    assert tune.advise({"float32": 10.0, "bfloat16": 25.0}, "float32") == "bfloat16"
    assert tune.advise({1: 10.0, 2: 10.2}, 1) == 1


def test_tuning_measures_every_setting(capsys):
    compute, embed = load_params("compute", ComputeParams), load_params("embed", EmbedParams)
    backbone = load_params("backbone", BackboneParams).model_copy(update={"arch": ARCH})
    advised = tune.tune(compute, backbone, embed, size_px=32, batch_size=4, batch_sizes=[4])
    assert set(advised["compute"]) == {"precision", "threads", "compile"}
    assert set(advised["embed"]) == {"batch_size"}
    assert "threads (training, images/s): 1: " in capsys.readouterr().out


def test_tuning_refuses_to_advise_beside_a_busy_program():
    tune.refuse_company(0.1)
    with pytest.raises(UserError, match=r"keep 1\.0 of \d+ cores busy.*--busy"):
        tune.refuse_company(1.0)


def test_a_busy_neighbour_is_seen_and_gone_afterwards():
    with neighbour.neighbours(1):
        assert tune.busy_cores(0.5) > 0.5
        assert len(multiprocessing.active_children()) >= 1
    assert not multiprocessing.active_children()
