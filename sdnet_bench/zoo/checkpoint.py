"""Reading and writing of model folders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import tomli_w
import torch
from torch import nn

from ..backbones import build, is_code
from ..config import CONFIG, ORIGIN, RECIPE, RUN_NAME, ModelConfig, Origin, Recipe
from ..csc import csc_layers, get_lambda
from ..errors import ModelError, UsageError, listed, reason
from ..files import replacing, scratch_folder
from .fitting import require_fit, shapes_in, shapes_of
from .mark import mark
from .weights import WEIGHTS, load_weights, read_weights, weight_files, weights_digest, write_shards, write_weights

OTHER_NAME = "Choose another name with --name."


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network with its configuration. The network is loaded on the CPU, in eval mode."""

    name: str
    folder: Path
    config: ModelConfig
    net: nn.Module = field(repr=False)
    weights: str
    """sha256 of the model's weights."""
    trained_lambda: float | None
    """lambda_0; None for a network without CSC-layers."""
    selected: str | None = None
    """How many and a digest of which of its classes `net` has logits for; None for all."""


def read_model(folder: Path, *, run_code: bool = False) -> Model:
    """Builds the network of `config.json` and loads the weights of the folder.

    A `ModelError` where a file is missing or damaged, where weights are not finite, or where the configuration names a
    Python file and `run_code` is False.
    """
    config, files = ModelConfig.read(folder), weight_files(folder)
    if is_code(config.backbone.name) and not run_code:
        options = f"--dataset {config.dataset} --weights {folder / WEIGHTS}"
        hint = f"If both are yours, add it: `sdnet-bench models add FILE.py:FUNCTION {options}`."
        what = f"{folder} wants to run {config.backbone.name}, but was not made here, or the file was changed since"
        raise ModelError(what, expected="a backbone by name", hint=hint)
    if not files:
        hint = f"Train it with `sdnet-bench train {folder.name}`."
        raise ModelError(f"{folder} has no weights", expected=f"{WEIGHTS} in it", hint=hint)
    digest = weights_digest(files)
    if config.weights_sha256 not in (None, digest):
        raise ModelError(f"{files[0]} is damaged or foreign", expected=f"sha256 {config.weights_sha256}", got=digest)
    net, shapes = _described_by(config, folder), shapes_in(files)
    complaint = f"{files[0]} does not hold the weights of this {config.backbone.name}"
    require_fit(shapes, shapes_of(net, shapes), complaint)
    net = build_net(config) if any(tensor.is_meta for tensor in net.state_dict().values()) else net
    load_weights(net, read_weights(files))
    _check_finite(net, files[0])
    trained_lambda = get_lambda(net) if csc_layers(net) else None
    return Model(folder.resolve().name, folder, config, net.eval(), digest, trained_lambda)


def _described_by(config: ModelConfig, folder: Path) -> nn.Module:
    """The `skeleton` of a configuration; a `ModelError` that names its file where it describes none."""
    try:
        return skeleton(config)
    except UsageError as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from None


def _check_finite(net: nn.Module, where: Path) -> None:
    """Raises a `ModelError` for weights that are NaN or infinite."""
    bad = [name for name, tensor in net.state_dict().items() if not tensor.isfinite().all()]
    if bad:
        hint = "Train it anew, at a lower learning rate."
        raise ModelError(f"{where}: weights are not finite: {listed(bad, 3)}", hint=hint)


def run_folder(runs_dir: Path, name: str) -> Path:
    """The folder of a new run; a `UsageError` where it exists already or the name is not valid."""
    folder = runs_dir / check_run_name(name)
    require_new(folder)
    return folder


def require_new(folder: Path) -> None:
    """Raises a `UsageError` where the folder of a new run exists already."""
    if folder.exists():
        raise UsageError(f"{folder} is there already", hint=OTHER_NAME)


def check_run_name(name: str) -> str:
    """The name, if it can be that of a run and its folder; a `UsageError` otherwise."""
    if not re.fullmatch(RUN_NAME, name):
        expected = "at most 200 letters, digits, dots, dashes and underscores"
        raise UsageError("no name for a run", expected=expected, got=name)
    return name


@contextmanager
def making_run(folder: Path) -> Iterator[Path]:
    """Yields a scratch folder, which becomes the run when the block ends without an error and is removed otherwise."""
    with scratch_folder(folder.parent) as scratch:
        yield scratch
        become_run(scratch, folder)


def become_run(scratch: Path, folder: Path) -> None:
    """Moves a finished scratch folder to that of a run; a `UsageError` where another process made it first."""
    try:
        scratch.rename(folder)
    except OSError as error:
        raise UsageError(f"cannot make {folder}: {reason(error)}", hint=OTHER_NAME) from None


def build_net(config: ModelConfig) -> nn.Module:
    """Builds the network of a configuration, with fresh weights."""
    return build(config.backbone.name, num_classes=config.num_classes, **config.backbone.options)


def skeleton(config: ModelConfig) -> nn.Module:
    """Builds the network without memory, on the meta device; some networks of others need their values to be built."""
    if config.backbone.name.startswith("timm:"):
        import_module("torch._dynamo")  # timm 1.0.20 needs it, and torch 2.6 cannot load it in a device context
    if not is_code(config.backbone.name):
        with suppress(UsageError), torch.device("meta"):
            return build_net(config)
    return build_net(config)


def write_model(
    folder: Path, made: Recipe | Origin, config: ModelConfig, net: nn.Module, *, shard: str | None = None
) -> Model:
    """Writes recipe or origin, then weights, then configuration, and a mark where it names a Python file.

    Each file is written atomically.

    With `shard`, such as "16MB", parameters are rounded to bfloat16 and split into files of at most that size. A
    `ModelError` where weights are not finite.
    """
    _check_finite(net, folder)
    write_making(folder, made)
    write_weights(folder, net) if shard is None else write_shards(folder, net, shard)
    config = config.model_copy(update={"weights_sha256": weights_digest(weight_files(folder))})
    with replacing(folder / CONFIG) as path:
        path.write_text(config.to_json(), encoding="utf-8")
    if is_code(config.backbone.name):
        mark(folder)
    return read_model(folder, run_code=True)


def write_making(folder: Path, made: Recipe | Origin) -> None:
    """Writes how a model is made: the first file of its folder, and without the others an unfinished run."""
    with replacing(folder / (RECIPE if isinstance(made, Recipe) else ORIGIN)) as path:
        path.write_text(_described(made), encoding="utf-8")


def _described(made: Recipe | Origin) -> str:
    """A recipe as TOML, an origin as JSON."""
    if isinstance(made, Origin):
        return made.model_dump_json(indent=2) + "\n"
    return tomli_w.dumps(made.model_dump(exclude_none=True, exclude={"name"}))
