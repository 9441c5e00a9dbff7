"""The same library on an NVIDIA GPU: chosen by itself, repeatable, and of the CPU's opinion."""

import numpy as np
import pytest
import torch

from mammo.embedding.augment import Augmentation
from mammo.embedding.sources import FreshViews, Pixels
from mammo.evaluation.inference import predict
from mammo.network.compute import compute_dtype
from mammo.network.devices import start, start_fabric
from mammo.network.params import BackboneParams
from mammo.network.strategies import fold_batchnorm
from mammo.storage.tensors import Tensors
from support.several_processes import COMPUTE
from support.trainings import AUGMENT, BACKBONE, BLOCKS, changed, make_run, network_of, write_data

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine"),
]

AUTO = COMPUTE.model_copy(update={"accelerator": "auto"})


@pytest.fixture(scope="module")
def backbone():
    return BackboneParams(**BACKBONE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, backbone):
    return write_data(tmp_path_factory.mktemp("data"), backbone)


def test_a_gpu_is_used_where_there_is_one():
    assert start(AUTO).device.type == "cuda"


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("trained", [1, BLOCKS])
def test_two_trainings_on_a_gpu_are_bit_identical(folder, backbone, trained, precision):
    compute = AUTO.model_copy(update={"precision": precision})
    fabric, dtype = start_fabric(compute), compute_dtype(compute)

    def outcome():
        prefix = fold_batchnorm(network_of(folder, backbone, trained).prefix, dtype)
        tensors = Tensors(folder / "tensors")
        source = FreshViews(tensors, prefix.to(fabric.device), dtype, Augmentation(AUGMENT))
        strategy = dict(epochs=2, warmup_epochs=1)
        run = make_run(folder, backbone, fabric, trained, source=source, strategy=strategy)
        return run.train()

    first, second = outcome(), outcome()
    assert first.rows == second.rows
    assert not changed(first.last, second.last)


def test_float32_on_a_gpu_is_float32():
    start(AUTO)
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_cpu_and_gpu_predict_the_same_classes(folder, backbone):
    logits = []
    for compute in (COMPUTE, AUTO):
        devices, network = start(compute), network_of(folder, backbone, 2)
        prefix = fold_batchnorm(network.prefix, torch.float32).to(devices.device)
        source = Pixels(Tensors(folder / "tensors"), prefix, torch.float32)
        suffix = network.suffix.to(devices.device)
        logits.append(predict(suffix, source, np.arange(48), devices, 16))
    assert torch.allclose(*logits, rtol=1e-3, atol=1e-3)
    assert (logits[0].argmax(dim=1) == logits[1].argmax(dim=1)).all()
