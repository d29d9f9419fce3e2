"""Records of attacks on one model: accuracy by threat, protocol and classifier.

A classifier is the model at a lambda or with a rule for lambda. All numbers of one `Robustness` are of the same test
images, attacked with one seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from ..records import CLEAN, PROTOCOLS, AttackSetting, Cell, InferenceChoice, Record, Threat, widening
from ..records.statistics import Value, best_lambda, mcnemar, share, show_p, standing

THREATS = {str(threat): threat for threat in (Threat("linf", 8 / 255), Threat("l2", 0.5))}
"""The paper's threat models by their names in tables."""

CHOICES = ("trained", "tuned", "oracle", "adaptive")
"""Classifiers by their choice of lambda: that of training; that of the best accuracy under transfer on validation
images (tuned) or test images (oracle); by Algorithm 1 for each image (adaptive)."""

COLUMNS = ("transfer", "matched", "ensemble", "union", "clean")
"""The attacks that a classifier is measured under. For a rule "matched" is the adaptive attack."""


@dataclass(frozen=True, eq=False)
class Robustness:
    """The robustness of a model under one threat."""

    attack: AttackSetting
    """The paper's attack, PGD, without the lambda at which it is made."""
    attacks: tuple[Record, ...]
    """Records of attacks by the protocols, on the same test images with one seed, under any threat."""
    tuning: tuple[Record, ...]
    """Records of the paper's attack on validation images."""
    trained: float | None
    """lambda_0; None for a network without lambda."""
    rule: str | None = None
    """The rule of robust inference with a lambda per image; None where Algorithm 1 was not run."""

    @classmethod
    def find(
        cls, records: Iterable[Record], threat: Threat, trained: float | None, rule: str | None = None
    ) -> Robustness | None:
        """The robustness under a threat; None where PGD under this threat is not on record.

        Of several PGDs the one with validation images is preferred, then the one with the most images, then steps.
        """
        attacks = [record for record in records if _is_attacked(record.cell)]
        pgd = [record for record in attacks if record.attack.threat.is_near(threat) and record.attack.name == "pgd"]
        tested = [record for record in pgd if record.images.split == "test"]
        tuning = [record for record in pgd if record.images.split == "validation" and _is_made_at(record, trained)]
        tuned_with = {record.attack.bare for record in tuning}
        found = _strongest([record for record in tested if record.attack.bare in tuned_with] or tested)
        if found is None:
            return None
        return cls(
            attack=found.attack.bare,
            attacks=tuple(record for record in attacks if record.cell.pairing == found.cell.pairing),
            tuning=_widest(record for record in tuning if _is_like(record, found)),
            trained=trained,
            rule=rule,
        )

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """The records under this threat; of minimum-norm attacks what they say at its radius."""
        return tuple(found for record in self.attacks if (found := record.under(self.attack.threat)))

    @cached_property
    def classifiers(self) -> dict[str, InferenceChoice]:
        """The classifiers by `CHOICES`, without those whose lambda is not known yet."""
        classifiers: dict[str, InferenceChoice] = {"trained": self.trained}
        if self.tuning:
            classifiers["tuned"] = best_lambda(self.tuning)
        transferred = [record for record in self._by("transfer") if record.inference.lambda_ is not None]
        if transferred:
            classifiers["oracle"] = best_lambda(transferred)
        if self.rule:
            classifiers["adaptive"] = self.rule
        return classifiers

    @property
    def lambdas(self) -> list[float]:
        """All lambdas at which attacked images were classified, ascending."""
        return sorted({record.inference.lambda_ for record in self.records if record.inference.lambda_ is not None})

    def value(self, column: str, choice: str) -> Value | None:
        """Accuracy (%) for one of the `COLUMNS` and one of the `CHOICES`; None where it is not on record."""
        return self.accuracy(column, self.classifiers[choice]) if choice in self.classifiers else None

    def accuracy(self, column: str, classifier: InferenceChoice) -> Value | None:
        """Accuracy (%) of a classifier for one of the `COLUMNS`; None where it is not on record.

        Where there are several records, images that are correct in all of them count.
        """
        if column == "clean":
            return self._clean(classifier)
        if column == "union":
            return self._union(classifier)
        if column == "matched" and isinstance(classifier, str):
            return self._adaptive(classifier)
        return standing([record for record in self._by(column) if record.inference.choice == classifier])

    def against_lambda(self, column: str) -> list[tuple[float, Value]]:
        """Accuracy (%) by lambda, ascending; "union" has only the attacks that are on record for every lambda."""
        values = self._common_unions() if column == "union" else {at: self.accuracy(column, at) for at in self.lambdas}
        return [(at, value) for at, value in values.items() if value]

    def _common_unions(self) -> dict[float, Value | None]:
        """Accuracy (%) by lambda under the attacks that are on record for every lambda with a union."""
        kinds = {at: self._kinds(at) for at in self.lambdas if self._union(at)}
        common = set.intersection(*map(set, kinds.values())) if kinds else set()
        return {
            at: standing([record for kind, record in found.items() if kind in common]) for at, found in kinds.items()
        }

    def _kinds(self, classifier: InferenceChoice) -> dict[tuple[AttackSetting, str], Record]:
        """Records of attacks on a classifier by attack and protocol. At lambda_0 transfer and matched are the same."""
        found: dict[tuple[AttackSetting, str], Record] = {}
        for record in self._on(classifier):
            found[record.attack.bare, str(record.cell.protocol)] = record
            if _is_made_at(record, self.trained):
                found[record.attack.bare, "transfer"] = record
        return found

    def against_eps(self, classifier: InferenceChoice) -> list[tuple[float, Value]]:
        """Accuracy (%) by radius under matched PGD with the same steps and restarts, ascending; at 0 clean accuracy.

        Where minimum-norm attacks are on record, also at each of RADII, by the images that are correct under all.
        """
        like, norm = ("name", "norm", "steps", "restarts"), self.attack.norm
        on = [each for each in self.attacks if each.inference.choice == classifier and each.cell.protocol == "matched"]
        nearest = [record for record in on if record.distances and record.attack.norm == norm]
        pgd = {
            record.attack.eps: record
            for record in on
            if all(getattr(record.attack, name) == getattr(self.attack, name) for name in like)
        }
        threats = [Threat(norm, eps) for eps in pgd] + (widening(self.attack.threat) if nearest else [])
        members = [*pgd.values(), *nearest]
        found = {
            threat.eps: standing([each for record in members if (each := record.under(threat))]) for threat in threats
        }
        return [(eps, value) for eps, value in sorted({0.0: self._clean(classifier), **found}.items()) if value]

    def members(self, classifier: InferenceChoice) -> str:
        """The attacks in the union of a classifier: "autoattack (matched), pgd (transfer, matched)"."""
        made = {(record.attack.name, record.cell.protocol) for record in self._on(classifier)}
        attacks = {name: [by for by in PROTOCOLS if (name, by) in made] for name in sorted({name for name, _ in made})}
        return ", ".join(f"{name} ({', '.join(by)})" for name, by in attacks.items())

    def conditions(self) -> Iterator[str]:
        """Sentences on the paper's attack, the members of the unions, and the gain of tuning under matched attacks."""
        attack, first = self.attack, self.records[0]
        yield (
            f"{attack.threat}: {attack.name}, {attack.steps} steps of {attack.step_size:.4f}, "
            f"{attack.restarts} random start(s), {first.n:,} test images, {first.inference.precision}"
        )
        yield from self._unions()
        if "oracle" in self.classifiers:
            yield f"the oracle's lambda {self.classifiers['oracle']:g}"
        matched, transfer = self.value("matched", "tuned"), self.value("transfer", "tuned")
        p = mcnemar(matched, transfer) if matched and transfer else None
        if p is not None:
            yield f"p of matched against transfer after tuning {show_p(p)}"

    def _unions(self) -> Iterator[str]:
        """Sentences on the members of the unions, equal unions together."""
        at: dict[str, list[str]] = {}
        for choice, classifier in self.classifiers.items():
            if self._union(classifier):
                at.setdefault(self.members(classifier), []).append(choice)
        for members, choices in at.items():
            where = f" ({', '.join(choices)})" if len(self.classifiers) > 1 else ""
            yield f"union{where} of {members}"

    def _on(self, classifier: InferenceChoice) -> list[Record]:
        """The records of attacks on a classifier under this threat."""
        return [record for record in self.records if record.inference.choice == classifier]

    def _by(self, protocol: str) -> list[Record]:
        """Records of the paper's attack by a protocol. At lambda_0 transfer and matched are the same."""
        found = [record for record in self.records if record.attack.bare == self.attack]
        if protocol == "transfer":
            return [record for record in found if _is_made_at(record, self.trained)]
        return [record for record in found if record.cell.protocol == protocol]

    def _adaptive(self, rule: str) -> Value | None:
        """Accuracy (%) under both adaptive attacks, with and without the rule's gradient; None unless both exist."""
        found = [record for record in self._by("adaptive") if record.inference.choice == rule]
        return standing(found) if {record.attack.through for record in found} == {"attached", "detached"} else None

    def _union(self, classifier: InferenceChoice) -> Value | None:
        """Accuracy (%) under all attacks; None unless one of them is matched or adaptive."""
        found = self._on(classifier)
        return standing(found) if any(record.cell.is_white_box for record in found) else None

    def _clean(self, classifier: InferenceChoice) -> Value | None:
        """Clean accuracy (%) on the attacked images, from a record of the paper's attack where there is one."""
        found = sorted(self._on(classifier), key=lambda record: record.attack.bare != self.attack)[:1]
        return share(~found[0].lost(CLEAN), found) if found else None


