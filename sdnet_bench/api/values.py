"""What measurements give back: records and fits as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..records import AttackSetting, Outcomes, Record, frame_of, show_eps
from ..records.lambda_fit import LambdaFit
from ..records.statistics import percent
from .rows import Row, Several

if TYPE_CHECKING:
    from pandas import DataFrame


class Measured(Several[Record]):
    """Records of measured cells, in the order in which they were asked for.

    `accuracy`, `interval`, `clean`, `outcomes` and `residual` are those of the only record. Each of several has them,
    too; the outcomes of a `Record` are its `correct`.
    """

    @property
    def record(self) -> Record:
        """The only record; a `UsageError` where there are several."""
        if len(self) != 1:
            raise UsageError(f"{len(self)} records have no one figure", hint="Take one by its place, or .to_frame().")
        return self[0]

    @property
    def accuracy(self) -> float:
        """Share of correctly classified images, in [0, 1]; under attack the robust accuracy."""
        return self.record.accuracy

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `accuracy`, in [0, 1]."""
        return self.record.interval

    @property
    def clean(self) -> float:
        """Accuracy on the same images without the attack, in [0, 1]; `accuracy` where there was none."""
        return self.record.clean

    @property
    def outcomes(self) -> Outcomes:
        """`(n,)` bool: whether each image was classified correctly, in the order of the images."""
        return self.record.correct

    @property
    def residual(self) -> float | None:
        """Mean of |x - A z|_2 over the images; None where it was not measured: it is at lambda_0, without attack."""
        return self.record.residual

    def rows(self) -> list[Row]:
        return [_row(record) for record in self]

    def data(self) -> list[Row]:
        return [_data(record) for record in self]

    def to_frame(self) -> DataFrame:
        """A pandas DataFrame, one row a record, one column a field; accuracy in [0, 1]."""
        return frame_of(self)


class Sweep(Measured):
    """Records of a sweep of lambda, shown with a column per corruption and severity, the best of each marked."""

    def rows(self) -> list[Row]:
        rows = "lambda of the stem" if any(record.inference.layers == "stem" for record in self) else "lambda"
        columns: dict[str, dict[float, float]] = {}
        for record in self:
            column = columns.setdefault(f"{record.images.corruption} {record.images.severity}", {})
            column[float(record.inference.lambda_ or 0)] = 100 * record.accuracy
        marked = {
            name: {at: f"{value:.1f} {'*' if value == max(column.values()) else ' '}" for at, value in column.items()}
            for name, column in columns.items()
        }
        lambdas = next(iter(columns.values()), {})
        return [{rows: at, **{name: column[at] for name, column in marked.items()}} for at in lambdas]


class Fits(Several[LambdaFit]):
    """Fits of lambda(residual), with R² and their points."""

    def rows(self) -> list[Row]:
        return [
            {
                "corruption": fit.corruption,
                "lambda(r)": f"{fit.slope:.4g} r {fit.intercept:+.4g}",
                "R^2": fit.r_squared,
                "points (r_c, lambda_c)": "  ".join(
                    f"({point.residual:.3g}, {point.lambda_:g})" for point in fit.points
                ),
            }
            for fit in self
        ]

    def data(self) -> list[Row]:
        return [fit.model_dump() for fit in self]


def _data(record: Record) -> Row:
    value = percent([record])
    measured = {} if value is None else {"accuracy": value.value, "low": value.low, "high": value.high}
    attacked = {"protocol": record.cell.protocol, "clean": 100 * record.clean} if record.cell.attack else {}
    cell = record.cell.model_dump()
    return {"key": record.cell.key, **cell, **attacked, "n": record.n, **measured, **record.metrics}


def _row(record: Record) -> Row:
    cell, value = record.cell, percent([record])
    noise = {"corruption": cell.images.corruption or "none", "severity": cell.images.severity}
    row: dict[str, Any] = {**(_attack(record, cell.attack) if cell.attack else noise), "lambda": _lambda(record)}
    if cell.inference.adaptation:
        row["adaptation"] = str(cell.inference.adaptation)
    if cell.attack:
        row["clean %"] = round(100 * record.clean, 2)
    row["accuracy %"] = value and round(value.value, 2)
    if value and value.low is not None and value.high is not None:
        row["95 % interval"] = f"{value.low:.1f} .. {value.high:.1f}"
    if not cell.attack:
        row["residual"] = record.metrics.get("residual")
    return row | {"images": record.n}


def _attack(record: Record, attack: AttackSetting) -> Row:
    """Columns of an attack: its name, its threat and the attacked network."""
    restarts = f" x {attack.restarts}" if attack.restarts > 1 else ""
    return {
        "attack": f"{attack.name} {attack.steps}{restarts}",
        "norm": attack.norm,
        "eps": show_eps(attack.eps),
        "protocol": record.cell.protocol or (record.inference.defence or "")[:12] or None,
        "made at": _made_at(attack),
    }


def _made_at(attack: AttackSetting) -> str | None:
    """The lambda of the attacked network as text; of several the first, the last and their number."""
    if attack.through:
        return f"each image's, {attack.through}"
    made = attack.crafted_at
    if isinstance(made, tuple):
        parts = [f"{made[0]:g} .. {made[-1]:g} ({len(made)})"]
    else:
        parts = [] if made is None else [f"{made:g}"]
    parts += [f"{attack.inference_steps} iterations"] if attack.inference_steps else []
    parts += ["smooth"] if attack.smooth else []
    parts += [f"{attack.gradient} gradient"] if attack.gradient else []
    return ", ".join(parts) or None


def _lambda(record: Record) -> float | str | None:
    """The lambda of the cell, with its rule; mean and standard deviation where it is chosen per image."""
    inference, metrics = record.inference, record.metrics
    if inference.rule is None:
        return inference.lambda_
    by = f"by the {inference.rule.split('/')[1]} fit"
    if {"lambda_mean", "lambda_std"} <= metrics.keys():
        return f"{metrics['lambda_mean']:.3g} ± {metrics['lambda_std']:.2g} per image {by}"
    return f"per image {by}" if inference.lambda_ is None else f"{inference.lambda_:.4g} {by}"
