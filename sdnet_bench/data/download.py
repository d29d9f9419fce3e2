"""Downloads that are resumed and retried, also from other mirrors, and checked by md5."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError

from ..errors import DataError, reason
from ..progress import Progress
from .contents import digests

CHUNK = 1 << 16
TIMEOUT = 30.0
PAUSES = (1.0, 4.0, 15.0)
"""Seconds before each retry. The count starts again whenever the file has grown."""
SLOWEST = 1000.0
"""Bytes per second below which a mirror is given up, after PATIENCE seconds."""
PATIENCE = 300.0
LONGEST_WAIT = 60.0
"""Longest wait in seconds that a server may ask for; beyond it the next mirror is tried."""
OVERLOADED = (416, 429, 500, 502, 503, 504)
"""Status codes after which a request is retried; after 416 the partial file has been removed."""


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
        return _check_md5(target, md5, progress)
    complaints: list[str] = []
    with _Part(target) as part:
        for url in urls:
            if complaints:
                progress.note(f"{complaints[-1]}; trying {url}")
            try:
                begun = part.count
                _fetch(url, part, size, progress)
                if begun and part.md5 != md5:  # what was there before may be damaged
                    part.clear()
                    _fetch(url, part, size, progress)
                return part.finish(url, md5)
            except _MirrorError as complaint:
                complaints.append(str(complaint))
    hint = f"Download it elsewhere and put it at {target}, or name the folder that has it with --data-dir."
    raise DataError(f"cannot download {target.name}: {'; '.join(complaints)}", hint=hint)


def _check_md5(path: Path, md5: str, progress: Progress) -> None:
    """Raises a `DataError` where a file has another md5."""
    found, hint = digests(path, [str(path)], progress).md5, "Remove it to download it again."
    if found != md5:
        raise DataError(f"{path} is damaged", expected=f"md5 {md5}", got=found, hint=hint)


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


class _Part:
    """A partial file and the md5 of its content."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(f"{target.name}.part")
        self.name = target.name
        self.count = 0
        self._md5 = hashlib.md5()
        self.restart_clock()

    def restart_clock(self) -> None:
        """Counts time and bytes anew."""
        self._begun, self._came = time.monotonic(), 0

    @property
    def is_slow(self) -> bool:
        """Whether less came since the clock was started than SLOWEST, after PATIENCE."""
        return time.monotonic() - self._begun > PATIENCE + self._came / SLOWEST

    def __enter__(self) -> _Part:
        with writing(self._path.parent):
            self._file = self._path.open("a+b")
            self._file.seek(0)
            while chunk := self._file.read(CHUNK):
                self._take(chunk)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if not self.count:
            self._path.unlink(missing_ok=True)

    def _take(self, chunk: bytes) -> None:
        self._md5.update(chunk)
        self.count += len(chunk)

    def append(self, chunk: bytes) -> None:
        with writing(self._path.parent):
            self._file.write(chunk)
        self._came += len(chunk)
        self._take(chunk)

    def clear(self) -> None:
        """Removes the content."""
        with writing(self._path.parent):
            self._file.truncate(0)
        self.count, self._md5 = 0, hashlib.md5()

    @property
    def md5(self) -> str:
        """The md5 of the content."""
        return self._md5.hexdigest()

    def finish(self, url: str, md5: str) -> None:
        """Moves the partial file to its place; removes it where the md5 differs."""
        if (found := self.md5) != md5:
            self.clear()
            raise _MirrorError(f"{url} is damaged, expected md5 {md5}, got {found}")
        with writing(self._path.parent):
            self._file.close()
            self._path.replace(self._target)


def _fetch(url: str, part: _Part, size: int | None, progress: Progress) -> None:
    """Requests the missing part of a file until it is complete."""
    start = longest = part.count
    tries = 0
    part.restart_clock()
    while part.count != size:
        try:
            _request(url, part, size, progress)
            return
        except (OSError, HTTPException) as error:
            if part.count > longest:
                longest, tries = part.count, 0
            pause = _pause(error, tries, begun=longest > start)
            if pause is None:
                raise _MirrorError(f"{url}: {_words(error)}") from None
            progress.note(f"{url}: {_words(error)}; another try in {pause:g} s")
        tries += 1
        time.sleep(pause)


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


def _retry_after(headers: Message) -> float:
    """Seconds of the header Retry-After, given as a number or a date."""
    text = headers.get("Retry-After", "0")
    if text.isdecimal():
        return float(text)
    try:
        return (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0.0


def _request(url: str, part: _Part, size: int | None, progress: Progress) -> None:
    """One request for the file, or for the rest of it where a part is there."""
    resume = {"Range": f"bytes={part.count}-"} if part.count else {}
    request = urllib.request.Request(url, headers={"User-Agent": "sdnet-bench", **resume})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            _receive(answer, url, part, size, progress)
    except HTTPError as error:
        error.close()
        if error.code != 416:
            raise
        if _range(error.headers)[1] != part.count:  # otherwise the file is complete
            part.clear()
            raise


def _receive(answer: HTTPResponse, url: str, part: _Part, size: int | None, progress: Progress) -> None:
    """Appends the body of a response; a server without range requests sends the whole file."""
    start = part.count if answer.status == 206 else 0
    if start and _range(answer.headers)[0] != start:
        part.clear()
        raise ConnectionError("another part of the file came than was asked for")
    length = answer.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else None
    if size is not None and total not in (None, size):
        raise _MirrorError(f"{url} is another file, expected {size:,} bytes, got {total:,}")
    if start != part.count:
        part.clear()
    with progress.task(f"download {part.name}", total or size or 0, "bytes") as task:
        task.advance(start)
        while chunk := answer.read1(CHUNK):
            part.append(chunk)
            task.advance(len(chunk))
            if size is not None and part.count > size:
                part.clear()
                raise _MirrorError(f"{url} is another file, expected {size:,} bytes, got more")
            if part.is_slow:
                raise _MirrorError(f"{url} is too slow, expected {SLOWEST:,.0f} bytes/s")
    wanted = total if size is None else size
    if wanted is not None and part.count < wanted:
        raise ConnectionError(f"broke off after {part.count:,} of {wanted:,} bytes")


def _range(headers: Message) -> tuple[int | None, int | None]:
    """The first byte and the length of the whole file in `Content-Range: bytes first-last/length`."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", headers.get("Content-Range", "").strip())
    first, length = found.groups() if found else (None, None)
    return (int(first) if first else None), (int(length) if length else None)
