"""What a process has loaded from which commands are forked: the whole package, and what it imports late."""

import importlib
import pkgutil

import torch

import sdnet_bench

for module in pkgutil.walk_packages(sdnet_bench.__path__, "sdnet_bench."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
torch.set_num_threads(1)
