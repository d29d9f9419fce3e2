"""Verification of the members of an archive: official, generated here, unknown, missing or damaged."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import DataError
from ...progress import Progress
from ..contents import Digests, digests, files_in, remembered
from ..corruptions import SEVERITIES
from .manifest import Manifest
from .reading import array_labels, array_rows, count_images, folder_files
from .table import LABELS, Archive, find_archive

Verdict = Literal["official", "generated", "unknown", "missing", "damaged"]


@dataclass(frozen=True)
class Member:
    """The result of checking one member of an archive.

    Args:
        name: the archive's name of a corruption, or "labels".
        verdict: "official": its md5 is the published one. "generated": the manifest lists it, with its sha256.
            "unknown": whole, but neither. "damaged": truncated, or of another type or shape; `detail` says how.
        shape: shape of the array, or (severities, images) of the folders.
        dtype: dtype of the array, or "JPEG".
        md5, sha256: digests of the file, or of all files in the folder.
    """

    name: str
    verdict: Verdict
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    md5: str | None = None
    sha256: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Verification:
    """The results of checking all members of an archive."""

    archive: str
    folder: Path
    members: tuple[Member, ...]

    @property
    def damaged(self) -> list[Member]:
        return [member for member in self.members if member.verdict == "damaged"]


def verify(name: str, data_dir: Path, progress: Progress | None = None) -> Verification:
    """Reads every member of an archive completely and checks it; a `DataError` where no member is there."""
    archive, progress = find_archive(name), progress or Progress()
    if not any(archive.path(data_dir, member).exists() for member in archive.members):
        hint = f"Get it with `sdnet-bench data fetch {archive.name}`."
        raise DataError(f"{archive.name} is not in {data_dir}", expected=archive.folder(data_dir), hint=hint)
    members = tuple(check_member(archive, member, data_dir, progress, fresh=True) for member in archive.members)
    return Verification(archive.name, archive.folder(data_dir), members)


def source_of(name: str, corruption: str, data_dir: Path, progress: Progress | None = None) -> Member:
    """The checked member that holds a corruption; later calls use the stored digests."""
    archive = find_archive(name)
    return check_member(archive, archive.member(corruption), data_dir, progress or Progress())


def check_member(archive: Archive, member: str, data_dir: Path, progress: Progress, *, fresh: bool = False) -> Member:
    """Checks one member; with `fresh` its digests are computed anew."""
    path = archive.path(data_dir, member)
    if not path.exists():
        lost = member == LABELS and any(archive.path(data_dir, other).exists() for other in archive.members)
        return Member(member, "damaged", detail="labels are missing") if lost else Member(member, "missing")
    try:
        shape, dtype = _form(archive, member, data_dir)
    except DataError as error:
        return Member(member, "damaged", detail=str(error))
    found = (digests if fresh else remembered)(path, files_in(path), progress)
    verdict, detail = _verdict(archive, member, data_dir, found)
    return Member(member, verdict, shape, dtype, found.md5, found.sha256, detail)


def _form(archive: Archive, member: str, data_dir: Path) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of a member; a `DataError` where they are wrong."""
    if archive.layout == "folders":
        found = [folder_files(archive, data_dir, member, severity) for severity in SEVERITIES]
        empty = next((file for _, files in found for file, _ in files if not os.path.getsize(file)), None)
        if empty:
            raise DataError(f"{empty} is empty")
        return (len(SEVERITIES), count_images(archive, data_dir)), "JPEG"
    if member == LABELS:
        labels = array_labels(archive, data_dir)
        return labels.shape, "integers"
    rows = array_rows(archive, data_dir, member)
    return rows.shape, str(rows.dtype)


def _verdict(archive: Archive, member: str, data_dir: Path, found: Digests) -> tuple[Verdict, str | None]:
    if found.md5 == archive.members[member]:
        return "official", None
    manifest = Manifest.read(archive.folder(data_dir))
    made = manifest.members.get(member) if manifest else None
    if made is None:
        return "unknown", None
    if made.sha256 == found.sha256:
        return "generated", None
    return "damaged", f"expected sha256 {made.sha256} as the manifest says, got {found.sha256}"
