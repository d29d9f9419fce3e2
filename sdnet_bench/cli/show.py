"""Prints what was measured as a table or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .screen import say

if TYPE_CHECKING:
    from ..api.rows import Row, Several


def show(found: Several[Any], *, as_json: bool) -> None:
    """Prints a table, or with `as_json` all fields of every part, unrounded."""
    if as_json:
        say(json.dumps(found.data(), indent=1))
    else:
        show_rows(found.rows(), as_json=False)


def show_rows(rows: Sequence[Row], *, as_json: bool) -> None:
    """Prints rows with the same keys, as JSON or as a table; of no rows there is no table."""
    from ..api.rows import text_lines

    for line in [json.dumps(rows, indent=1)] if as_json else text_lines(rows):
        say(line)
