"""Devices and precisions by name, and what a record says about them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from faults.process import run

from sdnet_bench.engine.runtime import Runtime, seed_everything
from sdnet_bench.errors import UsageError
from sdnet_bench.version import __version__


def test_auto_finds_a_device_and_a_precision() -> None:
    runtime = Runtime.create("cpu", "auto")
    assert runtime.device.type == "cpu"
    assert runtime.precision in ("float32", "bfloat16")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown device 'tpu'\. Did you mean 'cpu'"):
        Runtime.create("tpu")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown precision 'float8'\. Did you mean 'float32' or 'bfloat16'"):
        Runtime.create("cpu", "float8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"there is no cuda device here\. This machine offers "):
        Runtime.create("cuda")


def test_bytes_become_pixels(runtime: Runtime) -> None:
    pixels = runtime.to_pixels(torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1))
    assert pixels.flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert pixels.dtype == torch.float32


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_precision_is_that_of_matrix_products(precision: str, dtype: torch.dtype) -> None:
    with Runtime.create("cpu", precision).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.fixture
def flags() -> Iterator[Callable[[], tuple[bool, bool]]]:
    """PyTorch's own defaults on CUDA, where convolutions are TF32; reads what they are."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32, convolutions.allow_tf32 = False, True
    yield lambda: (products.allow_tf32, convolutions.allow_tf32)
    products.allow_tf32, convolutions.allow_tf32 = before


def test_float32_is_ieee_in_a_process_that_a_runtime_took_over(flags: Callable[[], tuple[bool, bool]]) -> None:
    runtime = Runtime.create("cpu", "float32")
    assert flags() == (False, True)  # torch's own: a guest changes nothing
    assert runtime.take_over().provenance()["ieee"]
    assert flags() == (False, False)


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("bfloat16", False), ("tf32", True)])
def test_a_precision_holds_for_a_block(flags: Callable[[], tuple[bool, bool]], precision: str, allowed: bool) -> None:
    runtime = Runtime(torch.device("cpu"), precision)
    with suppress(ZeroDivisionError), runtime.computing():
        assert flags() == (allowed, allowed)
        raise ZeroDivisionError
    assert flags() == (False, True)


def test_tf32_is_a_precision_of_cuda_alone() -> None:
    with pytest.raises(UsageError, match=r"cpu has no tf32, expected a CUDA device\. Take --precision float32"):
        Runtime.create("cpu", "tf32")
    with Runtime(torch.device("cuda"), "tf32").autocast():
        assert not torch.is_autocast_enabled("cuda")


def test_a_single_process_sums_to_itself(runtime: Runtime) -> None:
    assert runtime.sum(torch.tensor([1.0, 2.0])).tolist() == [1, 2]


def test_provenance_says_what_ran_where(runtime: Runtime) -> None:
    said = runtime.provenance()
    assert said["version"] == __version__
    assert said["torch"] == torch.__version__
    assert said["device"].startswith("cpu ")
    assert said["precision"] == "float32"
    assert len(said["commit"] or "x" * 40) in (40, 64)


def test_memory_is_measured_in_bytes(runtime: Runtime) -> None:
    runtime.reset_peak_memory()
    held = torch.ones(50_000_000)
    assert runtime.peak_memory() > held.nbytes


NARROW = """
import copy
import torch
from torch import nn
from sdnet_bench.engine.runtime import Runtime

torch.set_num_threads(2)
for width, size in ((4, 64), (8, 64), (4, 32)):
    true = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.Tanh(), nn.Conv2d(width, 2 * width, 1, 2)).double()
    ours = Runtime.create("cpu", "float32").place(copy.deepcopy(true).float())
    images = torch.rand(16, 3, size, size).contiguous(memory_format=torch.channels_last)
    for net, seen in ((true, images.double()), (ours, images)):
        codes = net(seen)
        (codes * torch.linspace(-1, 1, codes.numel()).view(codes.shape)).sum().backward()
    pairs = zip(true.parameters(), ours.parameters(), strict=True)
    print(max(float((mine.grad - own.grad).norm() / own.grad.norm()) for own, mine in pairs))
"""


@pytest.mark.parametrize("isa", ["DEFAULT", "AVX2"])
def test_gradients_of_narrow_strided_convolutions_are_right_on_a_cpu(isa: str) -> None:
    """In a process of its own: with torch 2.14.1 it crashed, hung, or had gradients that were wrong by 60 %."""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": isa}
    done = subprocess.run([sys.executable, "-c", NARROW], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    errors = [float(line) for line in done.stdout.splitlines()]
    assert len(errors) == 3
    assert max(errors) < 1e-3


def count_processes(stray: dict[str, str]) -> None:
    os.environ.update(stray)
    print(Runtime.create("cpu").processes.num_processes)  # noqa: T201


@pytest.mark.parametrize("stray", [{"PMI_SIZE": "2"}, {"LOCAL_RANK": "1"}, {"WORLD_SIZE": "2", "RANK": "0"}])
def test_a_launcher_that_is_not_there_is_not_waited_for(tmp_path: Path, stray: dict[str, str]) -> None:
    done = run(("--version",), tmp_path, (partial(count_processes, stray),))
    assert done.out.startswith("1\n"), done.err


def test_seeding_seeds_fresh_weights() -> None:
    seed_everything(7)
    first = torch.rand(3)
    seed_everything(7)
    assert torch.equal(first, torch.rand(3))
