"""The figures of a card, in a model's folder; `test_models_command` has those of an SDNet."""

from __future__ import annotations

from sdnet_bench.report.pictures import illustrate
from sdnet_bench.studies.workbench import Workbench


def test_a_network_without_codes_has_nothing_to_draw(resnet: Workbench) -> None:
    assert illustrate(resnet) == []
