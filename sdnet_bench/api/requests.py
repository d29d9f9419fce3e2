"""What is asked for, in the words of commands: names and groups of corruptions, severities, streams, adaptations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..adaptations import setting_of
from ..csc import check_lambda
from ..data import CORRUPTIONS, SEVERITIES
from ..errors import UsageError, check_size
from ..names import PER, PROTOCOLS, STREAMS, Per, Protocol, one_of, several
from ..records import (
    ADAPTED_AT_ONCE,
    DEFAULT_EPS,
    MIXED,
    NOISES,
    UNKNOWN,
    AdaptationSetting,
    Order,
    Severity,
    Threat,
)

Names = str | Sequence[str]
"""A name, "all" for the four noises, a group (noise, blur, weather, digital, bar), or several of these."""
Severities = int | str | Sequence[int]
"""1 to 5, several of these, or "all"."""


def folder_of(given: Path | str | None, kind: Literal["data", "runs"]) -> Path:
    """A folder; by default that of the environment variable `SDNET_BENCH_DATA` or `_RUNS`, or else `data` or `runs`."""
    return Path(given if given is not None else os.environ.get(f"SDNET_BENCH_{kind.upper()}", kind)).expanduser()


def corruption_names(wanted: Names, *, streams: bool = False, family: str | None = None) -> list[str]:
    """The corruptions of names and groups, each once; with `streams` also "unknown".

    Of a group only those that have severities for a `family`, where it is given.
    """
    return list(dict.fromkeys(name for each in several(wanted) for name in _members(each, streams, family)))


def _members(name: str, streams: bool, family: str | None) -> list[str]:
    if name == "all":
        return list(NOISES)
    if streams and name == UNKNOWN:
        return [UNKNOWN]
    members = {each: part for each, part in CORRUPTIONS.ours.items() if part.group == name}
    fitting = [each for each, part in members.items() if family in part.severities]
    return fitting or list(members) or [CORRUPTIONS[name].name]


def severity_levels(wanted: Severities, *, streams: bool = False) -> list[Severity]:
    """The severities of "all", a number or several, each once; with `streams` also "mixed"."""
    levels = several(wanted) or [wanted]
    if levels == ["all"]:
        return list(SEVERITIES)
    if streams and levels == [MIXED]:
        return [MIXED]
    for level in levels:
        if str(level) not in map(str, SEVERITIES):
            raise UsageError("severity out of range", expected=f"1 to 5, all{' or mixed' * streams}", got=level)
    return list(dict.fromkeys(map(int, levels)))


def lambda_grid(lambdas: Sequence[float]) -> list[float]:
    """The lambdas, each once; a `UsageError` where one is out of range."""
    return list(dict.fromkeys(check_lambda(value) for value in several(lambdas)))


def threat_of(norm: str, eps: float | None) -> Threat:
    """A threat, by default with the radius 8/255 of Linf or 0.5 of L2; a `UsageError` where it is out of range."""
    if norm == "linf" and eps is not None and eps > 1:
        raise UsageError("eps out of range", expected="at most 1, the range of a pixel, such as 8/255", got=eps)
    return Threat(norm, DEFAULT_EPS.get(norm, float("nan")) if eps is None else eps)


def protocols_of(wanted: Names | None) -> list[Protocol] | None:
    """Protocols in the order of PROTOCOLS: of "all", of names, or of names with commas; None for None."""
    if wanted is None:
        return None
    names = wanted.split(",") if isinstance(wanted, str) else wanted
    for name in names:
        one_of(name, "protocol", (*PROTOCOLS, "all"))
    return [protocol for protocol in PROTOCOLS if protocol in names or "all" in names]


def adaptation_of(
    adapt: str | None, batch_size: int | None, order: Order | None = None
) -> tuple[AdaptationSetting | None, bool]:
    """The setting of adaptations by name, and whether "lambda" is one of them; a `UsageError` for idle options."""
    names = [name.strip() for name in adapt.split(",")] if adapt is not None else []
    others = [name for name in names if name != "lambda"]
    size = ADAPTED_AT_ONCE if batch_size is None else batch_size
    check_size("batch size", size)
    setting = setting_of(",".join(others), size, order or "shuffled") if others else None
    if (batch_size or order) and (setting is None or setting.batch_size is None):
        what = "no image depends on its batch" if others else "a stream without an adaptation"
        raise UsageError(what, expected="--adapt bn, bn-running or tent beside --batch-size and --stream", got=adapt)
    return setting, "lambda" in names


def _number(given: float | str) -> float:
    """A lambda as a number; a `UsageError` where it is none."""
    try:
        return float(given)
    except ValueError:
        raise UsageError("lambda is no number", expected="a number, or adaptive", got=given) from None


@dataclass(frozen=True)
class Accuracy:
    """A request for accuracy on clean images, where there are no names, or on corrupted ones."""

    names: Sequence[str]
    """Names and groups of corruptions, or "unknown"."""
    severities: Sequence[Severity]
    lambda_: float | None
    is_adaptive: bool
    """Whether Algorithm 1 chooses lambda."""
    per: Per
    adaptation: AdaptationSetting | None

    @classmethod
    def of(
        cls,
        corruption: Names | None,
        severity: Severities,
        lambda_: float | str | None,
        per: str,
        adapt: str | None,
        batch_size: int | None,
        stream: str | None,
    ) -> Accuracy:
        """The request in words, see `Bench.evaluate`; a `UsageError` for words without effect in this combination."""
        corruption, severity = _streamed(stream, None if corruption == "none" else corruption, severity)
        order: Order | None = "shuffled" if stream == "shuffled" else "sorted" if stream == "sorted" else None
        setting, is_adaptive = adaptation_of(adapt, batch_size, order)
        unit: Per = one_of(per, "unit of an adaptive lambda", PER)
        names = [] if corruption is None else several(corruption)
        corruption_names(names, streams=True)  # an error for an unknown one
        severities = severity_levels(severity, streams=True)
        value = None if lambda_ is None or lambda_ == "adaptive" else _number(lambda_)
        is_adaptive = is_adaptive or lambda_ == "adaptive"
        if corruption is None and several(severity) != ["all"]:
            raise UsageError("a severity without a corruption", expected="--corruption gaussian, ... beside --severity")
        if unit == "image" and not is_adaptive:
            expected = "--lambda adaptive beside --per image"
            raise UsageError("only an adaptive lambda is chosen per image", expected=expected)
        if is_adaptive and value is not None:
            raise UsageError("two choices of lambda", expected="--lambda, or lambda in --adapt", got=value)
        if is_adaptive and not names:
            raise UsageError("an adaptive lambda needs a type of noise", hint="Add --corruption gaussian, or all.")
        return cls(names, severities, value, is_adaptive, unit, setting)


def _streamed(stream: str | None, corruption: Names | None, severity: Severities) -> tuple[Names | None, Severities]:
    """Corruption and severity of a stream: "mixed" has all severities, "unknown" all types of noise as well."""
    if stream is None or one_of(stream, "stream", STREAMS) in ("shuffled", "sorted"):
        return corruption, severity
    is_unknown = stream == UNKNOWN
    if severity not in ("all", MIXED) or (is_unknown and corruption not in (None, UNKNOWN)):
        what = "no --corruption and no --severity" if is_unknown else "no --severity"
        raise UsageError(f"a stream of {stream} noise says itself what it holds", expected=f"{what} beside --stream")
    return UNKNOWN if is_unknown else corruption, MIXED
