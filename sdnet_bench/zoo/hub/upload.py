"""Uploads a model folder to the Hub: checks it, plans the upload and sends it as one commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

from ...config import CARD, RECIPE, RESULTS, Origin
from ...errors import ModelError, UsageError
from ...progress import Progress
from ...version import __version__
from ..weights import weight_files
from .client import LOG_IN, asking
from .layout import is_published, repository
from .validate import check


@dataclass(frozen=True)
class Upload:
    """A planned upload: the files and the repository."""

    repo: str
    folder: Path
    files: tuple[Path, ...]
    private: bool

    @property
    def size(self) -> int:
        """Total size of the files in bytes."""
        return sum(path.stat().st_size for path in self.files)

    def __str__(self) -> str:
        kind = "private" if self.private else "public"
        return f"{self.repo} ({kind}): {len(self.files)} files, {self.size / 1e6:.1f} MB"


def plan_push(folder: Path, name: str, *, private: bool = False) -> Upload:
    """Checks a model folder and plans its upload to `owner/name`, with or without `hf:`; no request to the Hub.

    Raises the errors of `published_files`.
    """
    return Upload(repository(name), folder, published_files(folder), private)


def published_files(folder: Path) -> tuple[Path, ...]:
    """Checks the files of a model folder and returns those that are published.

    Raises:
        UsageError: the model was not trained here.
        BenchError: a file is missing or damaged, or the network is a Python file.
    """
    origin = Origin.read(folder)
    if origin:
        raise UsageError(f"{folder} holds weights of {origin.source}", hint="Publish what was trained here.")
    if not weight_files(folder):
        hint = f"Train it with `sdnet-bench train {folder.name}`."
        raise ModelError(f"{folder} has no weights to publish", hint=hint)
    check(folder)
    files = tuple(sorted(path for path in folder.iterdir() if is_published(path.name)))
    odd = [path.name for path in files if path.is_symlink() or not path.is_file()]
    if odd:
        raise ModelError(f"{folder / odd[0]} is no plain file", hint="Put the file itself there, or take it away.")
    missing = {CARD, RECIPE, RESULTS} - {path.name for path in files}
    if missing:
        hint = f"Write them with `sdnet-bench evaluate {folder.name}`."
        raise ModelError(f"{folder} is not complete", expected=" and ".join(sorted(missing)), hint=hint)
    return files


def push(upload: Upload, progress: Progress) -> str:
    """Publishes a model as one commit, in the place of an earlier one; returns the URL of the commit.

    Files of the repository that no model has stay there.

    Raises:
        UsageError: `private` is set and the repository is public.
        ModelError: there is no token, the Hub refuses it, or the connection fails.
    """
    if get_token() is None:
        raise ModelError(f"nobody is logged in who could write to {upload.repo}", hint=LOG_IN)
    api, repo = HfApi(), upload.repo
    with asking(repo, progress):
        api.create_repo(repo, private=upload.private, exist_ok=True)
        there = api.model_info(repo)
    if upload.private and not there.private:
        raise UsageError(f"{repo} is there already, and public", hint="Name another repository.")
    progress.note(f"push to {upload}")
    names = {path.name for path in upload.files}
    earlier = {file.rfilename for file in there.siblings or () if is_published(file.rfilename)}
    changes: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationAdd(path.name, path) for path in upload.files),
        *(CommitOperationDelete(name) for name in sorted(earlier - names)),
    ]
    message = f"{upload.folder.resolve().name}, by sdnet-bench {__version__}"
    with progress.task(f"push to {repo}", 0, "bytes"), asking(repo, progress):
        return str(api.create_commit(repo, changes, commit_message=message).commit_url)
