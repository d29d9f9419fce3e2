"""sdnet-bench: train SDNets, tune their sparsity at test time, attack them, report beside the paper.

    bench = sdnet_bench.Bench(net, data=(images, labels))
    bench.evaluate("gaussian", severity=[1, 3, 5])

Reference: Dai et al., "Revisiting Sparse Convolutional Model for Visual Recognition", NeurIPS 2022.
"""

import lazy_loader

from .version import __version__ as __version__

# nothing of the stub, torch least of all, is imported before it is needed
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
