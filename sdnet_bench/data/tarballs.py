"""Tar archives: what is in them is checked before any of it is unpacked, and is in place at once or not at all."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from ..errors import DataError
from ..progress import Progress
from .download import download, writing

Place = Callable[[PurePosixPath], PurePosixPath | None]
"""From the name of a member to the path it is unpacked to; None leaves it out."""


def fetch_tar(url: str, md5: str, folder: Path, member: str, progress: Progress) -> None:
    """Downloads a tar archive and puts its top folder `member` at `folder / member`.

    Raises:
        DataError: when the download fails, the md5 differs or the archive does not hold `member`. What has been
            downloaded of a file that broke off stays beside it as `.part`; nothing else is left behind.
    """
    with locked(folder, member, progress):
        if (folder / member).exists():  # another process was faster
            return
        archive = folder / url.rsplit("/", 1)[-1]
        download([url], archive, md5, None, progress)
        with scratch_in(folder) as scratch:
            unpack(archive, scratch, lambda name: name, progress)
            if not (scratch / member).is_dir():
                archive.unlink()
                raise DataError("the archive is not what it should be", expected=f"a folder {member}")
            (scratch / member).rename(folder / member)
        archive.unlink()


@contextmanager
def locked(folder: Path, name: str, progress: Progress) -> Iterator[None]:
    """Makes a folder and keeps other processes from whatever is called `name` in it."""
    path = folder / f".{name}.lock"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.note(f"another process works on {folder / name}: waiting for it")
            lock.acquire()
    try:
        yield
    finally:
        with suppress(OSError):  # where a file in use cannot be removed, it stays
            path.unlink()
        lock.release()


@contextmanager
def scratch_in(folder: Path) -> Iterator[Path]:
    """An empty folder that is gone afterwards; one that a killed process left is emptied first."""
    scratch = folder / ".incoming"
    with writing(folder):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def unpack(archive: Path, folder: Path, place: Place, progress: Progress) -> None:
    """Unpacks what `place` gives a path. An archive with anything damaged or unsafe in it is removed.

    Raises:
        DataError: the file is no tar archive, or a truncated one; a member is a link or lies outside; or the
            files cannot be written.
    """
    try:
        with tarfile.open(archive) as tar:
            _extract(tar, _wanted(tar, place), folder, f"unpack {archive.name}", progress)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        archive.unlink()
        raise DataError(f"cannot unpack the archive: {error}".rstrip(".")) from None


def _wanted(tar: tarfile.TarFile, place: Place) -> list[tarfile.TarInfo]:
    """The files to unpack, under the names they get. One bad member condemns the archive."""
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


def _extract(
    tar: tarfile.TarFile, members: list[tarfile.TarInfo], folder: Path, title: str, progress: Progress
) -> None:
    with writing(folder), progress.task(title, sum(member.size for member in members), "bytes") as task:
        for member in members:
            tar.extract(member, folder, filter="data")
            task.advance(member.size)
