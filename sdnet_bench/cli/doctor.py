"""`sdnet-bench doctor`."""

from __future__ import annotations

from .setup import Setup, sharing
from .shared import show_findings


@sharing("data_dir", "runs_dir", "json")
def doctor(setup: Setup) -> None:
    """Check this machine: versions, devices, data, disk, and a self-test; exit status 1 where something fails."""
    from ..api.doctor import examine

    show_findings(examine(setup.data_dir, setup.runs_dir), "this machine", as_json=setup.json)
