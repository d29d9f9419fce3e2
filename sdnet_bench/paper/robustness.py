"""What is on record of attacks on one model: accuracy by threat, by attack, and by what classifies.

All numbers of one `Robustness` are those of the same test images, attacked with one seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from ..records import CLEAN, PROTOCOLS, AttackSetting, Cell, InferenceChoice, Protocol, Record, Threat
from ..records.statistics import Value, best_lambda, mcnemar, share, show_p, standing

THREATS = {str(threat): threat for threat in (Threat("linf", 8 / 255), Threat("l2", 0.5))}
"""The paper's, by the names that its tables give them."""

CHOICES = ("trained", "tuned", "oracle", "adaptive")
"""How a judge was chosen: as in training; the lambda that is best against transferred images of the validation split,
or of the test split itself; the lambda of each image's own residual, by Algorithm 1."""

COLUMNS = ("transfer", "matched", "ensemble", "union", "clean")
"""What a judge meets. "matched" knows its judge: where that is a rule, it is the adaptive attack."""

CONTROLS = ("noise",)
"""What is recorded as an attack and is none."""


@dataclass(frozen=True, eq=False)
class Robustness:
    """A model under one threat."""

    attack: AttackSetting
    """The paper's: PGD, with the lambda that it is made at left open."""
    attacks: tuple[Record, ...]
    """By a protocol, on the same test images with one seed, under any threat."""
    tuning: tuple[Record, ...]
    """Of the paper's attack on validation images."""
    trained: float | None
    """lambda_0; None for a network without lambda."""
    rule: str | None = None
    """Robust inference with a lambda for each image; None where Algorithm 1 was not run."""

    @classmethod
    def find(
        cls, records: Iterable[Record], threat: Threat, trained: float | None, rule: str | None = None
    ) -> Robustness | None:
        """None where PGD under this threat is not on record.

        Of several PGDs those that lambda was tuned with come first, then those with the most images, then steps.
        """
        attacks = [record for record in records if _is_attacked(record.cell)]
        pgd = [record for record in attacks if _attack(record).threat.is_near(threat) and _attack(record).name == "pgd"]
        tested = [record for record in pgd if record.images.split == "test"]
        tuning = [record for record in pgd if record.images.split == "validation" and _is_made_at(record, trained)]
        tuned_with = {_attack(record).bare for record in tuning}
        found = _strongest([record for record in tested if _attack(record).bare in tuned_with] or tested)
        if found is None:
            return None
        return cls(
            attack=_attack(found).bare,
            attacks=tuple(record for record in attacks if record.cell.pairing == found.cell.pairing),
            tuning=_widest(record for record in tuning if _is_like(record, found)),
            trained=trained,
            rule=rule,
        )

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """Under this threat."""
        return tuple(record for record in self.attacks if _attack(record).threat.is_near(self.attack.threat))

    @cached_property
    def judges(self) -> dict[str, InferenceChoice]:
        """What classifies, by the `CHOICES`; what cannot be chosen yet is left out."""
        judges: dict[str, InferenceChoice] = {"trained": self.trained}
        if self.tuning:
            judges["tuned"] = best_lambda(self.tuning)
        transferred = [record for record in self._by("transfer") if record.inference.lambda_ is not None]
        if transferred:
            judges["oracle"] = best_lambda(transferred)
        if self.rule:
            judges["adaptive"] = self.rule
        return judges

    @property
    def lambdas(self) -> list[float]:
        """All that attacked images were classified at, ascending."""
        return sorted({record.inference.lambda_ for record in self.records if record.inference.lambda_ is not None})

    def value(self, column: str, choice: str) -> Value | None:
        """Accuracy (%) by one of the `COLUMNS` and one of the `CHOICES`; None where that is not on record."""
        return self.accuracy(column, self.judges[choice]) if choice in self.judges else None

    def accuracy(self, column: str, judge: InferenceChoice) -> Value | None:
        """Accuracy (%) of a judge by one of the `COLUMNS`; None where that is not on record.

        Where several records are of one kind an image has to stand in all of them.
        """
        if column == "clean":
            return self._clean(judge)
        if column == "union":
            return self._union(judge)
        if column == "matched" and isinstance(judge, str):
            return self._adaptive(judge)
        return standing([record for record in self._by(column) if record.inference.choice == judge])

    def against_lambda(self, column: str) -> list[tuple[float, Value]]:
        """Accuracy (%) by lambda, ascending; "union" is that of those attacks alone that every lambda has met."""
        find = self._common_union if column == "union" else lambda at: self.accuracy(column, at)
        return [(at, value) for at in self.lambdas if (value := find(at))]

    def _common_union(self, lambda_: float) -> Value | None:
        if not self._union(lambda_):
            return None
        return standing([record for kind, record in self._kinds(lambda_).items() if kind in self._common])

    @cached_property
    def _common(self) -> set[tuple[AttackSetting, str]]:
        """The attacks that every lambda has met for which there is a union."""
        return set.intersection(*(set(self._kinds(at)) for at in self.lambdas if self._union(at)))

    def _kinds(self, judge: InferenceChoice) -> dict[tuple[AttackSetting, str], Record]:
        """Attacks on a judge by what they are. Made and scored at lambda_0 one is transferred and matched at once."""
        found: dict[tuple[AttackSetting, str], Record] = {}
        for record in (record for record in self.records if record.inference.choice == judge):
            found[_attack(record).bare, str(record.cell.protocol)] = record
            if _is_made_at(record, self.trained):
                found[_attack(record).bare, "transfer"] = record
        return found

    def against_eps(self, judge: InferenceChoice) -> list[tuple[float, Value]]:
        """Accuracy (%) by the radius of matched PGD with as many steps and starts, ascending; at 0 that of clean
        images."""
        like = ("name", "norm", "steps", "restarts")
        found = {
            _attack(record).eps: standing([record])
            for record in self.attacks
            if record.inference.choice == judge
            and record.cell.protocol == "matched"
            and all(getattr(_attack(record), name) == getattr(self.attack, name) for name in like)
        }
        return [(eps, value) for eps, value in sorted({0.0: self._clean(judge), **found}.items()) if value]

    def members(self, judge: InferenceChoice) -> dict[str, list[Protocol]]:
        """What the union of a judge is made of: attacks by name, each with its protocols."""
        united = [record for record in self.records if record.inference.choice == judge]
        made = {(_attack(record).name, record.cell.protocol) for record in united}
        return {name: [by for by in PROTOCOLS if (name, by) in made] for name in sorted({name for name, _ in made})}

    def conditions(self) -> Iterator[str]:
        """The paper's attack, what the unions are made of, and what tuning gains against an attack that knows of it."""
        attack, first = self.attack, self.records[0]
        yield (
            f"{attack.threat}: {attack.name}, {attack.steps} steps of {attack.step_size:.4f}, "
            f"{attack.restarts} random start(s), {first.n:,} test images, {first.inference.precision}"
        )
        yield from self._unions()
        if "oracle" in self.judges:
            yield f"the oracle's lambda {self.judges['oracle']:g}"
        matched, transfer = self.value("matched", "tuned"), self.value("transfer", "tuned")
        p = mcnemar(matched, transfer) if matched and transfer else None
        if p is not None:
            yield f"p of matched against transfer after tuning {show_p(p)}"

    def _unions(self) -> Iterator[str]:
        """What the unions are made of, those of the same attacks together."""
        at: dict[str, list[str]] = {}
        for choice, judge in self.judges.items():
            if self._union(judge):
                members = ", ".join(f"{name} ({', '.join(by)})" for name, by in self.members(judge).items())
                at.setdefault(members, []).append(choice)
        for members, choices in at.items():
            where = f" ({', '.join(choices)})" if len(self.judges) > 1 else ""
            yield f"union{where} of {members}"

    def _by(self, protocol: str) -> list[Record]:
        """The paper's attack by a protocol. Made and scored at lambda_0 it is transferred and matched at once."""
        found = [record for record in self.records if _attack(record).bare == self.attack]
        if protocol == "transfer":
            return [record for record in found if _is_made_at(record, self.trained)]
        return [record for record in found if record.cell.protocol == protocol]

    def _adaptive(self, rule: str) -> Value | None:
        """For each image the worst of the attack with the gradient of the choice and the one without; both or None."""
        found = [record for record in self._by("adaptive") if record.inference.choice == rule]
        return standing(found) if {_attack(record).through for record in found} == {"attached", "detached"} else None

    def _union(self, judge: InferenceChoice) -> Value | None:
        """What stands against every attack; None while none of them knows the judge."""
        found = [record for record in self.records if record.inference.choice == judge]
        is_known = any(record.cell.is_white_box for record in found)
        return standing(found) if is_known else None

    def _clean(self, judge: InferenceChoice) -> Value | None:
        """On the images that were attacked, as they were."""
        found = next((record for record in self.records if record.inference.choice == judge), None)
        return share(~found.lost(CLEAN), [found]) if found else None


