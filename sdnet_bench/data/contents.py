"""Files of data sets: which of them count, and digests of their content, which are computed once and remembered."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from ..errors import BenchError, DataError
from ..files import reading, replacing
from ..progress import Progress

LEFT_BEHIND = {"thumbs.db", "desktop.ini", "__macosx"}
"""Names, in lower case, that file managers leave in folders."""
CHUNK = 1 << 20
LARGE = 1e9
"""Bytes from which on a note says that files are read to identify them."""
SETTLED = 2e9
"""Age in ns from which on a file that is changed again has another time; the coarsest clock of a file system."""
MOST_REMEMBERED = 5000


@dataclass(frozen=True)
class Digests:
    """md5 and sha256 of a file, or of the names, sizes and contents of several."""

    md5: str
    sha256: str


KNOWN = TypeAdapter(dict[str, Digests])


def visible(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; not what is hidden, and not what file managers leave."""
    with reading(folder, DataError), os.scandir(folder) as entries:
        found = [each for each in entries if not each.name.startswith(".") and each.name.lower() not in LEFT_BEHIND]
    return sorted(found, key=lambda each: each.name)


def files_in(path: Path, endings: tuple[str, ...] = ("",)) -> list[str]:
    """A file itself, or all visible files below a folder by folder and name; `endings` are in lower case.

    A `DataError` for anything else of such a name, such as a link to nowhere.
    """
    if path.is_file():
        return [str(path)]
    found, folders = [], [path]
    while folders:
        for each in visible(folders.pop()):
            with reading(each.path, DataError):
                if each.is_dir():
                    folders.append(Path(each.path))
                elif each.name.lower().endswith(endings):
                    found.append(_regular(each))
    return sorted(found, key=os.path.split)


def _regular(entry: os.DirEntry[str]) -> str:
    if not entry.is_file():
        raise DataError(f"cannot read {entry.path}: it is no file, or a link to nowhere", hint="Remove it.")
    return entry.path


def digests(root: Path, files: Sequence[str], progress: Progress) -> Digests:
    """Computes the digests of files; their names count from the folder `root` on, that of a single file not at all."""
    md5, sha256 = hashlib.md5(), hashlib.sha256()
    size = sum(_state(file)[0] for file in files)
    if size > LARGE:
        progress.note(f"reading {len(files):,} files of {root} ({size / 1e9:.1f} GB) to know their content")
    with progress.task(f"read {root.name}", size, "bytes") as task:
        for file in files:
            for chunk in _chunks(file, root):
                md5.update(chunk)
                sha256.update(chunk)
                task.advance(len(chunk))
    return Digests(md5.hexdigest(), sha256.hexdigest())


def remembered(root: Path, files: Sequence[str], progress: Progress) -> Digests:
    """The digests of files, computed anew where the path, the size or a time of any of them has changed.

    They are kept in `digests.json` in the user's cache folder, if it can be written, unless a file has only just been
    written.
    """
    states = [_state(file) for file in files]
    lines = [f"{os.path.abspath(file)}\n{state}" for file, state in zip(files, states, strict=True)]
    key = hashlib.sha256("\n".join([os.path.abspath(root), *lines]).encode("utf-8", "surrogateescape")).hexdigest()
    is_settled = time.time_ns() - max((max(times) for _, *times in states), default=0) > SETTLED
    known = _known() if is_settled else {}
    if key not in known:
        known[key] = digests(root, files, progress)
        if is_settled:
            _remember(known)
    return known[key]


def _state(file: str) -> tuple[int, int, int]:
    """Size in bytes, and the times of the last change of the content and of the file, in ns."""
    with reading(file, DataError):
        found = os.stat(file)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sdnet-bench" / "digests.json"


def _known() -> dict[str, Digests]:
    """The digests that are remembered; none where they cannot be read."""
    with suppress(BenchError), reading(_cache(), DataError):
        return KNOWN.validate_json(_cache().read_bytes())
    return {}


def _remember(known: dict[str, Digests]) -> None:
    with suppress(BenchError), replacing(_cache()) as path:
        path.write_bytes(KNOWN.dump_json(dict([*known.items()][-MOST_REMEMBERED:])))


def _chunks(file: str, root: Path) -> Iterator[bytes]:
    """The content of a file in chunks; for a file of a folder after a line with name and size."""
    if Path(file) != root:
        yield f"{Path(file).relative_to(root).as_posix()} {_state(file)[0]}\n".encode("utf-8", "surrogateescape")
    with reading(file, DataError), open(file, "rb") as source:
        while chunk := source.read(CHUNK):
            yield chunk
