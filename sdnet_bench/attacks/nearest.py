"""The minimum-norm attacks of foolbox, which is an extra."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch import Tensor

from ..errors import UsageError, reason
from .victim import Victim


def foolbox() -> ModuleType:
    """The module foolbox; a `UsageError` where it does not load: it is not installed, or git is not."""
    try:
        import foolbox as library
    except ImportError as error:
        hint = 'Install it with `pip install "sdnet-bench[minimum-norm]"`.'
        raise UsageError(f"foolbox, which has this attack, does not load: {reason(error)}", hint=hint) from None
    found: ModuleType = library
    return found


def nearest(attack: Any, victim: Victim, images: Tensor, labels: Tensor) -> Tensor:
    """The nearest iterates that fooled the victim, `(N, 3, H, W)`; the clean image where none did.

    To foolbox any lead of a wrong class is enough, however small; the victim asks for more than rounding errors.
    """
    attack.run(foolbox().PyTorchModel(victim.eval(), bounds=(0, 1), device=images.device), images, labels)
    return victim.adversarial
