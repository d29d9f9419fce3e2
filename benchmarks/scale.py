"""The tables of docs/scale.md: steps of training on one device, and what ImageNet and ImageNet-C cost.

    python benchmarks/scale.py measure > benchmarks/scale/cores.json    # in one thread of one core, a minute
    python benchmarks/scale.py steps | imagenet | imagenet_c

`scale/device.json` has images/s of CIFAR-10 on a device. Those of ImageNet follow from the multiply-adds of a forward
pass, and from what a core loads.
"""

from __future__ import annotations

import io
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from sdnet_bench.backbones import build
from sdnet_bench.data import CORRUPTIONS
from sdnet_bench.data.corruptions import corrupt
from sdnet_bench.data.folders import FolderSplit
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.paper.render import markdown_table
from sdnet_bench.records import NOISES

NETWORKS = {"resnet18": "ResNet-18", "sdnet18": "SDNet-18"}
FOLDER = Path(__file__).with_suffix("")
SIDE, CORES, EPOCHS = 224, 16, 100
TRAINING = 1_217_000
"""Of the 1.28 million images, less one in twenty for validation."""
ARCHIVE = 15 * 5 * 50_000
NOISY = 4 * 5 * 50_000
LAMBDAS = 15
FORWARD = 3
"""Times faster than a step of training."""


def photographs(folder: Path, count: int) -> None:
    """JPEGs of 500x375 cut from scikit-learn's two photographs, and their centres of 224x224."""
    from sklearn.datasets import load_sample_images

    of, draw = [Image.fromarray(each) for each in load_sample_images().images], np.random.default_rng(0)
    for at in range(count):
        x, y = int(draw.integers(100)), int(draw.integers(40))
        whole = of[at % 2].crop((x, y, x + 540, y + 387)).resize((500, 375), Image.Resampling.BICUBIC)
        whole.save(folder / f"whole-{at}.jpg", quality=int(draw.integers(88, 97)))
        whole.crop((138, 75, 138 + SIDE, 75 + SIDE)).save(folder / f"centre-{at}.jpg", quality=85)


def split_of(folder: Path, kind: str, count: int) -> FolderSplit:
    files = [(str(folder / f"{kind}-{at}.jpg"), 0) for at in range(count)]
    return FolderSplit(files, range(count), SIDE, ["photograph"], cropped=kind == "centre")


def rate(work: Callable[[], object], count: int) -> float:
    """Images/s of CPU time; the median of five rounds."""
    work()
    seconds = []
    for _ in range(5):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return count / statistics.median(seconds)


def multiply_adds(backbone: str, side: int, stem: str) -> int:
    """Of a forward pass of one image."""
    net = build(backbone, num_classes=10, stem=stem).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 3, side, side, device="meta"))
    return int(counter.get_total_flops() // 2)


def measure(count: int = 300) -> str:
    """Images/s of one core, and multiply-adds, as JSON."""
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    with TemporaryDirectory() as name:
        folder = Path(name)
        photographs(folder, count)
        whole, centre = (split_of(folder, kind, count) for kind in ("whole", "centre"))
        size = statistics.mean((folder / f"whole-{at}.jpg").stat().st_size for at in range(count))
        files = [(folder / f"whole-{at}.jpg").read_bytes() for at in range(count)]
        rates = {
            "load and augment": rate(lambda: list(whole.augmented(count, cpu, 0)), count),
            "decode": rate(lambda: [Image.open(io.BytesIO(file)).convert("RGB") for file in files], count),
            "read the archive": rate(lambda: list(centre.batches(count, cpu)), count),
        }
        image = next(centre.batches(count, cpu)).images[0].numpy()
    for noise in NOISES:
        make = partial(corrupt, noise, image, level=CORRUPTIONS[noise].level("imagenet", 3), seed=0)
        rates[noise] = rate(lambda make=make: [make(index=at) for at in range(20)], 20)  # type: ignore[misc]
    sizes = {"cifar10": (32, "cifar"), "imagenet": (SIDE, "imagenet")}
    adds = {data: {name: multiply_adds(name, *at) for name in NETWORKS} for data, at in sizes.items()}
    found = {"bytes": size, "images/s": rates, "multiply-adds": adds}
    return json.dumps(Runtime.create("cpu", "float32").provenance() | found, indent=1)


def read(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def on_imagenet(step: str) -> dict[str, float]:
    """Images/s of a step of training at 224x224 on the device."""
    adds, rates = read("cores")["multiply-adds"], read("device")["images/s"][step]
    return {name: rates[name] * adds["cifar10"][name] / adds["imagenet"][name] for name in NETWORKS}


def steps() -> str:
    found = read("device")["images/s"]
    lines = [[step, *(f"{rates[name]:,}" for name in NETWORKS)] for step, rates in found.items()]
    return markdown_table(["images/s by step", *NETWORKS.values()], lines)


def hours(rate: float) -> str:
    return f"{EPOCHS * TRAINING / rate / 3600:.1f}"


def imagenet() -> str:
    device = on_imagenet("captured, the network under torch.compile")
    loaded = CORES * read("cores")["images/s"]["load and augment"]
    lines = [
        ["training, images/s of one H200", *(f"{round(each, -2):,.0f}" for each in device.values())],
        [f"{EPOCHS} epochs of {TRAINING:,} images, hours", *map(hours, device.values())],
        [f"the same with {CORES} cores that load, hours", *(hours(min(each, loaded)) for each in device.values())],
        ["cores that keep the device busy", *(f"{math.ceil(CORES * each / loaded)}" for each in device.values())],
    ]
    return markdown_table(["", *NETWORKS.values()], lines)


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"


def imagenet_c() -> str:
    core, device = read("cores")["images/s"], FORWARD * on_imagenet("captured")["sdnet18"]
    noisy = NOISY / len(NOISES) * sum(1 / core[noise] for noise in NOISES)
    costs = ", ".join(f"{noise} {1000 / core[noise]:.1f}" for noise in NOISES)
    lines = [
        ["reading the archive, a core", f"{round(core['read the archive'], -1):,.0f} images/s"],
        [f"{CORES} cores, one lambda: reading decides", minutes(ARCHIVE / (CORES * core["read the archive"]))],
        [f"{LAMBDAS} lambdas: read once, the device decides", minutes(LAMBDAS * ARCHIVE / device)],
        [f"making the four noises instead, a core ({costs} ms an image)", minutes(noisy)],
    ]
    return markdown_table(["SDNet-18", ""], lines)


if __name__ == "__main__":
    what: dict[str, Callable[[], str]] = {
        "measure": measure,
        "steps": steps,
        "imagenet": imagenet,
        "imagenet_c": imagenet_c,
    }
    sys.stdout.write(what[sys.argv[1]]() + "\n")
