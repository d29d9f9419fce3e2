"""Downloads that are resumed and retried, also from other mirrors, and checked by md5."""

from __future__ import annotations

import shutil
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError

from ..errors import DataError, reason
from ..progress import Progress
from .contents import digests

CHUNK = 1 << 16
TIMEOUT = 30.0
PAUSES = (1.0, 4.0, 15.0)
"""Seconds before each retry. The count starts again whenever the file has grown."""
LONGEST_WAIT = 60
"""Longest wait in seconds that a server may ask for; beyond it the next mirror is tried."""
OVERLOADED = (416, 429, 500, 502, 503, 504)
"""Status codes after which a request is retried; after 416 the partial file is empty."""


class _MirrorError(Exception):
    """A mirror failed; the message names its URL."""


def download(urls: Sequence[str], target: Path, md5: str, size: int | None, progress: Progress) -> None:
    """Downloads a file to `target` from the first of `urls` that works; resumes an interrupted download.

    The partial file is `<target>.part`. A file that is at `target` already is checked and kept. `size` is in bytes,
    None where it is not known.

    Raises:
        DataError: no mirror works, the md5 differs, or the file cannot be written.
    """
    if target.exists():
        if (found := _md5(target, progress)) != md5:
            hint = "Remove it to download it again."
            raise DataError(f"{target} is damaged", expected=f"md5 {md5}", got=found, hint=hint)
        return
    part = target.with_name(f"{target.name}.part")
    complaints: list[str] = []
    for url in urls:
        if complaints:
            progress.note(f"{complaints[-1]}; trying {url}")
        try:
            _fetch_checked(url, part, md5, size, progress)
        except _MirrorError as complaint:
            complaints.append(str(complaint))
        else:
            with writing(target.parent):
                part.replace(target)
            return
    hint = f"Download it elsewhere and put it at {target}, or name the folder that has it with --data-dir."
    raise DataError(f"cannot download {target.name}: {'; '.join(complaints)}", hint=hint)


def _md5(path: Path, progress: Progress) -> str:
    return digests(path, [str(path)], progress).md5


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns an `OSError` inside a block into a `DataError` of one line."""
    try:
        yield
    except OSError as error:
        hint = "Name another folder with --data-dir."
        raise DataError(f"cannot write to {folder}: {reason(error)}", hint=hint) from None


def require_room(folder: Path, needed: int, what: str) -> None:
    """Raises a `DataError` where `needed` bytes do not fit on the disk of a folder."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        hint = "Make room, or name another folder with --data-dir."
        sizes = {"expected": f"{needed / 1e9:.1f} GB", "got": f"{free / 1e9:.1f} GB"}
        raise DataError(f"too little room in {folder} for {what}", **sizes, hint=hint)


def _fetch_checked(url: str, part: Path, md5: str, size: int | None, progress: Progress) -> None:
    """Fetches a file and checks its md5; where it does not start anew, what was there before may be damaged."""
    was_begun = part.exists()
    _fetch(url, part, size, progress)
    if (found := _md5(part, progress)) == md5:
        return
    with writing(part.parent):
        part.unlink()
    if not was_begun:
        raise _MirrorError(f"{url} is damaged, expected md5 {md5}, got {found}")
    _fetch_checked(url, part, md5, size, progress)


def _fetch(url: str, part: Path, size: int | None, progress: Progress) -> None:
    """Requests the missing part of a file until it is complete."""
    with _appending(part) as file:
        start = longest = file.tell()
        tries = 0
        while file.tell() != size:
            try:
                _request(url, file, size, progress)
                return
            except (OSError, HTTPException) as error:
                if file.tell() > longest:
                    longest, tries = file.tell(), 0
                pause = _pause(error, tries, begun=longest > start)
                if pause is None:
                    raise _MirrorError(f"{url}: {_words(error)}") from None
                progress.note(f"{url}: {_words(error)}; another try in {pause:g} s")
            tries += 1
            time.sleep(pause)


@contextmanager
def _appending(part: Path) -> Iterator[BinaryIO]:
    """A file to write to behind what it has; it is removed where an exception leaves it empty."""
    with writing(part.parent):
        file = part.open("ab")
    try:
        yield file
    except BaseException:
        is_empty = file.tell() == 0
        file.close()  # Windows removes no open file
        if is_empty:
            part.unlink()
        raise
    file.close()


def _clear(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _words(error: Exception) -> str:
    """The message of an error, without the brackets of urllib."""
    return str(error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error)


def _pause(error: Exception, tries: int, *, begun: bool) -> float | None:
    """Seconds until the next retry; None for no retry."""
    if tries >= len(PAUSES):
        return None
    if isinstance(error, HTTPError):
        asked = _retry_after(error.headers)
        return max(asked, PAUSES[tries]) if error.code in OVERLOADED and asked <= LONGEST_WAIT else None
    if isinstance(error, URLError) and not begun:  # the server is unknown, or there is no network
        return None
    return PAUSES[tries]


def _retry_after(headers: Message) -> int:
    """Seconds of the header Retry-After; 0 where it has none, or a date."""
    text = headers.get("Retry-After", "")
    return int(text) if text.isdecimal() else 0


def _request(url: str, file: BinaryIO, size: int | None, progress: Progress) -> None:
    """One request for the file, or for the rest of it where a part is there."""
    start = file.tell()
    resume = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers={"User-Agent": "sdnet-bench", **resume})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            _receive(answer, url, file, size, progress)
    except HTTPError as error:
        error.close()
        if error.code != 416:
            raise
        if error.headers.get("Content-Range") != f"bytes */{start}":  # otherwise the file is complete
            _clear(file)
            raise


def _receive(answer: HTTPResponse, url: str, file: BinaryIO, size: int | None, progress: Progress) -> None:
    """Appends the body of a response; a server without range requests sends the whole file."""
    start = file.tell() if answer.status == 206 else 0
    if start and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        _clear(file)
        raise ConnectionError("another part of the file came than was asked for")
    length = answer.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else None
    if size is not None and total not in (None, size):
        raise _MirrorError(f"{url} is another file, expected {size:,} bytes, got {total:,}")
    if not start:
        _clear(file)
    name = Path(file.name).stem
    with progress.task(f"download {name}", total or size or 0, "bytes") as task:
        task.advance(start)
        while chunk := answer.read1(CHUNK):
            with writing(Path(file.name).parent):
                file.write(chunk)
                file.flush()
            task.advance(len(chunk))
            if size is not None and file.tell() > size:
                _clear(file)
                raise _MirrorError(f"{url} is another file, expected {size:,} bytes, got more")
    wanted = total if size is None else size
    if wanted is not None and file.tell() < wanted:
        raise ConnectionError(f"broke off after {file.tell():,} of {wanted:,} bytes")
