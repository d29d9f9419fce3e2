"""The weights of a model folder: one safetensors file, or shards with an index. No pickles are read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..files import reading, replacing, text_of

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


def weight_files(folder: Path) -> list[Path]:
    """The weight files in order, if any; a `ModelError` where the index of shards is damaged or names other files."""
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if not index.exists():
        return []
    with reading(index, ModelError):
        names = sorted(set(json.loads(text_of(index))["weight_map"].values()))
    foreign = [name for name in names if not (isinstance(name, str) and SHARD.fullmatch(name))]
    if foreign:
        raise ModelError(f"{index} names other files", expected="model-00001-of-00002.safetensors", got=foreign[0])
    return [folder / name for name in names]


def weights_digest(files: Sequence[Path]) -> str:
    """The sha256 of the weight file; for several files, of the output of `sha256sum` for them.

    A `ModelError` where a file is missing or cannot be read.
    """
    try:
        digests = [file_digest(path) for path in files]
    except OSError as error:
        raise ModelError(f"cannot read the weights: {error}") from None
    if len(digests) == 1:
        return digests[0]
    lines = [f"{digest}  {path.name}\n" for digest, path in zip(digests, files, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(files: Sequence[Path]) -> dict[str, Tensor]:
    """The tensors of all files by name; a `ModelError` where a file is not a valid safetensors file."""
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for path in files:
        with reading(f"the weights {path}", ModelError, hint="Expected a whole safetensors file."):
            tensors |= load_file(path)
    return tensors


def load_weights(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Loads tensors by name; a shared one may have only its first name. A RuntimeError where they do not fit."""
    shared = {name: tensors[first] for name, first in _first_names(net).items() if first in tensors}
    net.load_state_dict(shared | tensors)


def write_weights(folder: Path, net: nn.Module) -> None:
    """Writes the weights of a network atomically to one file, a shared one once, and removes other weight files."""
    from safetensors.torch import save

    with replacing(folder / WEIGHTS) as path:
        path.write_bytes(save(_contiguous(_state(net))))
    _keep_only(folder, [WEIGHTS])


def write_shards(folder: Path, net: nn.Module, size: str) -> None:
    """Writes parameters in bfloat16 and buffers as they are, in files of at most `size`, such as "16MB".

    Other weight files of the folder are removed.
    """
    import torch
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import save

    parameters = dict(net.named_parameters())
    state = {name: tensor.to(torch.bfloat16) if name in parameters else tensor for name, tensor in _state(net).items()}
    split = split_torch_state_dict_into_shards(state, max_shard_size=size)
    for file, names in split.filename_to_tensors.items():
        with replacing(folder / file) as path:
            path.write_bytes(save(_contiguous({name: state[name] for name in names})))
    if split.is_sharded:
        with replacing(folder / INDEX) as path:
            index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
            path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    _keep_only(folder, [*split.filename_to_tensors, INDEX] if split.is_sharded else [WEIGHTS])


def _keep_only(folder: Path, names: Collection[str]) -> None:
    """Removes all weight files except those of these names."""
    for path in folder.iterdir():
        if path.name not in names and (path.name in (WEIGHTS, INDEX) or SHARD.fullmatch(path.name)):
            path.unlink()


def _first_names(net: nn.Module) -> dict[str, str]:
    """The first name of each tensor that a network has under several names, by the others."""
    firsts: dict[int, str] = {}
    names = {name: firsts.setdefault(id(tensor), name) for name, tensor in net.state_dict(keep_vars=True).items()}
    return {name: first for name, first in names.items() if name != first}


def _state(net: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network by name, each once."""
    others = _first_names(net)
    return {name: tensor for name, tensor in net.state_dict().items() if name not in others}


def _contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies, which share no memory."""
    from torch import contiguous_format

    return {name: tensor.clone(memory_format=contiguous_format) for name, tensor in state.items()}
