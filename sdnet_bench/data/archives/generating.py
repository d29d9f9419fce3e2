"""Generates archives in the layout of the published ones from the clean test images, with a manifest.

The result depends only on the clean images and the seed, not on the batch size, the number of processes or
interruptions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import DataError, UsageError
from ...files import holding
from ...progress import Progress
from ...version import __version__
from ..contents import digests, files_in, remembered, visible
from ..corruptions import CORRUPTIONS, SEVERITIES, Level, library_versions, revision_of
from ..datasets import open_dataset
from ..download import require_room, writing
from ..folders import FolderSplit
from ..splits import Split, limited
from ..stream import Noise, Spread, workers
from .layouts import JPEG_QUALITY, ArrayWriter, FolderWriter, State, Writer
from .manifest import MANIFEST, GeneratedMember, Manifest
from .table import LABELS, Archive, find_archive

CPU = torch.device("cpu")


def generate(
    name: str,
    data_dir: Path,
    corruptions: Sequence[str] | None = None,
    *,
    seed: int = 0,
    limit: int | None = None,
    batch_size: int = 500,
    processes: int = 1,
    progress: Progress | None = None,
) -> list[Path]:
    """Corrupts the clean test images of an archive's data set and writes them in the archive's layout.

    Interrupted work is resumed; finished members are kept.

    Args:
        corruptions: registered names; by default all that the archive holds.
        limit: number of test images, spread evenly; None for all.
        batch_size: number of images that are made and written at a time.

    Returns:
        The paths of the requested members.

    Raises:
        UsageError: there is no such archive or corruption, or no data set for the archive.
        DataError: the clean images are missing, the folder holds files that were not generated with the same seed from
            the same images, or it cannot be written.
    """
    archive, progress = find_archive(name), progress or Progress()
    wanted = _wanted(archive, corruptions)
    with holding(data_dir / f".{archive.name}.lock", progress, f"works on {archive.folder(data_dir)}"):
        job = _Job.open(archive, data_dir, seed, limit, progress)
        progress.note(f"{', '.join(wanted)}: 5 severities of {len(job.split):,} images each, in {job.folder}")
        _require_room(job, wanted)
        with job.ready():
            _make_labels(job)
            for corruption in wanted:
                _make(job, corruption, batch_size, workers(processes))
    return [archive.path(data_dir, archive.member(corruption)) for corruption in wanted]


def _wanted(archive: Archive, corruptions: Sequence[str] | None) -> list[str]:
    if archive.dataset is None:
        raise UsageError(f"{archive.name} cannot be generated: it belongs to no data set that is known here")
    if corruptions is None:
        return [name for name, part in CORRUPTIONS.ours.items() if part.archive_name in archive.members]
    return [name for name in corruptions if archive.member(name)]


@dataclass
class _Job:
    """Everything that the members of an archive share while it is generated; `manifest` lists the finished members."""

    archive: Archive
    data_dir: Path
    family: str
    split: Split
    manifest: Manifest
    progress: Progress

    @classmethod
    def open(cls, archive: Archive, data_dir: Path, seed: int, limit: int | None, progress: Progress) -> _Job:
        folder = archive.folder(data_dir)
        known = Manifest.read(folder)
        _refuse_foreign(archive, folder, known)
        dataset = open_dataset(str(archive.dataset), data_dir, progress)
        whole = dataset.open("test")
        split = limited(whole, limit)
        manifest = Manifest(
            archive=archive.name,
            dataset=dataset.name,
            digest=split.digest,
            seed=seed,
            images=len(split),
            of=len(whole),
            members=known.members if known else {},
            classes=dataset.num_classes,
        )
        if known:
            _require_same(folder, known, manifest)
        return cls(archive, data_dir, dataset.family, split, manifest, progress)

    @property
    def folder(self) -> Path:
        return self.archive.folder(self.data_dir)

    @property
    def making(self) -> Path:
        """Folder of unfinished members."""
        return self.folder / ".making"

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Makes the folders; when the block ends, removes the states of finished members and what is empty then."""
        with writing(self.folder):
            self.making.mkdir(parents=True, exist_ok=True)
            try:
                yield
            finally:
                for state in self.making.glob("*.json"):
                    if not (self.making / self.archive.file_name(state.stem)).exists():
                        state.unlink()
                for folder in (self.making, self.folder):
                    if not any(folder.iterdir()):
                        folder.rmdir()

    def request(self, corruption: str, levels: Sequence[Level]) -> dict[str, Any]:
        """Everything that decides the corrupted images, for comparison with interrupted work."""
        seed, digest = self.manifest.seed, self.manifest.digest
        made = {"corruption": corruption, "levels": levels, "revision": revision_of(corruption)}
        return {**made, "seed": seed, "digest": digest, "versions": library_versions() | {"sdnet-bench": __version__}}

    def writer(self, scratch: Path, *, resume: bool) -> Writer:
        """The writer of the archive's layout."""
        if self.archive.layout == "npy":
            shape = (len(SEVERITIES) * len(self.split), self.archive.side, self.archive.side, 3)
            return ArrayWriter(scratch, shape, resume=resume)
        if isinstance(self.split, FolderSplit):
            return FolderWriter(scratch, self.split, resume=resume)
        raise UsageError(f"{self.archive.name} lies in folders: {self.manifest.dataset} would have to do so as well")

    def has(self, member: str) -> bool:
        """Whether a member is finished; a `DataError` where it differs from the manifest."""
        path, made = self.archive.path(self.data_dir, member), self.manifest.members.get(member)
        if made is None or not path.exists():
            return False
        found, hint = remembered(path, files_in(path), self.progress).sha256, f"Remove {path} to generate it again."
        if found != made.sha256:
            raise DataError(f"{path} is damaged", expected=f"sha256 {made.sha256}", got=found, hint=hint)
        if made.revision != revision_of(made.corruption):
            raise DataError(f"{path} has the pixels of an earlier version of {made.corruption}", hint=hint)
        return True

    def finish(self, member: str, scratch: Path, corruption: str | None, levels: Sequence[Level]) -> None:
        """Moves a finished member to its place, after its entry is written to the manifest."""
        made = GeneratedMember(
            corruption=corruption,
            levels=tuple(levels),
            sha256=digests(scratch, files_in(scratch), self.progress).sha256,
            n=len(SEVERITIES) * len(self.split),
            versions=library_versions() | {"sdnet-bench": __version__},
            jpeg_quality=JPEG_QUALITY if self.archive.layout == "folders" else None,
            revision=revision_of(corruption),
        )
        members = self.manifest.members | {member: made}
        self.manifest = self.manifest.model_copy(update={"members": members})
        self.manifest.write(self.folder)
        scratch.rename(self.archive.path(self.data_dir, member))


