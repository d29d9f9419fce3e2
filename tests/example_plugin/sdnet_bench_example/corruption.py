"""Columns of a sensor that have died: the level is the share of them."""

from sdnet_bench.data import Corruption


def blacken(pixels, level, generator):
    dead = generator.random(pixels.shape[2]) < level
    return pixels * ~dead


SHARES = (0.05, 0.1, 0.2, 0.3, 0.4)
dead_columns = Corruption("dead_columns", blacken, {"cifar": SHARES, "imagenet": SHARES})
