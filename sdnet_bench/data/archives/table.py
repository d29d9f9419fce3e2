"""The archives by name: their tar files, their members and their paths on the disk."""

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
    """A file to be downloaded from the first of `urls` that works.

    Args:
        members: the corruptions (and labels) in it, each with its md5 or None.
        size: exact size in bytes, where it is known; `gigabytes` is the approximate one.
    """

    name: str
    md5: str
    gigabytes: float
    urls: tuple[str, ...]
    members: Mapping[str, str | None]
    size: int | None = None

    @property
    def bytes(self) -> int:
        """Size in bytes: the exact one where it is known, else the approximate one."""
        return self.size or round(self.gigabytes * 1e9)


@dataclass(frozen=True)
class Archive:
    """A set of corrupted images.

    Args:
        name: registered name, also the name of its folder.
        layout: "npy": `<corruption>.npy`, `(5 n, side, side, 3)` uint8, severity 1 first, and `labels.npy`, `(5 n,)`;
            or "folders": `<corruption>/<severity>/<class>/<image>.JPEG`.
        classes: number of classes; labels are 0 .. classes - 1.
        images: number n of images of each severity.
        side: side of the square images.
        files: the tar files of the archive.
        dataset: registered data set whose test images were corrupted; None where there is none.
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
        """All members by name, each with its md5 or None."""
        return {member: md5 for file in self.files for member, md5 in file.members.items()}

    @property
    def common(self) -> list[str]:
        """The members that are needed with every corruption: the labels."""
        return [LABELS] if self.layout == "npy" else []

    def folder(self, data_dir: Path) -> Path:
        return data_dir / self.name

    def path(self, data_dir: Path, member: str) -> Path:
        """The path of a member: a file or a folder."""
        return self.folder(data_dir) / self.file_name(member)

    def file_name(self, member: str) -> str:
        """The file or folder name of a member."""
        return f"{member}.npy" if self.layout == "npy" else member

    def member(self, corruption: str) -> str:
        """The archive's name of a corruption."""
        member = CORRUPTIONS[corruption].archive_name
        if corruption not in CORRUPTIONS.ours or member not in self.members:
            raise UsageError(f"{self.name} has no {corruption}", expected=", ".join(self.members))
        return member

    def wanted(self, corruptions: Sequence[str] | None) -> list[str]:
        """The members that these corruptions need; all members for None."""
        if corruptions is None:
            return list(self.members)
        return [*dict.fromkeys(self.member(corruption) for corruption in corruptions), *self.common]


ARCHIVES: Registry[Archive] = Registry("archive")


def find_archive(name: str) -> Archive:
    """The archive called `name`, or the archive of the data set called `name`."""
    if name in ARCHIVES:
        return ARCHIVES[name]
    for archive in ARCHIVES.values():
        if archive.dataset == name:
            return archive
    raise UnknownNameError("archive", name, ARCHIVES)


def _file(content: dict[str, Any]) -> TarFile:
    members, urls = content.pop("members"), content.pop("urls")
    known = members if isinstance(members, dict) else dict.fromkeys(members)
    return TarFile(members=known, urls=tuple(urls), **content)


for name, content in tomllib.loads(Path(__file__).with_name("archives.toml").read_text(encoding="utf-8")).items():
    ARCHIVES.register(name)(Archive(name, files=tuple(map(_file, content.pop("files"))), **content))
