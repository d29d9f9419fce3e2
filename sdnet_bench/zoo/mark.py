"""The mark of models that this user has made: only these may name a Python file that builds their network.

It is a keyed hash (HMAC) of `config.json` and of the content of that file, and its key lies outside of all model
folders. So a folder that comes from elsewhere cannot bring it, and one that was moved or copied keeps it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from ..backbones import is_code
from ..config import CONFIG, ModelConfig
from ..errors import ModelError
from ..files import holding, reading, replacing
from ..progress import Progress

MARK = "made_here"
"""File of a model folder that holds the mark. It is not published."""
KEY_BYTES = 32


def mark(folder: Path) -> None:
    """Marks a model that was made here; a `RecordError` where the mark or the key cannot be written."""
    with replacing(folder / MARK) as path:
        path.write_text(_mark_of(folder, _code_of(folder)), encoding="utf-8")


def is_marked(folder: Path) -> bool:
    """Whether this user has made the model, and its configuration and Python file have stayed as they were.

    Marks of earlier versions say nothing of the file. A `ModelError` where it is not there.
    """
    if not (folder / MARK).is_file():
        return False
    with reading(folder / MARK, ModelError):
        found, marks = (folder / MARK).read_bytes()[:100], [_mark_of(folder, code) for code in (_code_of(folder), b"")]
        return any(hmac.compare_digest(found, each.encode()) for each in marks)


def _mark_of(folder: Path, code: bytes) -> str:
    digest = hashlib.sha256(code).digest() if code else b""
    return hmac.digest(_key(), (folder / CONFIG).read_bytes() + digest, "sha256").hex()


def _code_of(folder: Path) -> bytes:
    """The Python file that a configuration names; empty where it names none."""
    name = ModelConfig.read(folder).backbone.name
    path = Path(name.rpartition(":")[0])
    if not is_code(name):
        return b""
    if not path.is_file():
        what, hint = f"no file {path} here", "It builds the network: type the command in the folder that it starts at."
        raise ModelError(what, expected=f"the file of {folder}", got=path.resolve(), hint=hint)
    return path.read_bytes()


def _key() -> bytes:
    """The key of this user, in XDG_STATE_HOME or ~/.local/state; made when it is first needed."""
    home = Path(os.environ.get("XDG_STATE_HOME", ""))
    path = (home if home.is_absolute() else Path.home() / ".local" / "state") / "sdnet-bench" / "key"
    with holding(path.with_name(".key.lock"), Progress(), "makes a key"):
        if not path.exists():
            with replacing(path) as scratch:
                scratch.touch(mode=0o600)
                scratch.write_bytes(secrets.token_bytes(KEY_BYTES))
        key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ModelError(f"{path} is no key", hint="Remove it; models that are built by a Python file are added again.")
    return key
