"""The words of options: those that the package itself goes by."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from sdnet_bench import names
from sdnet_bench.conformance import REGISTRIES
from sdnet_bench.data.corruptions import PARTS
from sdnet_bench.engine.robust import SUITES
from sdnet_bench.engine.runtime import PRECISIONS
from sdnet_bench.paper.registry import STUDIES
from sdnet_bench.records import DEFAULT_EPS
from sdnet_bench.report.formats import FORMATS


def test_the_parts_that_are_completed_are_those_that_are_registered() -> None:
    assert {kind: set(parts) for kind, parts in names.PARTS.items()} == {
        registry.kind: set(registry.ours) for registry in REGISTRIES
    }


def test_a_plugin_is_named_without_being_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("tinycsc", "nowhere:tinycsc", "sdnet_bench.backbones")
    monkeypatch.setattr(names, "entry_points", lambda group: [point] if group == point.group else [])
    assert names.names_of("backbone") == [*names.PARTS["backbone"], "tinycsc"]


def test_words_of_options_are_those_of_the_package() -> None:
    assert set(names.PRECISIONS) == {"auto", *PRECISIONS}
    assert set(names.NORMS) == set(DEFAULT_EPS)
    assert set(names.STUDIES) == set(STUDIES)
    assert set(names.SUITES) == set(SUITES)
    assert tuple(FORMATS) == names.FORMATS
    assert set(names.GROUPS) == {"all", *PARTS}
    assert set(names.TRACKERS) >= set(LOGGER_TYPE_TO_CLASS)
