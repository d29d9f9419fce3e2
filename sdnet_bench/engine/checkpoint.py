"""Model folders: read, built, checked and written. Weights are safetensors; there are no pickles to trust."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import tomli_w
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..backbones import build, is_code
from ..config import ModelConfig, Origin, Recipe
from ..csc import csc_layers, get_lambda
from ..errors import InterruptError, ModelError
from ..files import replacing

WEIGHTS = "model.safetensors"


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network with its card. The network is on the CPU and in eval mode until somebody moves it."""

    name: str
    folder: Path
    config: ModelConfig
    net: nn.Module
    weights: str
    """sha256 of the weight file."""
    trained_lambda: float | None
    """lambda_0; None for a network without CSC-layers."""


def read_model(folder: Path, *, run_code: bool = False) -> Model:
    """Builds the network that `config.json` describes and fills it with the weights beside it.

    A configuration that names a Python file is a `ModelError` unless that code may be run.
    """
    config, path = ModelConfig.read(folder), folder / WEIGHTS
    if is_code(config.backbone.name) and not run_code:
        hint = "Train it here, or install the network as a plugin."
        raise ModelError(f"{folder} wants to run {config.backbone.name}", expected="a backbone by name", hint=hint)
    if not path.exists():
        hint = f"Train it with `sdnet-bench train {folder.name}`."
        raise ModelError(f"{folder} has no weights", expected=f"{WEIGHTS} in it", hint=hint)
    try:
        digest = file_digest(path)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error}") from None
    if config.weights_sha256 not in (None, digest):
        raise ModelError(f"{path} is damaged or foreign", expected=f"sha256 {config.weights_sha256}", got=digest)
    net = build_net(config)
    try:
        net.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} does not hold the weights of this {config.backbone.name}: {reason}") from None
    trained_lambda = get_lambda(net) if csc_layers(net) else None
    return Model(folder.resolve().name, folder, config, net.eval(), digest, trained_lambda)


def build_net(config: ModelConfig) -> nn.Module:
    """The network that a configuration describes, with fresh weights."""
    return build(config.backbone.name, num_classes=config.num_classes, **config.backbone.options)


def write_model(folder: Path, made: Recipe | Origin, config: ModelConfig, net: nn.Module) -> Model:
    """Writes how it was made, weights and configuration, each at once or not at all; the weights come last but one."""
    with replacing(folder / ("recipe.toml" if isinstance(made, Recipe) else Origin.FILE)) as path:
        path.write_text(_described(made), encoding="utf-8")
    with replacing(folder / WEIGHTS) as path:
        save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, path)
    config = config.model_copy(update={"weights_sha256": file_digest(folder / WEIGHTS)})
    with replacing(folder / "config.json") as path:
        path.write_text(config.to_json(), encoding="utf-8")
    return read_model(folder, run_code=True)


def _described(made: Recipe | Origin) -> str:
    """A recipe as TOML, an origin as JSON."""
    if isinstance(made, Origin):
        return made.model_dump_json(indent=2) + "\n"
    return tomli_w.dumps(made.model_dump(exclude_none=True, exclude={"name"}))


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_state(path: Path, state: dict[str, object]) -> None:
    """Writes the state of an unfinished training."""
    with replacing(path) as scratch:
        torch.save(state, scratch)


def load_state(path: Path, device: torch.device) -> dict[str, object]:
    """Reads it back: tensors and plain values only."""
    try:
        state: dict[str, object] = torch.load(path, map_location=device, weights_only=True)
    except InterruptError:
        raise
    except Exception as error:  # torch raises half a dozen kinds for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise ModelError(f"{path} is damaged: {reason}", hint="Train anew with --overwrite.") from None
    return state
