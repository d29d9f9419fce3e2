"""Unpacking of tar archives: members are checked first, and moved to their place only when all are unpacked."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ..errors import DataError
from ..files import holding, reading, scratch_folder
from ..progress import Progress
from .download import download, require_room, writing

Place = Callable[[PurePosixPath], PurePosixPath | None]
"""Maps the name of a member to the path that it is unpacked to; None skips it."""


def fetch_tar(url: str, md5: str, folder: Path, member: str, progress: Progress) -> None:
    """Downloads a tar archive and puts its top folder `member` at `folder / member`.

    Raises:
        DataError: the download fails, the md5 differs or the archive does not hold `member`. A partial download is
            kept as `.part`; nothing is unpacked.
    """
    with holding(folder / f".{member}.lock", progress, f"works on {folder / member}"):
        if (folder / member).exists():  # another process has unpacked it
            return
        archive = folder / url.rsplit("/", 1)[-1]
        download([url], archive, md5, None, progress)
        with scratch_folder(folder) as scratch:
            unpack(archive, scratch, lambda name: name, progress)
            if not (scratch / member).is_dir():
                archive.unlink()
                raise DataError("the archive is not what it should be", expected=f"a folder {member}")
            (scratch / member).rename(folder / member)
        archive.unlink()


def unpack(archive: Path, folder: Path, place: Place, progress: Progress) -> None:
    """Unpacks the members that `place` gives a path.

    Raises:
        DataError: the file is no tar archive or truncated, a member is a link or outside the folder, the members do not
            fit on the disk, or the files cannot be written.
    """
    with reading(archive, DataError, f"Remove {archive} to download it again."), tarfile.open(archive) as tar:
        wanted = _wanted(tar, place)
        size = sum(member.size for member in wanted)
        require_room(archive.parent, size, archive.name)
        with writing(folder), progress.task(f"unpack {archive.name}", size, "bytes") as task:
            for member in wanted:
                tar.extract(member, folder, filter="data")
                task.advance(member.size)


def _wanted(tar: tarfile.TarFile, place: Place) -> list[tarfile.TarInfo]:
    """The members to unpack, with their new names; an unsafe member raises a `DataError`."""
    wanted = []
    for member in tar:
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            raise tarfile.ReadError(f"{member.name} lies outside of it")
        if not (member.isfile() or member.isdir()):
            raise tarfile.ReadError(f"{member.name} is neither a file nor a folder")
        target = place(name) if member.isfile() else None
        if target is not None:
            wanted.append(member.replace(name=str(target), deep=False))
    return wanted
