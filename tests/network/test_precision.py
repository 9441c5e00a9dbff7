"""The measured precision, and compiling: opt-in, kept, and never silently something else."""

import os
import platform
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mammo import paths
from mammo.errors import UserError
from mammo.network.compute import compile_module, compute_dtype, has_bfloat16, start
from mammo.network.params import BackboneParams, ComputeParams
from mammo.network.precision import settle
from mammo.params import load_params
from mammo.storage.files import read_json, write_json

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler"
)


def compute(**changes):
    values = dict(
        accelerator="cpu", devices=1, num_nodes=1, threads=2, precision="auto", compile=False,
        deterministic=True,
    )  # fmt: skip
    return ComputeParams(**values | changes)


@pytest.fixture
def backbone():
    return load_params("backbone", BackboneParams).model_copy(update={"arch": "mobilenet_v2"})


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_a_fixed_precision_is_never_measured(backbone, precision, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "SCRATCH", tmp_path)
    params = compute(precision=precision)
    assert settle(params, backbone) is params
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not has_bfloat16("cpu"), reason="without bfloat16 there is nothing to choose")
def test_auto_measures_once_and_every_stage_then_agrees(backbone, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(paths, "SCRATCH", tmp_path)
    caplog.set_level("INFO")
    first = settle(compute(), backbone)
    (kept,) = (tmp_path / "precision").iterdir()
    rates = read_json(kept)
    assert set(rates) == {"float32", "bfloat16"} and min(rates.values()) > 0
    assert first == compute(precision=max(rates, key=rates.get))
    assert "compute.precision: auto" in caplog.text
    other = min(rates, key=rates.get)
    write_json({**rates, other: 2 * max(rates.values())}, kept)
    assert settle(compute(), backbone).precision == other  # from the file: nothing was measured
    with pytest.raises(UserError, match=r"compute\.precision: auto measures one process alone"):
        settle(compute(devices=2), backbone)


def test_without_bfloat16_auto_is_float32_and_nothing_is_measured(backbone, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "SCRATCH", tmp_path)
    monkeypatch.setattr("mammo.network.precision.has_bfloat16", lambda accelerator: False)
    assert settle(compute(), backbone).precision == "float32"
    assert not list(tmp_path.iterdir())


def test_auto_is_refused_where_it_is_not_settled():
    with pytest.raises(ValueError, match="auto must be settled"):
        compute_dtype(compute())


@needs_compiler
def test_what_is_compiled_gives_the_same_answer_every_time():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
    x = torch.randn(4, 3, 8, 8)
    names, expected = list(module.state_dict()), module(x)
    compile_module(module, compute(compile=True), CPU)
    first, second = module(x), module(x)
    assert torch.equal(first, second)
    assert torch.allclose(first, expected, atol=1e-5)
    assert list(module.state_dict()) == names  # a checkpoint doesn't know of it
    assert module._compiled_call_impl is not None


def test_nothing_is_compiled_unasked():
    module = nn.ReLU()
    compile_module(module, compute(), CPU)
    assert module._compiled_call_impl is None


def test_without_a_compiler_compiling_ends_in_a_clear_error(tmp_path):
    program = (
        "import torch; from mammo.network.compute import ComputeParams, compile_module;"
        f"params = ComputeParams(**{compute(compile=True).model_dump()!r});"
        "compile_module(torch.nn.ReLU(), params, torch.device('cpu'))"
    )
    names = {"CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], text=True, capture_output=True,
        env={**os.environ, **names, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert "UserError: params.yaml: compute.compile: needs a working compiler" in done.stderr
    assert "set compute.compile: false" in done.stderr


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators aren't told")
def test_large_activations_reuse_freed_memory():
    start(compute(precision="float32"))
    faults = []
    for _ in range(12):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24)  # 64 MB, or 16,384 pages of 4 KB
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert sum(faults[-6:]) < 1_000  # the heap has grown by then


def test_determinism_does_not_fill_new_tensors():
    start(compute(precision="float32"))
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