def _is_attacked(cell: Cell) -> bool:
    """Whether a cell is about an attack by one of the protocols, on the network as it was trained."""
    is_attack = cell.attack is not None and cell.attack.name not in CONTROLS
    return is_attack and cell.protocol is not None and cell.inference.steps is None and cell.images.corruption is None


def _attack(record: Record) -> AttackSetting:
    assert record.cell.attack
    return record.cell.attack


def _is_made_at(record: Record, lambda_: float | None) -> bool:
    return _attack(record).through is None and _attack(record).crafted_at == lambda_


def _is_like(record: Record, other: Record) -> bool:
    """Whether both are of one attack, with one seed and in one precision, whatever the images."""
    is_one_attack = _attack(record).bare == _attack(other).bare
    is_one_seed = record.images.seed == other.images.seed
    return is_one_attack and is_one_seed and record.inference.precision == other.inference.precision


def _strongest(records: Iterable[Record]) -> Record | None:
    """Of several groups that with the most images, then steps, then records."""
    found = list(records)
    sizes = Counter((_attack(record).bare, record.cell.pairing) for record in found)
    return max(
        found,
        key=lambda record: (
            record.n,
            _attack(record).steps * _attack(record).restarts,
            sizes[_attack(record).bare, record.cell.pairing],
        ),
        default=None,
    )


def _widest(records: Iterable[Record]) -> tuple[Record, ...]:
    """Those on the most images."""
    found = list(records)
    widest = max(found, key=lambda record: record.n, default=None)
    return tuple(record for record in found if widest and record.images == widest.images)
