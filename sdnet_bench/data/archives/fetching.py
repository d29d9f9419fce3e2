"""Downloads archives. Only the requested members are unpacked, and no valid file is overwritten."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from ...errors import DataError
from ...files import holding, scratch_folder
from ...progress import Progress
from ..download import download, require_room, writing
from ..tarballs import unpack
from .checking import Member, check_member
from .manifest import Manifest
from .table import Archive, TarFile, find_archive


def fetch(
    name: str,
    data_dir: Path,
    corruptions: Sequence[str] | None = None,
    *,
    offline: bool = False,
    keep: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Downloads and unpacks the members of an archive that are missing; returns the paths of all requested ones.

    Args:
        corruptions: registered names; by default all that the archive holds.
        offline: use only tar files that are in the archive's folder already.
        keep: keep the downloaded tar files. Those that were there before are always kept.

    Raises:
        UsageError: there is no such archive or corruption.
        DataError: the download fails, its md5 differs, it does not fit on the disk, or it would be mixed with images
            of another origin. Partial downloads are kept for the next call.
    """
    archive, progress = find_archive(name), progress or Progress()
    wanted = archive.wanted(corruptions)
    _refuse_generated(archive, data_dir)
    with holding(data_dir / f".{archive.name}.lock", progress, f"works on {archive.folder(data_dir)}"):
        missing = [member for member in wanted if not _is_here(archive, member, data_dir, progress)]
        plan = [(file, [member for member in missing if member in file.members]) for file in archive.files]
        plan = [(file, members) for file, members in plan if members]
        if offline:
            _require_files(archive, data_dir, plan)
        for file, members in plan:
            _fetch_file(archive, file, members, data_dir, keep, progress)
    return [archive.path(data_dir, member) for member in wanted]


Plan = list[tuple[TarFile, list[str]]]


def _refuse_generated(archive: Archive, data_dir: Path) -> None:
    if Manifest.read(archive.folder(data_dir)):
        what = f"{archive.folder(data_dir)} holds generated images, never to be mixed with official"
        raise DataError(what, hint="Name another folder with --data-dir, or remove it.")


def _is_here(archive: Archive, member: str, data_dir: Path, progress: Progress) -> bool:
    """Whether a member is there and valid; a well-formed one that is not the published one raises a `DataError`."""
    found = check_member(archive, member, data_dir, progress)
    official = archive.members[member]
    if found.verdict == "unknown" and official:
        path = archive.path(data_dir, member)
        raise DataError(f"{path} is not official", expected=f"md5 {official}", got=found.md5, hint="Move it away.")
    return found.verdict in ("official", "unknown")


def _require_files(archive: Archive, data_dir: Path, plan: Plan) -> None:
    lost = [(file, members) for file, members in plan if not (archive.folder(data_dir) / file.name).exists()]
    if lost:
        names = ", ".join(member for _, members in lost for member in members)
        what = f"{archive.name} is incomplete in {archive.folder(data_dir)} and nothing is downloaded: missing {names}"
        urls = " and ".join(file.urls[0] for file, _ in lost)
        raise DataError(what, hint=f"Leave out --offline, or put {urls} there and run it again.")


def _fetch_file(
    archive: Archive, file: TarFile, members: list[str], data_dir: Path, keep: bool, progress: Progress
) -> None:
    folder = archive.folder(data_dir)
    tar = folder / file.name
    was_here = tar.exists()
    _require_space(tar, file, len(members))
    with writing(folder):
        folder.mkdir(exist_ok=True)
    try:
        download(file.urls, tar, file.md5, file.size, progress)
        _unpack_members(archive, tar, members, data_dir, progress)
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()
    if not (keep or was_here):
        tar.unlink()


def _require_space(tar: Path, file: TarFile, members: int) -> None:
    """Raises a `DataError` where the rest of the tar file and its unpacked members do not fit on the disk."""
    part = tar.with_name(f"{tar.name}.part")
    here = next((path.stat().st_size for path in (tar, part) if path.exists()), 0)
    needed = max(0, file.bytes - here) + file.bytes * members // len(file.members)
    require_room(tar.parents[1], needed, file.name)


def _unpack_members(archive: Archive, tar: Path, members: list[str], data_dir: Path, progress: Progress) -> None:
    """Unpacks members to a scratch folder, checks them, and moves them to their place."""
    with scratch_folder(archive.folder(data_dir)) as scratch:
        place = partial(_below, {archive.file_name(member) for member in members})
        unpack(tar, scratch / archive.name, place, progress)
        for member in members:
            _require_published(archive, check_member(archive, member, scratch, progress, fresh=True), tar)
        with writing(archive.folder(data_dir)):
            for member in members:
                target = archive.path(data_dir, member)
                if target.is_dir():  # a damaged one
                    shutil.rmtree(target)
                archive.path(scratch, member).replace(target)


def _require_published(archive: Archive, found: Member, tar: Path) -> None:
    if found.verdict in ("missing", "damaged"):
        raise DataError(f"{tar.name} does not hold a good {found.name}: {found.detail or 'it is missing'}")
    official = archive.members[found.name]
    if official and found.verdict != "official":
        raise DataError(f"{found.name} in {tar.name} is not official", expected=f"md5 {official}", got=found.md5)


def _below(wanted: set[str], name: PurePosixPath) -> PurePosixPath | None:
    """The part of a path from the first of the `wanted` names on; None where it has none of them."""
    found = next((depth for depth, part in enumerate(name.parts) if part in wanted), None)
    return None if found is None else PurePosixPath(*name.parts[found:])
