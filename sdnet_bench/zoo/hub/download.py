"""Downloads a model from the Hub, checks it and makes a run of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from huggingface_hub import HfApi

from ...config import CONFIG, ORIGIN, Origin
from ...errors import ModelError, listed
from ...files import holding, make_folder
from ...progress import Progress
from ...records import RecordStore, read_results
from ..checkpoint import become_run, require_new
from ..weights import WEIGHTS
from .client import asking, bar
from .layout import HUB, WEIGHT_FILES, is_published, repository
from .validate import check, check_config

PICKLES = ("*.bin", "*.pt", "*.pth", "*.tar", "*.ckpt", "*.pkl")
COMMIT = re.compile("[0-9a-f]{40}")
BROKEN_OFF = ".pulls"
"""Subfolder of the runs' folder that holds unfinished downloads."""


def pull(name: str, folder: Path, progress: Progress, revision: str | None = None) -> Path:
    """Downloads a model from the Hub, checks all files and makes a run of it.

    After an interruption the downloaded files are kept for the next call; a run of the same commit is taken as it is.

    Args:
        name: `hf:owner/name`.
        folder: folder of the new run.
        revision: a branch, a tag or a commit; by default the latest.

    Raises:
        UsageError: `folder` holds something else already.
        ModelError: there is no such repository, it cannot be reached, or it holds no valid model.
    """
    repo = repository(name)
    with holding(make_folder(folder.parent) / f".{folder.name}.pull.lock", progress, f"pulls {folder}"):
        there = Origin.read(folder)
        if there is None or there.source != f"{HUB}{repo}":
            require_new(folder)
        return _pull(repo, folder, progress, revision)


def _pull(repo: str, folder: Path, progress: Progress, revision: str | None) -> Path:
    with asking(repo, progress):
        found = HfApi().model_info(repo, revision=revision, files_metadata=True)
        commit, sizes = str(found.sha), {file.rfilename: int(file.size or 0) for file in found.siblings or ()}
    if not COMMIT.fullmatch(commit):  # it becomes part of a path
        raise ModelError(f"the Hub names no commit of {repo}", expected="40 hexadecimal digits", got=commit)
    origin, pulls = Origin(source=f"{HUB}{repo}", revision=commit), folder.parent / BROKEN_OFF
    if Origin.read(folder) == origin:
        progress.note(f"{repo} at {commit[:12]} is in {folder} already")
        _tidy(pulls)  # a kill may have come between
        return folder
    require_new(folder)
    wanted = _wanted(repo, sizes)
    scratch = make_folder(pulls / f"{folder.name}-{commit[:12]}")
    progress.note(f"{repo} at {commit[:12]}: {len(wanted)} files, {sum(wanted.values()) / 1e6:.1f} MB")
    _fetch(repo, commit, {CONFIG: wanted.pop(CONFIG)}, scratch, progress)
    with _admitting(repo, scratch):
        check_config(scratch)
    _fetch(repo, commit, wanted, scratch, progress)
    with _admitting(repo, scratch):
        check(scratch)
        _make_run(scratch, origin)
    become_run(scratch, folder)
    _tidy(pulls)
    return folder


def _wanted(repo: str, sizes: dict[str, int]) -> dict[str, int]:
    """The files to download with their sizes in bytes; a `ModelError` where they are not a complete model."""
    if CONFIG not in sizes:
        got = listed(sizes, 5) or "nothing"
        raise ModelError(f"{repo} is no model of sdnet-bench", expected=f"{CONFIG} in it", got=got)
    if not any(is_published(name, WEIGHT_FILES) for name in sizes):
        pickles = [name for name in sizes if is_published(name, PICKLES)]
        hint = "Pickles are not read: they can run anything." if pickles else None
        raise ModelError(f"{repo} has no weights", expected=WEIGHTS, got=listed(pickles or sizes, 5), hint=hint)
    return {name: size for name, size in sizes.items() if is_published(name)}


def _fetch(repo: str, commit: str, sizes: dict[str, int], folder: Path, progress: Progress) -> None:
    """Downloads files to a folder; files that are there already are kept."""
    for name, size in sizes.items():
        with progress.task(f"fetch {name}", size, "bytes") as task, asking(repo, progress):
            HfApi().hf_hub_download(repo, name, revision=commit, local_dir=folder, tqdm_class=bar(task))


@contextmanager
def _admitting(repo: str, scratch: Path) -> Iterator[None]:
    """On an error inside the block, removes the downloaded files and raises a `ModelError` of one line."""
    try:
        yield
    except Exception as error:
        shutil.rmtree(scratch)
        _tidy(scratch.parent)
        reason = str(error).replace(str(scratch), repo)
        raise ModelError(reason if repo in reason else f"{repo}: {reason or type(error).__name__}") from error


def _make_run(folder: Path, origin: Origin) -> None:
    """Writes the origin of a model, and its published results as records of the run."""
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    (folder / ORIGIN).write_text(origin.model_dump_json(indent=2) + "\n", encoding="utf-8")
    lines = [f"{record.model_dump_json()}\n" for record in read_results(folder)]
    (folder / RecordStore.FILE).write_text("".join(lines), encoding="utf-8")


def _tidy(pulls: Path) -> None:
    with suppress(OSError):  # another download is there
        pulls.rmdir()
