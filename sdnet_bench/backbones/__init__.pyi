from .assembly import (
    HasAfterStep as HasAfterStep,
    build as build,
    count_parameters as count_parameters,
    normalization as normalization,
    put_csc_stem as put_csc_stem,
)
from .external import External as External, Published as Published, parse as parse, published as published
from .mdeq import (
    Convergence as Convergence,
    ConvergenceMeter as ConvergenceMeter,
    convergence as convergence,
    equilibria as equilibria,
)
from .normalize import Normalize as Normalize
from .registry import (
    BACKBONES as BACKBONES,
    accepted as accepted,
    csc_stem_options as csc_stem_options,
    defaults as defaults,
    is_code as is_code,
    is_external as is_external,
)
