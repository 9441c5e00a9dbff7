"""One device without Fabric is what Fabric would have chosen."""

import pytest
import torch

from mammo.errors import UserError
from mammo.network.devices import OneDevice, start, start_fabric, start_together
from support.trainings import COMPUTE

ABSENT = "mps" if torch.cuda.is_available() else "cuda"


@pytest.mark.parametrize("accelerator", ["auto", "cpu"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_device_and_precision_are_those_of_fabric(accelerator, precision):
    params = COMPUTE.model_copy(update={"accelerator": accelerator, "precision": precision})
    found = []
    for devices in (start(params), start_fabric(params)):
        a = torch.ones(2, 2, device=devices.device)
        with devices.autocast():
            computed = (a @ a).dtype
        assert (a @ a).dtype == torch.float32
        found.append((devices.device, computed, devices.global_rank, devices.world_size))
    assert found[0] == found[1]


def test_an_accelerator_that_is_absent_is_refused_by_its_key():
    params = COMPUTE.model_copy(update={"accelerator": ABSENT})
    with pytest.raises(UserError, match=rf"compute\.accelerator: this machine has no {ABSENT}"):
        start(params)


def test_fabric_is_started_for_gradients_and_for_several_processes_alone():
    assert isinstance(start_together(COMPUTE, by_gradient=False), OneDevice)
    assert not isinstance(start_together(COMPUTE), OneDevice)
