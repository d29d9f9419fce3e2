"""An audit in the format of RobustBench: a JSON object `model_info` per network (Croce et al., 2021)."""

from __future__ import annotations

import re
from typing import Any

from ..records import show_eps
from . import Audit

PAPER = "Architecture of Dai et al., NeurIPS 2022, https://arxiv.org/abs/2210.12945; trained by sdnet-bench."
"""Source of an SDNet. The weights are not the paper's, so name, authors and venue are not set."""
TITLES = {"sdnet": "SDNet", "resnet": "ResNet", "scn": "SCN", "mdeq": "MDEQ"}


def model_info(audit: Audit) -> dict[str, Any]:
    """The keys and the spelling of RobustBench; accuracies are percent as text, with two decimals.

    clean_acc       at the tuned lambda
    autoattack_acc  left out where AutoAttack was not run
    external        accuracy under all attacks on record together
    unreliable      `Audit.unreliable`

    `reported`, the authors' own claim, is left out.
    """
    known = audit.accuracies
    standard = {} if known.autoattack is None else {"autoattack_acc": _text(known.autoattack)}
    return {
        "link": "",
        "name": audit.model,
        "authors": "",
        "venue": "N/A",
        "additional_data": False,
        "number_forward_passes": 1,
        "dataset": audit.dataset,
        "architecture": _architecture(audit),
        "eps": show_eps(audit.eps),
        "clean_acc": _text(known.clean),
        **standard,
        "external": _text(known.lowest),
        "footnote": " ".join(_footnote(audit)),
        "unreliable": audit.unreliable,
    }


def _architecture(audit: Audit) -> str:
    """The name of the architecture, such as "SDNet-18, width 16" for "sdnet18, width 16"."""
    family, rest = re.fullmatch(r"([a-z]*)(.*)", audit.architecture, re.DOTALL).groups()  # type: ignore[union-attr]
    return f"{TITLES[family]}{'-' if rest[:1].isdigit() else ''}{rest}" if family in TITLES else audit.architecture


def _footnote(audit: Audit) -> list[str]:
    known = audit.accuracies
    at = "" if audit.tuned_lambda is None else f" at lambda {audit.tuned_lambda:g}, tuned on validation images"
    said = [PAPER] if audit.architecture.startswith("sdnet") else []
    said.append(f"Threat model: {audit.norm.capitalize()}, eps {show_eps(audit.eps)}.")
    said.append(f"Measured on {audit.images} test images{at}, by sdnet-bench (weights {audit.weights[:12]}).")
    if known.transfer is not None:
        said.append(
            f"PGD on the network at lambda {audit.trained_lambda:g}, the protocol of the paper, leaves "
            f"{_text(known.transfer)} %: a transfer figure, no robust accuracy."
        )
    if known.autoattack is None:
        said.append("AutoAttack was not run.")
    said.append(f"External is what {known.attacks} runs of attacks together leave.")
    return [*said, f"Failed checks: {', '.join(audit.failed)}."] if audit.failed else said


def _text(percent: float) -> str:
    return f"{percent:.2f}"
