"""What has been published: the paper's tables and AlexNet's errors, read from `paper.toml`.

The rows and columns of tables that the paper does not have stand there too, without values.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..config import Frozen


class PaperRow(Frozen):
    """One row of a published table."""

    dataset: str
    name: str
    backbone: str
    values: tuple[float, ...] = ()
    """Empty where the paper has none."""
    rule: str | None = None
    """Which of a model's numbers stand in this row, where it is not those at lambda_0."""
    shows: str = "accuracy"
    steps: int | None = None
    """FISTA iterations that this row is about."""
    against: str | None = None
    """The row that a reader compares it with."""

    def of(self, backbone: str, names: Mapping[str, str]) -> PaperRow:
        """The same row of another architecture, without the paper's values; `names` are new names of its rows."""
        against = names.get(self.against, self.against) if self.against else None
        update = {"backbone": backbone, "name": names[self.name], "against": against, "values": ()}
        return self.model_copy(update=update)


class PaperTable(Frozen):
    """One published table."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]

    def rows_for(self, dataset: str) -> list[PaperRow]:
        """Those measured on `dataset`; those of the table's first data set where the paper did not measure on it."""
        own = [row for row in self.rows if row.dataset == dataset]
        return own or [row for row in self.rows if row.dataset == self.rows[0].dataset]


@cache
def published() -> dict[str, PaperTable]:
    """The paper's tables, and the rows and columns of those that it does not have, by name."""
    content: dict[str, Any] = tomllib.loads(Path(__file__).with_name("paper.toml").read_text(encoding="utf-8"))
    return {name: PaperTable.model_validate(table) for name, table in content.items()}


@cache
def titles() -> dict[str, str]:
    """What the paper calls the architectures, by their names here."""
    rows = [row for name in ("table1", "table6") for row in published()[name].rows]
    return {row.backbone: row.name for row in rows}


@cache
def alexnet() -> dict[str, float]:
    """Errors (%) of AlexNet on ImageNet-C, for the 15 corruptions that mCE is taken over."""
    table = published()["corruptions"]
    reference = next(row for row in table.rows if row.name == "AlexNet")
    errors = dict(zip(table.columns, reference.values, strict=True))
    return {name: error for name, error in errors.items() if name not in ("mean", "mCE")}
