"""What a machine offers, and whether it computes the known figures: a look at it, and a self-test of seconds."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tempfile import TemporaryFile
from typing import ParamSpec

import numpy as np
import torch
from torch import Tensor

from ..config import MODELS, Verdict
from ..conformance import Finding
from ..csc import CSCConv2d
from ..data import CORRUPTIONS, Batch, corrupt, fixed_classes, open_dataset
from ..data.archives import ARCHIVES, Archive
from ..engine.runtime import PRECISIONS, Runtime
from ..errors import DataError, listed, reason
from ..records import NOISES
from ..registry import OURS
from ..version import __version__
from ..zoo.checkpoint import read_model
from .requests import folder_of
from .rows import Row, Several

Answer = tuple[Verdict, str]
Given = ParamSpec("Given")
PLACES = {
    "digits": "",
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "imagenet": "imagenet/val",
    "imagefolder": "val",
}
"""What lies in the folder of data where a data set is there; of the digits nothing, which are embedded."""
LEAST_SPACE = 2**30
"""Free bytes below which a disk is a warning."""
CLOSE = {"float32": 1e-5, "tf32": 5e-3, "bfloat16": 5e-2}
"""Largest distance of codes from those in float64, relative to the largest of them, by precision."""
CODED = "524288 codes, 442352 zeros, sum 1323113344"
CORRUPTED = "sha256 b8d668295a030eec"
PREDICTED = "digits as classes of CIFAR-10: [0, 0, 57, 110, 0, 33, 0, 0, 0, 0]"
"""The known figures of the self-test, the same on every processor."""


class Diagnosis(Several[Finding]):
    """The findings of `doctor`."""

    @property
    def failed(self) -> list[Finding]:
        """The findings that failed; none on a machine that is well."""
        return [finding for finding in self if finding.verdict == "fail"]

    def rows(self) -> list[Row]:
        return [finding.model_dump() for finding in self]

    data = rows


def doctor(*, data_dir: Path | str | None = None, runs_dir: Path | str | None = None) -> Diagnosis:
    """Versions, devices and precisions, data sets found and verified, disks, and a self-test against known figures.

    Nothing is downloaded or written. `print` shows the findings; `.failed` are those that failed. The folders are
    those of `Bench`.
    """
    return Diagnosis(tuple(examine(folder_of(data_dir, "data"), folder_of(runs_dir, "runs"))))


def examine(data_dir: Path, runs_dir: Path) -> Iterator[Finding]:
    """The findings of `doctor`, each as soon as it is made."""
    yield _look("version", "Python", lambda: ("pass", f"{platform.python_version()} on {platform.platform()}"))
    yield _look("version", OURS, _own_version)
    for extra, names in _requirements().items():
        yield _look("version", f"extra {extra}" if extra else "packages", _installed, extra, names)
    for device in _devices():
        for precision in PRECISIONS:
            yield _look("device", f"{device} {precision}", _computes, Runtime(torch.device(device), precision))
    for name, place in PLACES.items():
        yield _look("data", name, _read, name, data_dir, place)
    for archive in ARCHIVES.values():
        yield _look("data", archive.name, _archived, archive, data_dir)
    yield _look("disk", "data", _disk, data_dir, "warn")
    yield _look("disk", "runs", _disk, runs_dir, "fail")
    yield _look("self-test", "CSC-layer", _same, _coded, CODED)
    yield _look("self-test", "corruptions", _same, _corrupted, CORRUPTED)
    yield _look("self-test", "model", _same, _predicted, PREDICTED)


def _look(kind: str, check: str, find: Callable[Given, Answer], *given: Given.args, **named: Given.kwargs) -> Finding:
    """The finding of one look, which changes no random numbers that follow; an error is a failure."""
    try:
        with torch.random.fork_rng([]):
            verdict, says = find(*given, **named)
    except Exception as error:
        verdict, says = "fail", " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return Finding(kind=kind, check=check, verdict=verdict, says=says)


def _own_version() -> Answer:
    commit = Runtime(torch.device("cpu")).provenance()["commit"]
    return "pass", f"{__version__}, commit {commit}" if commit else __version__


def _requirements() -> dict[str, list[str]]:
    """The packages that are needed, and those of each extra; none where ours runs from a folder, not installed."""
    found: dict[str, list[str]] = {}
    with suppress(PackageNotFoundError):
        for line in requires(OURS) or []:
            name, extra = re.split(r"[^\w.-]", line)[0], re.search(r"extra == ['\"]([\w-]+)", line)
            found.setdefault(extra[1] if extra else "", []).append(name)
    return {extra: names for extra, names in found.items() if extra != "dev"}


def _installed(extra: str, names: list[str]) -> Answer:
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if not missing:
        return "pass", ", ".join(found)
    hint = f'`pip install "{OURS}[{extra}]"`' if extra else "`pip install` them"
    return ("not applicable" if extra else "fail"), f"not installed: {', '.join(missing)}; {hint}"


def _devices() -> Iterator[str]:
    yield "cpu"
    if torch.cuda.is_available():
        yield "cuda"
    if torch.backends.mps.is_available():
        yield "mps"


def _computes(runtime: Runtime) -> Answer:
    """Whether the codes of a CSC-layer on this device and precision are close to those in float64."""
    if runtime.precision == "tf32" and runtime.device.type != "cuda":
        return "not applicable", "needs CUDA"
    with runtime.computing(), runtime.autocast():
        found = _codes(torch.float32, runtime.device).double()
    exact = _codes(torch.float64)
    distance = float((found - exact).abs().max() / exact.abs().max())
    says = f"{runtime.provenance()['device']}: codes within {distance:.0e} of float64"
    return ("pass" if distance <= CLOSE[runtime.precision] else "fail"), says


def _read(name: str, data_dir: Path, place: str) -> Answer:
    """Opens a data set and reads its test split, which verifies the checksums of its files where there are any."""
    if place and not (data_dir / place).is_dir():
        return "not applicable", f"not in {data_dir}"
    dataset = open_dataset(name, data_dir)
    count = len(dataset.open("test"))
    if odd := set(dataset.classes) - set(fixed_classes(name) or dataset.classes):
        raise DataError(f"no classes of {name}", got=listed(odd, 3))
    return "pass", f"{count:,} test images of {dataset.num_classes} classes"


def _archived(archive: Archive, data_dir: Path) -> Answer:
    here = sum(archive.path(data_dir, member).exists() for member in archive.members)
    if not here:
        return "not applicable", f"not in {data_dir}"
    return "pass", f"{here} of {len(archive.members)} files; `sdnet-bench data verify {archive.name}` reads them"


def _disk(folder: Path, if_locked: Verdict) -> Answer:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    try:
        TemporaryFile(dir=there).close()
    except OSError as error:
        return if_locked, f"{there} is not writable: {reason(error)}"
    return ("warn" if free < LEAST_SPACE else "pass"), f"{folder}: {free / 1e9:,.1f} GB free"


def _digits(count: int) -> Batch:
    """The first of the embedded test images, on the CPU."""
    return next(open_dataset("digits", Path()).open("test").batches(count, torch.device("cpu")))


@torch.no_grad()
def _codes(dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Codes of digits by a CSC-layer of multiples of 1/16, on the CPU: so coarse that float32 rounds nothing."""
    layer = CSCConv2d(3, 8, lambda_=0.25)
    layer.dictionary.copy_((torch.arange(8 * 3 * 9) * 7 % 9 - 4).view(8, 3, 3, 3) / 8)
    layer.step_size.fill_(1 / 8)
    images = (_digits(64).images // 16).to(dtype) / 16
    code: Tensor = layer.to(device, dtype)(images.to(device))
    return code.cpu()


def _coded() -> str:
    """How many codes there are, how many are zero, and their sum in units of 2**-19."""
    codes = _codes(torch.float32)
    return f"{codes.numel()} codes, {int((codes == 0).sum())} zeros, sum {int(codes.double().sum() * 2**19)}"


def _corrupted() -> str:
    """Digest of the bytes of an image under the four noises."""
    image, content = _digits(1).images[0].numpy(), hashlib.sha256()
    for name in NOISES:
        level = CORRUPTIONS[name].level("imagenet", 3)
        content.update(np.ascontiguousarray(corrupt(name, image, level=level, seed=0, index=0)).tobytes())
    return f"sha256 {content.hexdigest()[:16]}"


@torch.no_grad()
def _predicted() -> str:
    """How many digits a shipped network takes for each class of CIFAR-10."""
    net, runtime = read_model(MODELS / "sdnet18-cifar10-small").net.eval(), Runtime(torch.device("cpu"))
    logits = runtime.place(net)(runtime.to_pixels(_digits(200).images))
    return f"digits as classes of CIFAR-10: {torch.bincount(logits.argmax(1), minlength=10).tolist()}"


def _same(compute: Callable[[], str], known: str) -> Answer:
    found = compute()
    return ("pass", found) if found == known else ("fail", f"expected {known}, got {found}")