def _refuse_foreign(archive: Archive, folder: Path, known: Manifest | None) -> None:
    """Raises a `DataError` where a folder holds files that were not generated here."""
    ours = {MANIFEST, *(archive.file_name(member) for member in known.members)} if known else set()
    here = visible(folder) if folder.is_dir() else []
    foreign = [entry.name for entry in here if entry.name not in ours]
    if foreign:
        what = f"{folder} holds what was not generated here: {', '.join(foreign[:3])}"
        raise DataError(what, hint="Name another folder with --data-dir: generated and official are never mixed.")


def _require_same(folder: Path, known: Manifest, asked: Manifest) -> None:
    for field in ("seed", "images", "digest"):
        there, wanted = getattr(known, field), getattr(asked, field)
        if there != wanted:
            hint = "Name another folder with --data-dir, or remove it."
            raise DataError(f"{folder} was generated with another {field}", expected=there, got=wanted, hint=hint)


def _require_room(job: _Job, corruptions: Sequence[str]) -> None:
    """Checks the free disk space for arrays; the sizes of JPEG files are not known before."""
    if job.archive.layout == "npy":
        members = {job.archive.member(corruption) for corruption in corruptions} - {*job.manifest.members}
        rows = len(members) * len(SEVERITIES) * len(job.split)
        require_room(job.data_dir, rows * job.archive.side**2 * 3, job.archive.name)


def _make_labels(job: _Job) -> None:
    """Writes the labels of the clean images, repeated for the five severities."""
    if LABELS not in job.archive.common or job.has(LABELS):
        return
    labels = [label for batch in job.split.batches(1000, CPU) for label in batch.labels.tolist()]
    scratch = job.making / job.archive.file_name(LABELS)
    np.save(scratch, np.tile(np.array(labels, dtype=np.uint8), len(SEVERITIES)))
    job.finish(LABELS, scratch, None, ())


def _make(job: _Job, corruption: str, batch_size: int, spread: Spread) -> None:
    """Writes one corruption at its five severities."""
    member = job.archive.member(corruption)
    if job.has(member):
        job.progress.note(f"{member}: done already")
        return
    levels = [CORRUPTIONS[corruption].level(job.family, severity) for severity in SEVERITIES]
    scratch = job.making / job.archive.file_name(member)
    state = State(job.making / f"{member}.json", job.request(corruption, levels), scratch)
    writer = job.writer(scratch, resume=state.done > 0)
    with job.progress.task(f"generate {member}", len(SEVERITIES) * len(job.split)) as task:
        task.advance(state.done)
        for images in _images(job, corruption, levels, state.done, batch_size, spread):
            writer.write(state.done, images)
            state.save(state.done + len(images))
            task.advance(len(images))
    job.finish(member, scratch, corruption, levels)


def _images(
    job: _Job, corruption: str, levels: Sequence[Level], done: int, batch_size: int, spread: Spread
) -> Iterator[NDArray[np.uint8]]:
    """Batches of corrupted images `(N, 3, H, W)`, severity 1 first, without the first `done` images."""
    count = len(job.split)
    for severity, level in enumerate(levels):
        rest = range(max(0, done - severity * count), count)
        noise = Noise(corruption, level, job.manifest.seed)
        if rest:
            for batch in job.split.subset(rest).batches(batch_size, CPU):
                yield noise(batch, spread).numpy()
