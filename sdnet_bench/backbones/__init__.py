"""The network architectures, by name.

A backbone is a function `(num_classes: int, *, mean, std, **options) -> nn.Module`. The module maps images
`(N, 3, H, W)` in [0, 1] to logits `(N, num_classes)`, normalises its input with the given mean and standard deviation
per channel, is deterministic in eval mode, and passes gradients to its input in eval mode too. A module with work
after every step of the optimiser is a `HasAfterStep`. A plugin adds a backbone as an entry point of the group
`sdnet_bench.backbones`; a name with a colon is a network of a library or a file, see `external`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
