"""The figures of a card, in a model's folder."""

from __future__ import annotations

from collections.abc import Callable

from sdnet_bench.paper.results import Results
from sdnet_bench.report.card import card
from sdnet_bench.report.pictures import illustrate
from sdnet_bench.studies.accuracy import sweep_lambda
from sdnet_bench.studies.workbench import Workbench


def test_what_is_on_record_is_drawn_and_shown(sdnet: Workbench) -> None:
    sweep_lambda(sdnet, sdnet.images("test", 16), "gaussian", [3], [0.1, 0.5])
    paths = illustrate(sdnet, 16)
    written = {path.name for path in paths}
    assert written == {"figure2.png", "dictionary.png", "sparsity.png", "sparsity.csv", "examples.json"}
    assert {path.parent for path in paths} == {sdnet.folder}
    text = card(sdnet.folder, Results.read(sdnet.folder, sdnet.folder.parent))
    assert all(f"]({name})" in text for name in written if name.endswith(".png"))


def test_a_network_without_codes_has_nothing_to_draw(open_bench: Callable[[str], Workbench]) -> None:
    assert illustrate(open_bench("resnet18-tiny")) == []
