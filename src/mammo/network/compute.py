"""Where and how exactly the arithmetic runs: device, precision, threads, determinism."""

import ctypes
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from threadpoolctl import threadpool_limits
from torch import nn
from torch.distributed import DistError, is_torchelastic_launched

from mammo.errors import UserError
from mammo.network.params import ComputeParams

logger = logging.getLogger(__name__)

# How long a process waits for the others at a point where all must meet. The longest wait in order
# is for the first one's hash of the inputs.
PATIENCE = timedelta(minutes=10)


def start(params: ComputeParams) -> Fabric:
    """Set threads and determinism, and start the arithmetic in this process alone.

    Raises:
        UserError: There is no such accelerator, or `torchrun` has started several processes, each
            of which would do the same work and write the same files.
    """
    if is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1:
        raise UserError("torchrun: only stages/train.py shares its work; start this stage alone")
    return _start(params, devices=1, num_nodes=1)


def start_together(params: ComputeParams) -> Fabric:
    """Set threads and determinism, and start or join the processes that share a training.

    Under `torchrun` its process counts stand in place of `devices` and `num_nodes`. Without it
    this script is started again, with the same arguments, for every further device.

    Raises:
        UserError: There is no such accelerator, or there are too few devices.
    """
    if not is_torchelastic_launched():
        return _start(params, params.devices, params.num_nodes)
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return _start(params, here, int(os.environ["WORLD_SIZE"]) // here)


def _start(params: ComputeParams, devices: int, num_nodes: int) -> Fabric:
    _keep_freed_memory()
    announcements = logging.getLogger("lightning_fabric.utilities.rank_zero")
    announcements.addFilter(_is_no_precision)
    torch.use_deterministic_algorithms(params.deterministic)
    # On by default with determinism, to show reads of memory never written: a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if params.deterministic:
        # cuBLAS is deterministic only with a fixed workspace, and reads this at its first call
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = not params.deterministic
    fast = compute_dtype(params) == torch.bfloat16
    torch.set_float32_matmul_precision("high" if fast else "highest")
    torch.backends.cudnn.allow_tf32 = fast  # convolutions; on by default, also for float32
    several = devices * num_nodes > 1
    try:
        fabric = Fabric(
            accelerator=params.accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=_shared_gradients() if several else "auto",
            precision="bf16-mixed" if fast else "32-true",
        )
    except (MisconfigurationException, RuntimeError) as error:
        raise UserError(
            f"params.yaml: compute: must fit this machine, got accelerator {params.accelerator} "
            f"with {devices} devices: {error}"
        ) from error
    fabric.launch()
    torch.set_num_threads(params.threads)  # after the launch, which sets a number of its own
    # NumPy's and SciPy's too, or a solved head's last bits would go by the number of cores.
    threadpool_limits(params.threads, user_api="blas")
    return fabric


def _is_no_precision(record: logging.LogRecord) -> bool:
    """Let all announcements pass but that of the precision, which params.yaml has said."""
    return "Mixed Precision" not in record.getMessage()


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """Run the part of a program in which processes meet, and say clearly when one is lost.

    Raises:
        UserError: Another process has ended, or hasn't come to a meeting within `PATIENCE`.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, DistError) or "gloo" in str(error)  # gloo has no class of its own
        if fabric.world_size == 1 or not lost:
            raise
        raise UserError(
            f"process {fabric.global_rank} of {fabric.world_size}: another one was lost; its own "
            "messages say why; the same command goes on after the last saved epoch"
        ) from error


def _shared_gradients() -> DDPStrategy:
    """Average gradients and nothing else; BatchNorm's statistics are left to the training."""
    return DDPStrategy(forward_sync_buffers=False, timeout=PATIENCE)


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next activations.

    It returns large blocks to the system at once, and getting them again, page by page, takes a
    third of a prefix's time.

    Source: mallopt(3), M_TRIM_THRESHOLD (-1) and M_MMAP_MAX (-4).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-1, 2**31 - 1)
        libc.mallopt(-4, 0)


def compute_dtype(params: ComputeParams) -> torch.dtype:
    """Choose the dtype of the arithmetic: float32 where the processor has no bfloat16."""
    if params.precision == "float32":
        return torch.float32
    if not has_bfloat16(params.accelerator):
        logger.warning("compute.precision: no bfloat16 on this processor; float32 is used")
        return torch.float32
    return torch.bfloat16


def arithmetic(params: ComputeParams) -> str:
    """Name the arithmetic that figures come from: the processor's path, and the precision.

    Two processors of the same name here round alike; others may not.
    """
    if params.accelerator in ("auto", "cuda") and torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        device = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA")
    limited = f" (oneDNN up to {isa})" if isa else ""
    return f"{device}{limited}, {str(compute_dtype(params)).removeprefix('torch.')}"


def has_bfloat16(accelerator: str) -> bool:
    """Say whether the device multiplies in bfloat16 in hardware, not by emulation."""
    if accelerator in ("auto", "cuda") and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.backends.mkldnn.is_available() and os.uname().machine == "x86_64":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def compile_module(module: nn.Module, params: ComputeParams, device: torch.device) -> None:
    """Compile what a module computes, in place, if `compute.compile` asks for it.

    Each batch size is compiled for itself; nothing falls back to uncompiled code in silence.

    Raises:
        UserError: The compiler that torch needs (C++ for the CPU, Triton for a GPU) doesn't work.
    """
    if not params.compile:
        return
    from torch._dynamo.exc import TorchDynamoException  # an import of seconds

    try:
        torch.compile(nn.Tanh(), fullgraph=True)(torch.ones(8, device=device))
    except TorchDynamoException as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"params.yaml: compute.compile: needs a working compiler for {device.type}, got "
            f"{reason!r}; install one (Debian: apt-get install g++ python3-dev), or set "
            "compute.compile: false"
        ) from None
    module.compile(fullgraph=True, dynamic=False)


def seed_everything(*seed: int) -> None:
    """Seed torch's global generators from several numbers (a seed and an epoch, say)."""
    mixed = 0
    for number in seed:
        mixed = (mixed * 1_000_003 + number) % 2**63
    torch.manual_seed(mixed)
