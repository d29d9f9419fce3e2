"""The network architectures, by name.

A backbone is a function `(num_classes: int, *, mean, std, **options) -> nn.Module`. The module maps images
`(N, 3, H, W)` in [0, 1] to logits `(N, num_classes)`, normalises its input with the given mean and standard deviation
per channel, is deterministic in eval mode, and passes gradients to its input in eval mode too. A module with work
after every step of the optimiser is a `HasAfterStep`. A plugin adds a backbone as an entry point of the group
`sdnet_bench.backbones`; a name with a colon is a network of a library or a file, see `external`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..doors import opening

if TYPE_CHECKING:
    from .assembly import HasAfterStep, build, count_parameters, normalization, put_csc_stem
    from .external import External, Published, parse, published
    from .mdeq import Convergence, ConvergenceMeter, convergence, equilibria
    from .normalize import Normalize
    from .registry import BACKBONES, accepted, csc_stem_options, defaults, is_code, is_external
else:
    __getattr__ = opening(
        __name__,
        {
            ".assembly": ("HasAfterStep", "build", "count_parameters", "normalization", "put_csc_stem"),
            ".external": ("External", "Published", "parse", "published"),
            ".mdeq": ("Convergence", "ConvergenceMeter", "convergence", "equilibria"),
            ".normalize": ("Normalize",),
            ".registry": ("BACKBONES", "accepted", "csc_stem_options", "defaults", "is_code", "is_external"),
        },
    )

__all__ = ["HasAfterStep", "build", "count_parameters", "normalization", "put_csc_stem"]
__all__ += ["External", "Published", "parse", "published"]
__all__ += ["Convergence", "ConvergenceMeter", "convergence", "equilibria"]
__all__ += ["Normalize"]
__all__ += ["BACKBONES", "accepted", "csc_stem_options", "defaults", "is_code", "is_external"]
