"""`sdnet-bench evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from . import options
from .setup import Setup, measuring

if TYPE_CHECKING:
    from ..records import AdaptationSetting, Order, Record, Severity
    from ..studies.algorithm1 import Per
    from ..studies.workbench import Workbench

STREAMS = ("shuffled", "sorted", "mixed", "unknown")


@dataclass(frozen=True)
class Wanted:
    """What to measure; no names of corruptions for clean images."""

    names: Sequence[str]
    severities: Sequence[Severity]
    lambda_: float | None
    is_adaptive: bool
    """Whether Algorithm 1 chooses lambda."""
    per: Per
    steps: int | None
    adaptation: AdaptationSetting | None
    limit: int | None
    archived: bool


@measuring()
def evaluate(
    setup: Setup,
    corruption: Annotated[
        str, typer.Option(help="none, a name, all (the four noises), noise, blur, weather, digital, or unknown.")
    ] = "none",
    severity: Annotated[str, typer.Option(help="1 to 5, all, or mixed: each image has its own.")] = "all",
    lambda_: Annotated[str | None, typer.Option("--lambda", help="A number, or adaptive (Algorithm 1).")] = None,
    per: Annotated[str, typer.Option(help="An adaptive lambda for the whole set, or for each image.")] = "set",
    adapt: options.Adapt = None,
    batch_size: options.BatchSize = None,
    stream: Annotated[
        str | None,
        typer.Option(help="Of an adaptation: shuffled, sorted by label, mixed severities, or unknown types as well."),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(help="All of table1 to table6, figure2, figure3, inference, corruptions or adaptation instead."),
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

    given = [corruption != "none", severity != "all", lambda_, per != "set", adapt, batch_size, stream, inference_steps]
    if study and any(value not in (None, False) for value in given):
        raise UsageError("a study says itself what is measured", expected="--limit or --archive alone beside --study")
    if not study and dry_run:
        raise UsageError("a dry run of what?", expected="--study table2, table3, ... beside --dry-run")
    corruption, severity = _streamed(stream, corruption, severity)
    orders: dict[str | None, Order] = {"shuffled": "shuffled", "sorted": "sorted"}
    setting, is_adaptive = options.parse_adaptation(adapt, batch_size, orders.get(stream))
    wanted = Wanted(
        names=[] if corruption == "none" else options.corruption_names(corruption, streams=True),
        severities=options.severity_levels(severity, streams=True),
        lambda_=None if lambda_ in (None, "adaptive") else options.number(lambda_, "lambda"),
        is_adaptive=is_adaptive or lambda_ == "adaptive",
        per=options.one_of(per, "unit of an adaptive lambda", ("set", "image")),
        steps=inference_steps,
        adaptation=setting,
        limit=limit,
        archived=archive,
    )
    if not study:
        _check(wanted, severity)
    bench = setup.open()
    if study:
        records = _run_study(bench, study, limit, archive, dry_run=dry_run, as_json=setup.json)
    else:
        records = _measure(bench, wanted)
    if records:
        publish(bench)
        show_records(records, as_json=setup.json)


def _streamed(stream: str | None, corruption: str, severity: str) -> tuple[str, str]:
    """Corruption and severity of a stream: "mixed" has all severities, "unknown" all types of noise as well."""
    if stream is None or options.one_of(stream, "stream", STREAMS) in ("shuffled", "sorted"):
        return corruption, severity
    is_unknown = stream == "unknown"
    if severity not in ("all", "mixed") or (is_unknown and corruption not in ("none", "unknown")):
        what = "no --corruption and no --severity" if is_unknown else "no --severity"
        raise UsageError(f"a stream of {stream} noise says itself what it holds", expected=f"{what} beside --stream")
    return "unknown" if is_unknown else corruption, "mixed"


def _check(wanted: Wanted, severity: str) -> None:
    """Raises a `UsageError` for options that have no effect in this combination."""
    if wanted.archived and not wanted.names:
        raise UsageError("an archive of what?", expected="--corruption gaussian, ... beside --archive")
    if severity != "all" and not wanted.names:
        raise UsageError("a severity of what?", expected="--corruption gaussian, ... beside --severity")
    if wanted.per == "image" and not wanted.is_adaptive:
        raise UsageError("only an adaptive lambda is chosen per image", expected="--lambda adaptive beside --per image")
    if wanted.is_adaptive and wanted.lambda_ is not None:
        raise UsageError("two choices of lambda", expected="--lambda, or lambda in --adapt", got=wanted.lambda_)


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


def _measure(bench: Workbench, wanted: Wanted) -> list[Record]:
    """The records of everything that is wanted."""
    from ..studies.accuracy import measure_clean, measure_corrupted
    from ..studies.algorithm1 import measure_adaptive, require_fits

    images = bench.images("test", wanted.limit)
    inference = bench.inference(wanted.lambda_, steps=wanted.steps, adaptation=wanted.adaptation)
    if wanted.is_adaptive:
        if not wanted.names:
            raise UsageError("an adaptive lambda needs a type of noise", hint="Add --corruption gaussian, or all.")
        fits = require_fits(bench, wanted.names, inference)
        return measure_adaptive(
            bench, images, fits, wanted.severities, per=wanted.per, archived=wanted.archived, inference=inference
        )
    if wanted.names:
        return measure_corrupted(bench, images, wanted.names, wanted.severities, inference, archived=wanted.archived)
    return [measure_clean(bench, images, inference)]
