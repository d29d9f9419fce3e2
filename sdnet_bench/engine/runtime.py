"""Device, precision, memory layout and processes of a computation."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch import Tensor, nn

from .. import names
from ..errors import UsageError
from ..progress import LAUNCHER, is_launched
from ..version import __version__
from .memory import keep_freed_blocks

_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
PRECISIONS = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}
"""Type of matrix products by name; tf32 is float32 with 10 bits of mantissa in products, on CUDA."""


@dataclass(frozen=True)
class Runtime:
    """Device and precision of this process."""

    device: torch.device
    precision: str = "float32"
    """The type of matrix products, a name of PRECISIONS; weights stay float32."""
    owns_process: bool = False
    """Whether this process is a command's: then it may start others, and hold memory that it has freed."""

    @classmethod
    def create(cls, device: str = "auto", precision: str = "auto") -> Runtime:
        """A runtime from names. "auto" is the available accelerator, and bfloat16 where it is native there."""
        names.one_of(device, "device", names.DEVICES)
        names.one_of(precision, "precision", names.PRECISIONS)
        on_cpu = device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
        with _without_strays():
            state = PartialState(cpu=True) if on_cpu else PartialState()
        place = torch.device("cpu") if on_cpu else state.device
        if device not in ("auto", place.type):
            raise UsageError(f"there is no {device} device here", hint=f"This machine offers {state.device.type}.")
        if precision == "auto":
            precision = "bfloat16" if _has_native_bfloat16(place) else "float32"
        if precision == "tf32" and place.type != "cuda":
            raise UsageError(f"{place.type} has no tf32", expected="a CUDA device", hint="Take --precision float32.")
        return cls(place, precision)

    def take_over(self) -> Runtime:
        """This runtime as the owner of the process: float32 is IEEE arithmetic in it, or TF32, from now on."""
        _allow_tf32(self.precision == "tf32")
        if self.device.type == "cpu":
            keep_freed_blocks()
        return replace(self, owns_process=True)

    def place(self, net: nn.Module) -> nn.Module:
        """Moves a network to the device, in the memory layout that is fastest for convolutions there."""
        net = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.device.type == "cpu":
            _keep_from_overrun(net)
        return net

    def to_pixels(self, images: Tensor) -> Tensor:
        """Converts images `(N, 3, H, W)` uint8 to float32 in [0, 1], in the memory layout of `place`."""
        return images.float().div_(255).contiguous(memory_format=torch.channels_last)

    def autocast(self) -> AbstractContextManager[object]:
        """A context in which matrix products use the precision of the runtime.

        On CUDA no cast weights are kept: in a captured step they would be those of the recording.
        """
        dtype, kept = PRECISIONS[self.precision], self.device.type != "cuda"
        return nullcontext() if dtype == torch.float32 else torch.autocast(self.device.type, dtype, cache_enabled=kept)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """A block in which float32 on CUDA is IEEE arithmetic, or TF32 if that is the precision."""
        before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        _allow_tf32(self.precision == "tf32")
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before

    @cached_property
    def processes(self) -> PartialState:
        """Rank, number and barriers of the processes of a launcher such as `torchrun`; one process by default."""
        return PartialState()

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        return reduce(values.to(self.device), "sum").to(values.device) if self.processes.num_processes > 1 else values

    def reset_peak_memory(self) -> None:
        """Resets `peak_memory`. On a CPU only Linux can; elsewhere the peak is that of the whole process."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif _CLEAR_REFS.exists():
            with suppress(OSError):  # some sandboxes forbid it
                _CLEAR_REFS.write_text("5")

    def peak_memory(self) -> int:
        """Peak memory in bytes: allocated memory on a CUDA device, resident memory of this process elsewhere."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        peak = re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text() if _STATUS.exists() else "")
        return int(peak[1]) * 1024 if peak else _peak_resident()

    def provenance(self) -> dict[str, Any]:
        """The provenance of a record: versions, commit, device and time."""
        return {
            "version": __version__,
            "commit": _commit(),
            "torch": torch.__version__,
            "device": _device_name(self.device),
            "precision": self.precision,
            "ieee": True,  # what "float32" means; convolutions of earlier versions on CUDA were TF32
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }


if sys.platform == "win32":

    def _peak_resident() -> int:
        return int(psutil.Process().memory_info().peak_wset)
else:

    def _peak_resident() -> int:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def seed_everything(seed: int) -> None:
    """Seeds torch's global generators, from which fresh weights are drawn."""
    torch.manual_seed(seed)


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


@contextmanager
def _without_strays() -> Iterator[None]:
    """A block without a launcher's variables where some are missing: accelerate would wait for others."""
    names = () if is_launched() else (*LAUNCHER, "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
    strays = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(strays)


def _keep_from_overrun(net: nn.Module) -> None:
    """Makes strided 1x1 convolutions of fewer than 16 channels train in the memory layout NCHW.

    In channels_last, oneDNN 3.12 (torch 2.14.1) computes the float32 gradient of their weights past the end of its
    workspace: it is wrong, or the process hangs or crashes (https://github.com/uxlfoundation/oneDNN/issues/6035).
    """
    convs = [each for each in net.modules() if isinstance(each, nn.Conv2d)]
    for conv in convs:
        if conv.kernel_size == (1, 1) != conv.stride and conv.in_channels < 16 and conv.groups == 1:
            conv.weight.data = conv.weight.data.clone(memory_format=torch.contiguous_format)
            conv.register_forward_pre_hook(_in_nchw)


def _in_nchw(conv: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
    is_trained = torch.is_grad_enabled() and any(weight.requires_grad for weight in conv.parameters())
    return (inputs[0].contiguous(),) if is_trained else None


def _has_native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)  # bool() is False: an older torch
        return bool(supported())
    return False


@cache
def _commit() -> str | None:
    """The git commit of the source; None where it is not a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type} {platform.processor() or platform.machine()}"
