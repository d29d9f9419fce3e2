"""`sdnet-bench evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import UsageError
from . import options
from .setup import Setup, measuring

if TYPE_CHECKING:
    from ..records import Record, Severity
    from ..studies.algorithm1 import Per
    from ..studies.workbench import Workbench


@measuring()
def evaluate(
    setup: Setup,
    corruption: Annotated[
        str, typer.Option(help="none, a name, all (the four noises), noise, blur, weather, digital, or unknown.")
    ] = "none",
    severity: Annotated[str, typer.Option(help="1 to 5, all, or mixed: each image has its own.")] = "all",
    lambda_: Annotated[str | None, typer.Option("--lambda", help="A number, or adaptive (Algorithm 1).")] = None,
    per: Annotated[str, typer.Option(help="An adaptive lambda for the whole set, or for each image.")] = "set",
    study: Annotated[
        str | None, typer.Option(help="All of table1 to table6, figure2, figure3, inference or corruptions instead.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what a study has to measure, and stop.")] = False,
    inference_steps: options.InferenceSteps = None,
    archive: Annotated[
        bool, typer.Option("--archive", help="Corrupted images from the data set's -C archive; see `data`.")
    ] = False,
    limit: options.Limit = None,
) -> None:
    """Measure accuracy on clean or corrupted test images, or all that a table or figure needs."""
    from .shared import publish
    from .show import show_records

    wanted: dict[str, Any] = {
        "names": [] if corruption == "none" else options.corruption_names(corruption, streams=True),
        "severities": options.severity_levels(severity, streams=True),
        "lambda_": lambda_ if lambda_ in (None, "adaptive") else options.number(lambda_, "lambda"),
        "per": options.one_of(per, "unit of an adaptive lambda", ("set", "image")),
    }
    is_about_lambda = lambda_ is not None or inference_steps is not None or per == "image"
    if study and (wanted["names"] or severity != "all" or is_about_lambda):
        raise UsageError("a study says itself what is measured", expected="--limit or --archive alone beside --study")
    if not study:
        _check_measurement(wanted, severity, archive, dry_run)
    bench = setup.open()
    if study:
        records = _run_study(bench, study, limit, archive, dry_run=dry_run, as_json=setup.json)
    else:
        records = _measure(bench, **wanted, limit=limit, steps=inference_steps, archived=archive)
    if records:
        publish(bench)
        show_records(records, as_json=setup.json)


def _check_measurement(wanted: dict[str, Any], severity: str, archived: bool, dry_run: bool) -> None:
    """Raises a `UsageError` for options that have no effect in this combination."""
    if dry_run:
        raise UsageError("a dry run of what?", expected="--study table2, table3, ... beside --dry-run")
    if archived and not wanted["names"]:
        raise UsageError("an archive of what?", expected="--corruption gaussian, ... beside --archive")
    if severity != "all" and not wanted["names"]:
        raise UsageError("a severity of what?", expected="--corruption gaussian, ... beside --severity")
    if wanted["per"] == "image" and wanted["lambda_"] != "adaptive":
        raise UsageError("only an adaptive lambda is chosen per image", expected="--lambda adaptive beside --per image")


def _run_study(
    bench: Workbench, study: str, limit: int | None, archived: bool, *, dry_run: bool, as_json: bool
) -> list[Record]:
    """Shows the plan of a study and, unless `dry_run` is set, runs it."""
    from ..paper.plan import StudySize, run
    from ..paper.registry import plan
    from .show import show_plan

    steps = plan(bench, study, StudySize.limited(limit, archived=archived))
    show_plan(bench, steps, as_data=dry_run, as_json=as_json)
    return [] if dry_run else run(steps)


def _measure(
    bench: Workbench,
    names: Sequence[str],
    severities: Sequence[Severity],
    lambda_: float | Literal["adaptive"] | None,
    per: Per,
    limit: int | None,
    steps: int | None,
    archived: bool,
) -> list[Record]:
    from ..studies.accuracy import measure_clean, measure_corrupted
    from ..studies.algorithm1 import measure_adaptive, require_fits

    images = bench.images("test", limit)
    inference = bench.inference(None if lambda_ == "adaptive" else lambda_, steps=steps)
    if lambda_ == "adaptive":
        if not names:
            raise UsageError("an adaptive lambda needs a type of noise", hint="Add --corruption gaussian, or all.")
        fits = require_fits(bench, names, inference)
        return measure_adaptive(bench, images, fits, severities, per=per, archived=archived)
    if names:
        return measure_corrupted(bench, images, names, severities, inference, archived=archived)
    return [measure_clean(bench, images, inference)]
