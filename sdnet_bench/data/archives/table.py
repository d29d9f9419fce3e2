"""The archives by name: their files, what is in them, and where it lies once it is here."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...errors import UnknownNameError, UsageError
from ...registry import Registry
from ..corruptions import CORRUPTIONS

LABELS = "labels"


@dataclass(frozen=True)
class TarFile:
    """A file to be downloaded.

    Args:
        name: of the file.
        md5: of the whole file.
        gigabytes: its size, more or less.
        urls: mirrors, in the order in which they are asked.
        members: the corruptions (and labels) in it, each with its md5 or None.
        size: in bytes, exactly, where that is known.
    """

    name: str
    md5: str
    gigabytes: float
    urls: tuple[str, ...]
    members: Mapping[str, str | None]
    size: int | None = None

    @property
    def bytes(self) -> int:
        """Its size, more or less."""
        return self.size or round(self.gigabytes * 1e9)


@dataclass(frozen=True)
class Archive:
    """A set of corrupted images.

    Args:
        name: as registered; also of its folder.
        layout: "npy": `<corruption>.npy`, `(5 n, side, side, 3)` uint8, severity 1 first, and `labels.npy`, `(5 n,)`;
            or "folders": `<corruption>/<severity>/<class>/<image>.JPEG`.
        classes: labels are 0 .. classes - 1.
        images: n, how many images each severity has.
        side: of the square images.
        files: the tar files it comes in.
        dataset: the data set whose test images were corrupted, if there is one of that kind here.
    """

    name: str
    layout: Literal["npy", "folders"]
    classes: int
    images: int
    side: int
    files: tuple[TarFile, ...]
    dataset: str | None = None

    @property
    def members(self) -> dict[str, str | None]:
        """Everything in it, each with its md5 or None."""
        return {member: md5 for file in self.files for member, md5 in file.members.items()}

    @property
    def common(self) -> list[str]:
        """The members that all corruptions need."""
        return [LABELS] if self.layout == "npy" else []

    def folder(self, data_dir: Path) -> Path:
        """Where it lies."""
        return data_dir / self.name

    def path(self, data_dir: Path, member: str) -> Path:
        """Where a member lies: a file or a folder."""
        return self.folder(data_dir) / self.file_name(member)

    def file_name(self, member: str) -> str:
        """Of a member: a file or a folder."""
        return f"{member}.npy" if self.layout == "npy" else member

    def member(self, corruption: str) -> str:
        """What a corruption is called here."""
        member = CORRUPTIONS[corruption].archive_name
        if corruption not in CORRUPTIONS.ours or member not in self.members:
            raise UsageError(f"{self.name} has no {corruption}", expected=", ".join(self.members))
        return member

    def wanted(self, corruptions: Sequence[str] | None) -> list[str]:
        """The members that some corruptions need, or all."""
        if corruptions is None:
            return list(self.members)
        return [*dict.fromkeys(self.member(corruption) for corruption in corruptions), *self.common]


ARCHIVES: Registry[Archive] = Registry("archive")


def find_archive(name: str) -> Archive:
    """The archive of that name, or the one of the data set of that name."""
    if name in ARCHIVES:
        return ARCHIVES[name]
    for archive in ARCHIVES.values():
        if archive.dataset == name:
            return archive
    raise UnknownNameError("archive", name, ARCHIVES)


def _archive(name: str, content: dict[str, Any]) -> Archive:
    return Archive(name, files=tuple(map(_file, content.pop("files"))), **content)


def _file(content: dict[str, Any]) -> TarFile:
    members, urls = content.pop("members"), content.pop("urls")
    known = members if isinstance(members, dict) else dict.fromkeys(members)
    return TarFile(members=known, urls=tuple(urls), **content)


for name, content in tomllib.loads(Path(__file__).with_name("archives.toml").read_text(encoding="utf-8")).items():
    ARCHIVES.register(name)(_archive(name, content))
