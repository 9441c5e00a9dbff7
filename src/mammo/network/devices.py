"""Where the arithmetic runs: the device, and the processes that share a training."""

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.distributed import DistError, is_torchelastic_launched

from mammo.errors import UserError
from mammo.network.compute import set_arithmetic, set_threads
from mammo.network.params import ComputeParams

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# How long a process waits for the others at a point where all must meet. The longest wait in order
# is for the first one's hash of the inputs.
PATIENCE = timedelta(minutes=10)


class Devices(Protocol):
    """What a pass without gradients needs to know; `lightning_fabric.Fabric` knows it too."""

    @property
    def device(self) -> torch.device:
        """Of this process."""

    @property
    def global_rank(self) -> int:
        """The number of this process, from 0."""

    @property
    def world_size(self) -> int:
        """How many processes share the work."""

    def autocast(self) -> AbstractContextManager[None]:
        """Compute in the precision that was asked for."""

    def all_reduce(self, data: Any, group: Any = None, reduce_op: str = "mean") -> Any:
        """Put the processes' tensors together, element by element."""


@dataclass(frozen=True)
class OneDevice:
    """One device for this process alone, without the seconds that importing Fabric takes."""

    device: torch.device
    dtype: torch.dtype
    global_rank: int = 0
    world_size: int = 1

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Compute in the precision that was asked for."""
        mixed = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype if mixed else None, enabled=mixed):
            yield

    def all_reduce(self, data: Any, group: Any = None, reduce_op: str = "mean") -> Any:
        """Return what one process has."""
        return data


def start(params: ComputeParams) -> OneDevice:
    """Set threads and determinism, and choose the device, for this process alone.

    Raises:
        UserError: There is no such accelerator, or `torchrun` has started several processes, each
            of which would do the same work and write the same files.
    """
    _refuse_several()
    dtype, device = set_arithmetic(params), _device(params.accelerator)
    set_threads(params)
    return OneDevice(device, dtype)


def start_fabric(params: ComputeParams) -> "Fabric":
    """Do what `start` does, for a training by gradient in this process alone.

    Raises:
        UserError: As of `start`.
    """
    _refuse_several()
    return _start_fabric(params, devices=1, num_nodes=1)


def _refuse_several() -> None:
    if is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1:
        raise UserError("torchrun: only stages/train.py shares its work; start this stage alone")


def _device(accelerator: str) -> torch.device:
    found = torch.accelerator.current_accelerator(check_available=True)
    if accelerator == "cpu" or (accelerator == "auto" and found is None):
        return torch.device("cpu")
    if found is None or accelerator not in ("auto", found.type):
        raise UserError(
            f"params.yaml: compute.accelerator: this machine has no {accelerator}, but "
            f"{found.type if found else 'cpu'}; auto takes what there is"
        )
    return torch.device(found.type, 0)


def start_together(params: ComputeParams, by_gradient: bool = True) -> Devices:
    """Set threads and determinism, and start or join the processes that share a training.

    Under `torchrun` its process counts stand in place of `devices` and `num_nodes`. Without it
    this script is started again, with the same arguments, for every further device.

    Args:
        params: Of the device and the processes.
        by_gradient: Whether anything trains by gradient, which a head that is solved alone
            doesn't; one process then needs no more than `start` gives.

    Raises:
        UserError: There is no such accelerator, or there are too few devices.
    """
    devices, num_nodes = params.devices, params.num_nodes
    if is_torchelastic_launched():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        num_nodes = int(os.environ["WORLD_SIZE"]) // devices
    if devices * num_nodes == 1 and not by_gradient:
        return start(params)
    return _start_fabric(params, devices, num_nodes)


def _start_fabric(params: ComputeParams, devices: int, num_nodes: int) -> "Fabric":
    # An import of seconds, which nothing but a training by gradient waits for.
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    announcements = logging.getLogger("lightning_fabric.utilities.rank_zero")
    announcements.addFilter(_is_no_precision)
    fast = set_arithmetic(params) == torch.bfloat16
    # Gradients are averaged and nothing else; BatchNorm's statistics are left to the training.
    shared = DDPStrategy(forward_sync_buffers=False, timeout=PATIENCE)
    try:
        fabric = Fabric(
            accelerator=params.accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=shared if devices * num_nodes > 1 else "auto",
            precision="bf16-mixed" if fast else "32-true",
        )
    except (MisconfigurationException, RuntimeError) as error:
        raise UserError(
            f"params.yaml: compute: must fit this machine, got accelerator {params.accelerator} "
            f"with {devices} devices: {error}"
        ) from error
    fabric.launch()
    set_threads(params)  # after the launch, which sets a number of its own
    return fabric


def _is_no_precision(record: logging.LogRecord) -> bool:
    """Let all announcements pass but that of the precision, which params.yaml has said."""
    return "Mixed Precision" not in record.getMessage()


@contextmanager
def together(devices: Devices) -> Iterator[None]:
    """Run the part of a program in which processes meet, and say clearly when one is lost.

    Raises:
        UserError: Another process has ended, or hasn't come to a meeting within `PATIENCE`.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, DistError) or "gloo" in str(error)  # gloo has no class of its own
        if devices.world_size == 1 or not lost:
            raise
        raise UserError(
            f"process {devices.global_rank} of {devices.world_size}: another one was lost; its own "
            "messages say why; the same command goes on after the last saved epoch"
        ) from error
