"""Gratings of four orientations, drawn from a seed; a data set with files would look for them in `data_dir`."""

from functools import cache

import numpy as np
import torch

from sdnet_bench.data import Augmentation, Dataset, TensorSplit

PLACES = {"train": range(600), "validation": range(600, 800), "test": range(800, 1000)}


def gratings(data_dir, progress):
    mean, std = (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)
    return Dataset("gratings", num_classes=4, mean=mean, std=std, family="cifar", open=open_split)


@cache
def open_split(which):
    places = PLACES[which]
    images = torch.from_numpy(np.stack([draw(place) for place in places]))
    return TensorSplit(images, torch.tensor(places) % 4, torch.tensor(places), Augmentation(flip=False))


def draw(place):
    """`(3, 32, 32)` uint8; the place is the seed, and says the class."""
    rng, angle = np.random.default_rng(place), np.pi / 4 * (place % 4)
    y, x = np.mgrid[:32, :32]
    wave = np.sin(rng.uniform(0.4, 1.2) * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 2 * np.pi))
    contrast = rng.uniform(0.1, 0.4, (3, 1, 1))
    noise = rng.normal(0, 0.1, (3, 32, 32))
    return (255 * np.clip(0.5 + contrast * wave + noise, 0, 1)).astype(np.uint8)
