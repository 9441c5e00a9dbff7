"""How exactly the arithmetic runs: precision, threads, determinism."""

import ctypes
import logging
import os
import platform

import torch
from threadpoolctl import threadpool_limits
from torch import nn

from mammo.errors import UserError
from mammo.network.params import ComputeParams

logger = logging.getLogger(__name__)


def set_arithmetic(params: ComputeParams) -> torch.dtype:
    """Set determinism and precision for this process, and return the dtype of the arithmetic."""
    _keep_freed_memory()
    if params.compile:
        torch.use_deterministic_algorithms(params.deterministic)  # imports the compiler to tell it
    else:
        torch.set_deterministic_debug_mode("error" if params.deterministic else "default")
    # On by default with determinism, to show reads of memory never written: a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if params.deterministic:
        # cuBLAS is deterministic only with a fixed workspace, and reads this at its first call
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = not params.deterministic
    dtype = compute_dtype(params)
    fast = dtype == torch.bfloat16
    torch.set_float32_matmul_precision("high" if fast else "highest")
    torch.backends.cudnn.allow_tf32 = fast  # convolutions; on by default, also for float32
    return dtype


def set_threads(params: ComputeParams) -> None:
    """Give the arithmetic as many threads as `compute.threads` says."""
    torch.set_num_threads(params.threads)
    # NumPy's and SciPy's too, or a solved head's last bits would go by the number of cores.
    threadpool_limits(params.threads, user_api="blas")


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