def _is_attacked(cell: Cell) -> bool:
    """Whether a cell is of an attack by one of the protocols, with the FISTA iterations of training."""
    is_attack = cell.attack is not None and cell.attack.name != "noise"  # a control, recorded like an attack
    return is_attack and cell.protocol is not None and cell.inference.steps is None and cell.images.corruption is None


def _is_made_at(record: Record, lambda_: float | None) -> bool:
    return record.attack.through is None and record.attack.crafted_at == lambda_


def _is_like(record: Record, other: Record) -> bool:
    """Whether both have the same attack, seed and precision; images may differ."""
    conditions = [(each.attack.bare, each.images.seed, each.inference.precision) for each in (record, other)]
    return conditions[0] == conditions[1]


def _strongest(records: Iterable[Record]) -> Record | None:
    """The attack whose records have the most images, then steps, then records."""
    found = [(record, (record.attack.bare, record.cell.pairing)) for record in records]
    sizes: Counter[object] = Counter(setting for _, setting in found)

    def strength(each: tuple[Record, tuple[AttackSetting, object]]) -> tuple[int, int, int]:
        record, setting = each
        return record.n, setting[0].steps * setting[0].restarts, sizes[setting]

    return max(found, key=strength, default=(None,))[0]


def _widest(records: Iterable[Record]) -> tuple[Record, ...]:
    """The records with the most images."""
    found = list(records)
    widest = max(found, key=lambda record: record.n, default=None)
    return tuple(record for record in found if widest and record.images == widest.images)
