"""Names to parts: our own, those of plugins, and plugins that do not load."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from sdnet_bench import registry as registry_module
from sdnet_bench.errors import UnknownNameError
from sdnet_bench.registry import Registry


class Point:
    """An entry point of the distribution `some-plugin`, that loads `part` or raises it."""

    dist = SimpleNamespace(name="some-plugin")

    def __init__(self, name: str, part: object) -> None:
        self.name, self.part, self.loads = name, part, 0

    def load(self) -> object:
        self.loads += 1
        if isinstance(self.part, BaseException):
            raise self.part
        return self.part


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Point]]:
    """What is installed for the group of shapes; tests append to it before the first look-up."""
    installed: list[Point] = []
    monkeypatch.setattr(
        registry_module, "entry_points", lambda group: installed if group == "sdnet_bench.shapes" else []
    )
    return installed


@pytest.fixture
def shapes(points: list[Point]) -> Registry[object]:
    registry: Registry[object] = Registry("shape")
    registry.register("circle")("a circle")
    registry.register("square")("a square")
    return registry


def test_a_registered_part_is_found_by_name(shapes: Registry[object]) -> None:
    assert shapes["circle"] == "a circle"


def test_registering_gives_the_part_back() -> None:
    @Registry("shape").register("triangle")
    def triangle() -> int:
        return 3

    assert triangle() == 3


def test_names_are_sorted(shapes: Registry[object], points: list[Point]) -> None:
    points.append(Point("ellipse", "an ellipse"))
    assert list(shapes) == ["circle", "ellipse", "square"]


def test_a_taken_name_is_refused_and_keeps_its_part(shapes: Registry[object]) -> None:
    with pytest.raises(ValueError, match="shape 'circle' is registered twice"):
        shapes.register("circle")("another circle")
    assert shapes["circle"] == "a circle"


def test_an_unknown_name_gets_the_nearest_one(shapes: Registry[object]) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown shape 'sqare'\. Did you mean 'square'\?"):
        shapes["sqare"]


def test_a_name_like_no_other_gets_all_names(shapes: Registry[object]) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown shape 'xyz'\. Known: circle, square\."):
        shapes["xyz"]


def test_an_unknown_name_is_not_contained(shapes: Registry[object]) -> None:
    assert "xyz" not in shapes


def test_get_gives_its_default_for_an_unknown_name(shapes: Registry[object]) -> None:
    assert shapes.get("xyz", "nothing") == "nothing"


def test_a_plugin_is_found_by_name(shapes: Registry[object], points: list[Point]) -> None:
    points.append(Point("ellipse", "an ellipse"))
    assert "ellipse" in shapes
    assert shapes["ellipse"] == "an ellipse"
    assert len(shapes) == 3


def test_a_plugin_is_suggested(shapes: Registry[object], points: list[Point]) -> None:
    points.append(Point("ellipse", "an ellipse"))
    with pytest.raises(UnknownNameError, match="Did you mean 'ellipse'"):
        shapes["elipse"]


def test_a_plugin_loads_once_and_only_when_it_is_looked_up(shapes: Registry[object], points: list[Point]) -> None:
    points.append(Point("ellipse", "an ellipse"))
    assert list(shapes)
    assert points[0].loads == 0
    assert shapes["ellipse"] == shapes["ellipse"]
    assert points[0].loads == 1


def test_our_own_part_comes_before_a_plugin_of_its_name(shapes: Registry[object], points: list[Point]) -> None:
    points.append(Point("circle", "a foreign circle"))
    assert shapes["circle"] == "a circle"


@pytest.mark.parametrize("failure", [ImportError("no module named 'cairo'"), SystemExit(3), RuntimeError()])
def test_a_broken_plugin_is_one_warning_that_names_its_distribution(
    shapes: Registry[object], points: list[Point], failure: BaseException
) -> None:
    points.append(Point("ellipse", failure))
    with (
        pytest.warns(UserWarning, match="plugin 'ellipse' of some-plugin does not load") as caught,
        pytest.raises(UnknownNameError),
    ):
        shapes["ellipse"]
    assert len(caught) == 1


def test_a_broken_plugin_warns_once(shapes: Registry[object], points: list[Point]) -> None:
    points.append(Point("ellipse", ImportError()))
    with pytest.warns(UserWarning, match="does not load"), pytest.raises(UnknownNameError):
        shapes["ellipse"]
    with pytest.raises(UnknownNameError):
        shapes["ellipse"]


def test_the_rest_works_beside_a_broken_plugin(shapes: Registry[object], points: list[Point]) -> None:
    points += [Point("ellipse", ImportError()), Point("star", "a star")]
    with pytest.warns(UserWarning, match="does not load"), pytest.raises(UnknownNameError):
        shapes["ellipse"]
    assert list(shapes) == ["circle", "square", "star"]
    assert shapes["star"] == "a star"


def test_an_entry_point_without_a_distribution_can_break_too(shapes: Registry[object], points: list[object]) -> None:
    points.append(EntryPoint("ellipse", "no_such_module:ellipse", "sdnet_bench.shapes"))
    with pytest.warns(UserWarning, match="of an unknown distribution"), pytest.raises(UnknownNameError):
        shapes["ellipse"]


def test_an_installed_entry_point_is_loaded(shapes: Registry[object], points: list[object]) -> None:
    points.append(EntryPoint("pi", "math:pi", "sdnet_bench.shapes"))
    assert shapes["pi"] == pytest.approx(3.14159, abs=1e-5)
