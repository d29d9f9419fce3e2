"""Calls to the Hub; turns the errors, warnings and progress bars of its library into ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars, tqdm

from ...errors import ModelError
from ...progress import Progress, Task

LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN."
COMPLAINTS: Sequence[tuple[type[Exception], str, str]] = (
    (GatedRepoError, "{repo} is gated", f"Ask for access on its page. {LOG_IN}"),
    (RepositoryNotFoundError, "the Hub shows no {repo}", f"Is the name right? If it is private: {LOG_IN}"),
    (RevisionNotFoundError, "{repo} has no such revision", "Name a branch, a tag or a commit with --revision."),
    (HFValidationError, "{repo} is no name of a repository", "It is owner/name."),
    (OfflineModeIsEnabled, "HF_HUB_OFFLINE keeps {repo} away", "Unset it to reach the Hub."),
    (HfHubHTTPError, "the Hub refuses {repo}: {reason}", f"Try again later; if a right is missing: {LOG_IN}"),
    (Exception, "cannot reach {repo} on the Hub: {reason}", "Run it again: files that have come whole are kept."),
)
"""For each error class of the library a message and a hint; the first class that matches is used."""


class _Notes(logging.Handler):
    """A log handler that passes the library's messages to a `Progress`."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.WARNING)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.note(" ".join(record.getMessage().split()))


@contextmanager
def asking(repo: str, progress: Progress) -> Iterator[None]:
    """Inside a block, errors of the library become a `ModelError`, its messages notes; its own bars are off."""
    try:
        with _speaking_through(progress):
            yield
    except Exception as error:
        cause = _cause(error)
        what, hint = next((what, hint) for kind, what, hint in COMPLAINTS if isinstance(cause, kind))
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:200]
        raise ModelError(what.format(repo=repo, reason=reason), hint=hint) from error


def _cause(error: BaseException) -> BaseException:
    """The outermost error of the chain that is in COMPLAINTS; where there is none, the innermost error."""
    known = tuple(kind for kind, *_ in COMPLAINTS[:-1])
    while not isinstance(error, known) and error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def _speaking_through(progress: Progress) -> Iterator[None]:
    library, had_bars = logging.getLogger("huggingface_hub"), not are_progress_bars_disabled()
    handlers, library.handlers = library.handlers, [_Notes(progress)]
    try:
        disable_progress_bars()
        yield
    finally:
        library.handlers = handlers
        if had_bars:
            enable_progress_bars()


def bar(task: Task) -> type[tqdm]:
    """A class in place of the library's progress bar, which advances a task by the received bytes."""

    class Bar(tqdm):
        def update(self, n: float | None = 1) -> None:
            task.advance(int(n or 0))

        def update_transfer(self, n: float | None = 1) -> None:
            """Does nothing: transferred bytes may be compressed."""

        def set_transfer_postfix_str(self, postfix: str, refresh: bool = False) -> None:
            """Does nothing: the speed is not shown."""

    return Bar
