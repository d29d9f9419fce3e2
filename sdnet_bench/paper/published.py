"""Published numbers: the paper's tables and AlexNet's errors, read from `paper.toml`.

The file also has the rows and columns of tables that are not in the paper, without values.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..config import Frozen
from ..records import ADAPTED_AT_ONCE, AdaptationSetting, Order


class PaperRow(Frozen):
    """One row of a published table."""

    dataset: str
    name: str
    backbone: str
    values: tuple[float, ...] = ()
    """The paper's values by column; empty where it has none."""
    rule: str | None = None
    """The choice of lambda of this row; None for lambda_0."""
    shows: str = "accuracy"
    steps: int | None = None
    """FISTA iterations of this row."""
    against: str | None = None
    """Name of the row that this row is compared with."""
    adapt: str | None = None
    """The adaptation of this row with all its settings, as in `AdaptationSetting.name`."""
    per_image: bool = False
    """Whether it looks at one image at a time, whatever the batch."""
    batch_size: int = ADAPTED_AT_ONCE
    """Images of a batch that is adapted to."""

    @property
    def plain(self) -> PaperRow:
        """This row at lambda_0 without adaptation."""
        return self.model_copy(update={"adapt": None, "rule": None})

    def adaptation(self, batch_size: int | None = None, order: Order = "shuffled") -> AdaptationSetting | None:
        """The adaptation of this row, by default in batches of its size."""
        if self.adapt is None or self.per_image:
            return AdaptationSetting(name=self.adapt) if self.adapt else None
        return AdaptationSetting(name=self.adapt, batch_size=batch_size or self.batch_size, order=order)

    def of(self, backbone: str, names: Mapping[str, str]) -> PaperRow:
        """The row for another architecture, without the paper's values; `names` maps row names to new ones."""
        against = names.get(self.against, self.against) if self.against else None
        update = {"backbone": backbone, "name": names[self.name], "against": against, "values": ()}
        return self.model_copy(update=update)


class PaperTable(Frozen):
    """One published table."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]

    def rows_for(self, dataset: str) -> list[PaperRow]:
        """The rows measured on `dataset`; where there are none, those of the table's first data set."""
        own = [row for row in self.rows if row.dataset == dataset]
        return own or [row for row in self.rows if row.dataset == self.rows[0].dataset]


@cache
def published() -> dict[str, PaperTable]:
    """All tables by name, also those that are not in the paper."""
    content: dict[str, Any] = tomllib.loads(Path(__file__).with_name("paper.toml").read_text(encoding="utf-8"))
    return {name: PaperTable.model_validate(table) for name, table in content.items()}


@cache
def titles() -> dict[str, str]:
    """The paper's names of architectures by backbone name."""
    rows = [row for name in ("table1", "table6") for row in published()[name].rows]
    return {row.backbone: row.name for row in rows}


@cache
def alexnet() -> dict[str, float]:
    """Errors (%) of AlexNet on ImageNet-C for the 15 corruptions of mCE."""
    table = published()["corruptions"]
    reference = next(row for row in table.rows if row.name == "AlexNet")
    errors = dict(zip(table.columns, reference.values, strict=True))
    return {name: error for name, error in errors.items() if name not in ("mean", "mCE")}
