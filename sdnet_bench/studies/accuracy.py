"""Accuracy on clean and on corrupted test images (Table 1; the rows of fixed lambda in Tables 2 and 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..config import LAMBDAS
from ..csc import require_csc_layers
from ..data import SEVERITIES
from ..data.archives import source_of
from ..errors import DataError, UsageError
from ..records import UNKNOWN, Cell, Images, Inference, Layers, Record, Severity
from .workbench import Workbench


def measure_clean(bench: Workbench, images: Images | None = None, inference: Inference | None = None) -> Record:
    """Accuracy on clean images, by default the whole test split."""
    return bench.measure([bench.cell(images or bench.images("test"), inference)], "clean test images")[0]


def measure_corrupted(
    bench: Workbench,
    images: Images,
    corruptions: Iterable[str],
    severities: Iterable[Severity] = SEVERITIES,
    inference: Inference | None = None,
    *,
    archived: bool = False,
) -> list[Record]:
    """Accuracy on corrupted images, for every corruption and severity; see `corrupted_cells`."""
    cells = corrupted_cells(bench, images, corruptions, list(severities), inference, archived=archived)
    return bench.measure(cells, "corrupted test images")


def corrupted_cells(
    bench: Workbench,
    images: Images,
    corruptions: Iterable[str],
    severities: Sequence[Severity] = SEVERITIES,
    inference: Inference | None = None,
    *,
    archived: bool = False,
) -> list[Cell]:
    """The cells of clean images under every corruption and severity, made here or read from the archive."""
    return [
        bench.cell(corrupted, inference)
        for name in corruptions
        for corrupted in corrupted_images(bench, images, name, severities, archived=archived)
    ]


def corrupted_images(
    bench: Workbench, images: Images, corruption: str, severities: Iterable[Severity], *, archived: bool = False
) -> list[Images]:
    """The images at every severity of a corruption, corrupted here or read from the archive of the data set."""
    archive = _source(bench, corruption) if archived else None
    return [
        bench.images(images.split, images.limit, corruption=corruption, severity=severity, archive=archive)
        for severity in severities
    ]


def _source(bench: Workbench, corruption: str) -> str:
    """Origin and md5 of a corruption's images in the archive; a `DataError` where they are missing or damaged."""
    if corruption == UNKNOWN:
        raise UsageError("an archive has no such stream", expected="the name of a corruption", got=corruption)
    found = source_of(bench.dataset.name, corruption, bench.data_dir, bench.progress)
    if found.verdict == "missing":
        bench.archived(corruption, 1)  # raises an error with a hint
    if found.verdict == "damaged" or found.md5 is None:
        hint = "See `sdnet-bench data verify`."
        raise DataError(f"{found.name} in the archive is damaged: {found.detail}", hint=hint)
    return f"{found.verdict}:{found.md5}"


def sweep_lambda(
    bench: Workbench,
    images: Images,
    corruption: str,
    severities: Iterable[Severity] = SEVERITIES,
    lambdas: Sequence[float] = LAMBDAS,
    *,
    layers: Layers = "all",
) -> list[Record]:
    """Accuracy on corrupted images at every lambda; a `UsageError` for a network without CSC-layers.

    `images` are the clean ones. With "stem" the CSC-layers after the stem keep lambda_0.
    """
    require_csc_layers(bench.model.net)
    inferences = [bench.inference(lambda_, layers=layers) for lambda_ in lambdas]
    corrupted = corrupted_images(bench, images, corruption, severities)
    cells = [bench.cell(each, inference) for each in corrupted for inference in inferences]
    return bench.measure(cells, f"lambda sweep, {corruption}")
