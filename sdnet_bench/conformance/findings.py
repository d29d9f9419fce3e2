"""Checks of parts and their findings."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from ..config import Frozen, Verdict
from ..errors import BenchError

Subject = TypeVar("Subject")


class Finding(Frozen):
    """The outcome of one check of one part."""

    kind: str
    """Kind of the part."""
    check: str
    verdict: Verdict
    says: str
    """The expectation, and, unless the check passes, what was found instead."""


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """A check of a part.

    Args:
        name: name in a word or two.
        expected: what holds where the check passes.
        find: returns what was found instead, or None; an exception counts as a finding.
        severity: "warn" where a valid part may fail; "stop" where no further check is possible after a failure.
    """

    name: str
    expected: str
    find: Callable[[Subject], str | None]
    severity: Literal["warn", "fail", "stop"] = "fail"

    def make(self, kind: str, subject: Subject) -> Finding:
        found = _found(self.find, subject)
        if not found:
            return Finding(kind=kind, check=self.name, verdict="pass", says=self.expected)
        says = " ".join(f"expected {self.expected}, got {found}".split())
        verdict: Verdict = "warn" if self.severity == "warn" else "fail"
        return Finding(kind=kind, check=self.name, verdict=verdict, says=says)


def make_checks(kind: str, checks: Sequence[Check[Subject]], subject: Subject) -> Iterator[Finding]:
    """Makes the checks in order, then checks whether the part printed anything.

    Output and exits of the part are caught.
    """
    said = io.StringIO()
    for check in checks:
        with redirect_stdout(said):
            finding = check.make(kind, subject)
        yield finding
        if finding.verdict == "fail" and check.severity == "stop":
            break
    yield QUIET.make(kind, said)


QUIET = Check[io.StringIO](
    "prints nothing",
    "nothing on stdout, which is for data",
    lambda said: repr(said.getvalue()[:60]) if said.getvalue() else None,
)


def _found(find: Callable[[Subject], str | None], subject: Subject) -> str | None:
    try:
        return find(subject)
    except BenchError as error:
        return f"the error: {error}"
    except SystemExit as error:
        return f"an exit with status {error.code}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
