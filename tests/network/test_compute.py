"""Compiling: opt-in, and never silently something else; memory and determinism."""

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

from mammo.network.compute import compile_module
from mammo.network.devices import start
from mammo.network.params import ComputeParams

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler"
)


def compute(**changes):
    values = dict(
        accelerator="cpu", devices=1, num_nodes=1, threads=2, precision="float32", compile=False,
        deterministic=True,
    )  # fmt: skip
    return ComputeParams(**values | changes)


@pytest.mark.slow
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


@pytest.mark.slow
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
    start(compute())
    faults = []
    for _ in range(40):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24)  # 64 MB, or 16,384 pages of 4 KB
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    # Small allocations settle in the gaps, so the heap grows some two to eight times; then no more.
    assert sum(faults[-10:]) < 2**14 + 1_000


def test_determinism_does_not_fill_new_tensors():
    start(compute())
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.skipif(platform.system() != "Linux", reason="other wheels bring another OpenMP")
@pytest.mark.parametrize(
    ("asked", "policy", "spins"), [(None, "PASSIVE", "3000"), ("PASSIVE", "PASSIVE", "0")]
)
def test_waiting_threads_soon_sleep_unless_another_policy_is_asked_for(asked, policy, spins):
    unset = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {k: v for k, v in os.environ.items() if k not in unset}
    environment |= {"OMP_WAIT_POLICY": asked} if asked else {}
    done = subprocess.run(
        [sys.executable, "-c", "import mammo.network.compute"], text=True, capture_output=True,
        env={**environment, "PYTHONPATH": str(ROOT / "src"), "OMP_DISPLAY_ENV": "VERBOSE"},
    )  # fmt: skip
    assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr  # as GNU's OpenMP has read it
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr


def test_all_that_computes_in_threads_has_as_many_as_asked():
    import scipy.linalg  # noqa: F401  # brings a BLAS of its own
    from threadpoolctl import threadpool_info

    before = max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
    try:
        start(compute(threads=1))
        blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        assert set(blas) == {1} and torch.get_num_threads() == 1
    finally:
        start(compute(threads=before))
