"""Names to parts: our own, those of plugins, and plugins that do not load."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from sdnet_bench import registry as registry_module
from sdnet_bench.errors import UnknownNameError
from sdnet_bench.registry import PluginWarning, Registry, check_call
from sdnet_bench.version import __version__


class Point:
    """An entry point that loads `part` or raises it."""

    def __init__(self, name: str, part: object, distribution: str = "some-plugin") -> None:
        self.name, self.part, self.loads = name, part, 0
        self.dist = SimpleNamespace(name=distribution, version="1.0")

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


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("sqare", r"unknown shape 'sqare'\. Did you mean 'square'\?"),
        ("xyz", r"unknown shape 'xyz'\. Known: circle, ellipse, square\."),
        ("elipse", "Did you mean 'ellipse'"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one_or_all(
    shapes: Registry[object], points: list[Point], name: str, answer: str
) -> None:
    points.append(Point("ellipse", "an ellipse"))
    assert name not in shapes
    assert shapes.get(name, "nothing") == "nothing"
    with pytest.raises(UnknownNameError, match=answer):
        shapes[name]


def test_a_plugin_loads_once_and_only_when_it_is_looked_up(shapes: Registry[object], points: list[Point]) -> None:
    points.append(Point("ellipse", "an ellipse"))
    assert list(shapes)
    assert (points[0].loads, len(shapes)) == (0, 3)
    assert "ellipse" in shapes
    assert shapes["ellipse"] == shapes["ellipse"] == "an ellipse"
    assert points[0].loads == 1


def test_our_own_part_comes_before_a_plugin_of_its_name(shapes: Registry[object], points: list[Point]) -> None:
    points.append(Point("circle", "a foreign circle"))
    with pytest.warns(PluginWarning, match=r"^shape 'circle' of some-plugin is left out: .* taken by sdnet-bench$"):
        assert shapes["circle"] == "a circle"
    assert points[0].loads == 0


def test_of_two_plugins_of_one_name_the_first_distribution_has_it(
    shapes: Registry[object], points: list[Point]
) -> None:
    points += [Point("star", "of b", "b-shapes"), Point("star", "of a", "a-shapes")]
    with pytest.warns(PluginWarning, match=r"'star' of b-shapes is left out: the name is taken by a-shapes"):
        assert shapes["star"] == "of a"


def test_a_name_that_means_something_else_is_taken(points: list[Point]) -> None:
    points.append(Point("all", "every shape"))
    with pytest.warns(PluginWarning, match="'all' of some-plugin is left out: the name is taken by sdnet-bench"):
        assert "all" not in Registry("shape", reserved=("all",))


@pytest.mark.parametrize("name", ["a star", "../star", "star:five", "-star", ""])
def test_a_plugin_whose_name_nobody_could_type_is_left_out(
    shapes: Registry[object], points: list[Point], name: str
) -> None:
    points.append(Point(name, "a star"))
    with pytest.warns(PluginWarning, match="expected a name of letters, digits, dots, dashes and underscores"):
        assert list(shapes) == ["circle", "square"]


def test_our_own_parts_are_known_from_those_of_plugins(shapes: Registry[object], points: list[Point]) -> None:
    points += [Point("ellipse", "an ellipse"), Point("star", ImportError())]
    assert shapes["ellipse"]
    assert shapes.ours == {"circle": "a circle", "square": "a square"}
    assert points[1].loads == 0


def test_the_listing_says_of_every_part_where_it_comes_from_and_how_it_is(
    shapes: Registry[object], points: list[Point]
) -> None:
    points += [Point("star", ImportError("no cairo")), Point("ellipse", "an ellipse"), Point("circle", "another")]
    with pytest.warns(PluginWarning) as caught:
        listed = {(part.name, part.distribution): part for part in shapes.listing()}
    assert len(caught) == 2
    ours, theirs = listed["circle", "sdnet-bench"], listed["ellipse", "some-plugin"]
    assert (ours.kind, ours.version, ours.state) == ("shape", __version__, "ok")
    assert (theirs.version, theirs.state) == ("1.0", "ok")
    assert listed["star", "some-plugin"].state == "does not load: ImportError: no cairo"
    assert listed["circle", "some-plugin"].state == "the name is taken by sdnet-bench"
    assert {part.name for part in shapes.rejected} == {"star", "circle"}


def test_what_a_plugin_prints_on_import_is_no_data(
    shapes: Registry[object], points: list[Point], capsys: pytest.CaptureFixture[str]
) -> None:
    class Loud(Point):
        def load(self) -> object:
            print("hello")  # noqa: T201
            return "a star"

    points.append(Loud("star", None))
    assert shapes["star"] == "a star"
    assert capsys.readouterr() == ("", "hello\n")


def test_a_process_that_another_one_started_leaves_warnings_to_that(
    shapes: Registry[object], points: list[Point], monkeypatch: pytest.MonkeyPatch
) -> None:
    points.append(Point("circle", "a foreign circle"))
    monkeypatch.setattr(registry_module.multiprocessing, "parent_process", lambda: "a process")  # type: ignore[attr-defined]
    assert shapes["circle"] == "a circle"
    assert len(shapes.rejected) == 1


def test_what_is_no_such_part_is_left_out_with_what_was_expected(points: list[Point]) -> None:
    points.append(Point("area", lambda width: width))
    registry: Registry[object] = Registry("shape", lambda part: check_call(part, "(width, height)", 1, 2))
    reason = r"expected a function \(width, height\), got \(width\): too many positional arguments"
    with pytest.warns(PluginWarning, match=reason), pytest.raises(UnknownNameError):
        registry["area"]


def test_our_own_parts_pass_the_same_check() -> None:
    with pytest.raises(TypeError, match=r"expected a function \(\), got 3: 3 is not a callable object"):
        Registry("shape", lambda part: check_call(part, "()")).register("three")(3)


def test_a_part_that_has_a_name_goes_by_it() -> None:
    with pytest.raises(TypeError, match="expected 'star' as its own name too, got 'sun'"):
        Registry("shape").register("star")(SimpleNamespace(name="sun"))


class Rude(BaseException):
    """No `Exception`, and no exit either."""


@pytest.mark.parametrize("failure", [ImportError("no module named 'cairo'"), SystemExit(3), RuntimeError(), Rude("no")])
def test_a_broken_plugin_is_one_warning_that_names_its_distribution(
    shapes: Registry[object], points: list[Point], failure: BaseException
) -> None:
    points.append(Point("ellipse", failure))
    with (
        pytest.warns(UserWarning, match="shape 'ellipse' of some-plugin is left out: does not load") as caught,
        pytest.raises(UnknownNameError),
    ):
        shapes["ellipse"]
    assert len(caught) == 1
    with pytest.raises(UnknownNameError):  # and no second warning
        shapes["ellipse"]


def test_the_rest_works_beside_a_broken_plugin(shapes: Registry[object], points: list[Point]) -> None:
    points += [Point("ellipse", ImportError()), Point("star", "a star")]
    with pytest.warns(UserWarning, match="does not load"), pytest.raises(UnknownNameError):
        shapes["ellipse"]
    assert "ellipse" not in shapes
    assert list(shapes) == ["circle", "square", "star"]
    assert shapes["star"] == "a star"


def test_an_entry_point_without_a_distribution_can_break_too(shapes: Registry[object], points: list[object]) -> None:
    points.append(EntryPoint("ellipse", "no_such_module:ellipse", "sdnet_bench.shapes"))
    with pytest.warns(UserWarning, match="of an unknown distribution"), pytest.raises(UnknownNameError):
        shapes["ellipse"]


def test_a_distribution_without_metadata_keeps_nobody_from_working(
    shapes: Registry[object], points: list[Point]
) -> None:
    points += [Point("star", "a star"), Point("ellipse", "an ellipse")]
    points[0].dist = SimpleNamespace(name=None, version=None)
    assert shapes["star"] == "a star"
    (star,) = [part for part in shapes.listing() if part.name == "star"]
    assert (star.distribution, star.version) == ("an unknown distribution", "")


def test_an_installed_entry_point_is_loaded(shapes: Registry[object], points: list[object]) -> None:
    points.append(EntryPoint("pi", "math:pi", "sdnet_bench.shapes"))
    assert shapes["pi"] == pytest.approx(3.14159, abs=1e-5)
