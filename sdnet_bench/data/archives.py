"""Files from elsewhere: downloaded with progress, checked, unpacked, and in place at once or not at all."""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from ..errors import DataError
from ..progress import Progress, Task

CHUNK = 1 << 20
TIMEOUT = 30.0


def fetch_tar(url: str, md5: str, folder: Path, member: str, progress: Progress) -> None:
    """Downloads a tar archive and puts its top folder `member` at `folder / member`.

    Raises:
        DataError: when the download fails, the md5 differs or the archive does not hold `member`; nothing is
            left behind then.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".incoming-") as scratch:
            archive = Path(scratch) / "archive"
            _download(url, md5, archive, progress)
            _unpack(archive, Path(scratch), member)
            if not (folder / member).exists():  # another process may have been faster
                (Path(scratch) / member).rename(folder / member)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error}", hint="Name another folder with --data-dir.") from None


def _download(url: str, md5: str, target: Path, progress: Progress) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "sdnet-bench"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as source:
            size = int(source.headers.get("Content-Length") or 0)
            with progress.task(f"download {url.rsplit('/', 1)[-1]}", size, "bytes") as task:
                found = _copy(source, target, task)
    except (OSError, HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        hint = "Download it elsewhere, unpack it, and name the folder with --data-dir."
        raise DataError(f"cannot download {url}: {error}", hint=hint) from None
    if found != md5:
        raise DataError(f"{url} is damaged", expected=f"md5 {md5}", got=found)


def _copy(source: BinaryIO, target: Path, task: Task) -> str:
    """Copies to a file and returns the md5 of what went by."""
    content = hashlib.md5()
    with target.open("wb") as file:
        while chunk := source.read(CHUNK):
            file.write(chunk)
            content.update(chunk)
            task.advance(len(chunk))
    return content.hexdigest()


def _unpack(archive: Path, folder: Path, member: str) -> None:
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise DataError(f"cannot unpack the archive: {error}") from None
    if not (folder / member).is_dir():
        raise DataError("the archive is not what it should be", expected=f"a folder {member}")
