"""The page of a report: what its file holds, and what it does in a browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sdnet_bench.config import MODELS
from sdnet_bench.paper.results import Results
from sdnet_bench.paper.tables import Table, build_tables
from sdnet_bench.records.statistics import show
from sdnet_bench.report.page import page, write_page

NAMES = ("resnet18-cifar10-small", "sdnet18-cifar10-small", "sdnet18_all-cifar10-small")
EVIL = "</script><img src=x onerror=alert(1)>"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

CONTRAST = """() => {
  const linear = (v) => v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = numbers(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
  };
  const texts = [...document.querySelectorAll("body *:not(script, style, option)")].filter((element) =>
    element.checkVisibility() && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return texts.map((element) => {
    const style = getComputedStyle(element), color = element.ownerSVGElement ? style.fill : style.color;
    const [one, other] = [light(numbers(color)), light(behind(element))].sort((one, other) => other - one);
    return [(one + 0.05) / (other + 0.05), element.textContent.slice(0, 30)];
  }).filter(([ratio]) => ratio < 4.5);
}"""
"""Texts with less contrast than 4.5."""


@pytest.fixture(scope="module")
def results() -> list[Results]:
    """Three shipped models; the last without examples."""
    found = [Results.read(MODELS / name, Path("nowhere")) for name in NAMES]
    return [*found[:-1], replace(found[-1], folders=())]


@pytest.fixture(scope="module")
def tables(results: list[Results]) -> list[Table]:
    return build_tables(results)


@pytest.fixture(scope="module")
def file(results: list[Results], tables: list[Table], tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = write_page(results, tables, tmp_path_factory.mktemp("page"))
    return path


class Tags(HTMLParser):
    """The tags of a page with their attributes, and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts.append(data)

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])


def test_the_file_is_small_and_needs_nothing_else(file: Path) -> None:
    assert file.stat().st_size < 5_000_000
    found = Tags(file.read_text(encoding="utf-8")).tags
    links = [value for _, of in found for name, value in of.items() if name in ("src", "href", "srcset", "action")]
    assert all(str(link).startswith("#") for link in links)
    assert "default-src 'none'" in str(found[3:6])


def test_every_number_of_the_tables_is_there_with_its_evidence(file: Path, tables: list[Table]) -> None:
    found = Tags(file.read_text(encoding="utf-8"))
    ledger = found.data["ledger"]
    opened = {int(of["data-at"] or 0) for _, of in found.tags if "data-at" in of}
    shown = {(entry["title"], entry["shown"]) for at, entry in enumerate(ledger["entries"]) if at in opened}
    for table in tables:
        for entry in [entry for entry in table.entries if entry.ours]:
            what = f"{table.title.partition(':')[0]}: {entry.row}, {entry.column}".replace("lambda_0", "λ₀")
            assert (f"{entry.model}, " + re.sub(r"\blambda\b", "λ", what), show(entry.ours)) in shown


def test_every_table_names_its_data_set_and_another_one_of_the_paper(file: Path, tables: list[Table]) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count('<p class="note">Ours on cifar10.') == len(tables)
    assert text.count("Ours on cifar10. The published figures are those of imagenet.") == 1  # Table 5
    assert page([], build_tables([])).count("Ours on digits. The published figures are those of cifar10.") == 5


def test_evidence_names_machine_seed_and_command(file: Path) -> None:
    ledger = Tags(file.read_text(encoding="utf-8")).data["ledger"]
    (clean,) = (each for each in ledger["entries"] if each["title"] == "sdnet18-cifar10-small, clean accuracy (%)")
    facts = dict(ledger["facts"][clean["of"][0]])
    assert facts["images"] == "10,000 test images of cifar10"
    assert (facts["seed"], facts["precision"], facts["device"]) == ("0", "bfloat16", "cpu x86_64")
    assert {"torch", "sdnet-bench", "commit", "measured", "records"} <= set(facts)
    assert ledger["commands"][clean["of"][1]] == ["sdnet-bench evaluate sdnet18-cifar10-small --precision bfloat16"]


def test_the_evidence_of_curves_is_that_of_their_points(file: Path, results: list[Results]) -> None:
    """Neither the sweep of the stem alone, nor a stream of mixed severity on as many images, is on them."""
    data = Tags(file.read_text(encoding="utf-8")).data
    named = {result.name: result for result in results}
    assert any(model["noises"] for model in data["models"])
    for model in data["models"]:
        for noise in model["noises"]:
            points = sum(len(line["points"]) for line in noise["lines"])
            entry = data["ledger"]["entries"][noise["evidence"]]
            assert entry["shown"] == f"{points} points"
            curves = named[model["name"]].sweep(noise["name"])
            assert [curve.points for curve in curves] == [[tuple(p) for p in line["points"]] for line in noise["lines"]]
            severities = ", ".join(f"{noise['name']} {severity}" for severity in range(1, 6))
            assert dict(data["ledger"]["facts"][entry["of"][0]])["corruption"] == severities


def test_differences_say_whether_they_lie_within_the_interval(file: Path, tables: list[Table]) -> None:
    text = file.read_text(encoding="utf-8").partition('<article id="cifar10-table2"')[2].partition("</article>")[0]
    entries = [entry for table in tables if table.name == "table2" for entry in table.entries]
    with_interval = [
        each for each in entries if each.difference is not None and each.ours and each.ours.low is not None
    ]
    within = [each for each in with_interval if abs(each.difference or 0) < 1]  # intervals are two points wide
    assert text.count("difference within") == len(within)
    assert text.count("difference beyond") == len(with_interval) - len(within)


def test_what_comes_from_files_is_escaped(results: list[Results]) -> None:
    evil = [replace(results[1], name=EVIL, source=EVIL)]
    text = page(evil, build_tables(evil))
    found = Tags(text)
    assert "img" not in {tag for tag, _ in found.tags}
    assert len([tag for tag, _ in found.tags if tag == "script"]) == text.count("</script>") == 2
    assert EVIL in {model["name"] for model in found.data["models"]}


def test_a_page_of_nothing_is_a_page() -> None:
    assert "Leaderboard" in page([], build_tables([]))


class Opened:
    """The page in a browser, with what went wrong."""

    def __init__(self, tab: Any, file: Path) -> None:
        self.tab, self.wrong = tab, list[str]()
        tab.on("console", lambda message: self.wrong.append(message.text) if message.type != "log" else None)
        tab.on("pageerror", lambda error: self.wrong.append(str(error)))
        tab.on(
            "request",
            lambda request: self.wrong.append(request.url) if not request.url.startswith(("file:", "data:")) else None,
        )
        tab.goto(file.as_uri())

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.tab.locator(selector).all_inner_texts()]

    def lambda_to(self, value: float) -> None:
        step = "(slider, at) => { slider.value = at; slider.dispatchEvent(new Event('input')) }"
        self.tab.locator("#lambda").evaluate(step, round(value * 10) - 1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if BROWSER is None:
        pytest.skip("no chromium is installed")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=BROWSER)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Opened]:
    with browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light") as context:
        opened = Opened(context.new_page(), file)
        yield opened
        assert opened.wrong == []


def test_a_header_sorts(opened: Opened) -> None:
    names, header = "#board tbody th", opened.tab.locator("#board thead th")
    assert opened.texts(names)[0].startswith("resnet18-cifar10-small")  # clean
    header.filter(has_text="As trained").locator("button").click()
    found = [float(text.split()[0]) for text in opened.texts("#board tbody td:nth-of-type(2)")]
    assert found == sorted(found, reverse=True)
    assert header.filter(has_text="As trained").get_attribute("aria-sort") == "descending"
    opened.tab.keyboard.press("Enter")
    assert [float(text.split()[0]) for text in opened.texts("#board tbody td:nth-of-type(2)")] == found[::-1]
    header.filter(has_text="Algorithm 1").locator("button").click()
    assert opened.texts(names)[-1].startswith("resnet18")  # which has none


def test_the_noise_of_the_leaderboard_changes(opened: Opened, results: list[Results]) -> None:
    opened.tab.locator("#noise").select_option("impulse")
    wanted = [result.mean("impulse") for result in results]
    found = [float(text.split()[0]) for text in opened.texts("#board tbody td:nth-of-type(2)")]
    assert sorted(found) == sorted(round(value.value, 1) for value in wanted if value)


def test_words_filter(opened: Opened) -> None:
    opened.tab.locator("#find").fill("SDNet18_all cifar10")
    rows = opened.tab.locator("#board tbody tr")
    assert [row.is_visible() for row in rows.all()].count(True) == 1
    assert opened.texts("#found") == ["1 of 3 models"]


def test_the_slider_moves_marker_values_and_images(opened: Opened, results: list[Results]) -> None:
    position = "tile => getComputedStyle(tile).backgroundPosition"
    seen = []
    for at in (0.1, 0.9):
        opened.lambda_to(at)
        tile = opened.tab.locator(".pictures tbody tr").nth(1).locator(".tile").nth(1)
        marker = opened.tab.locator("#noises .marker").get_attribute("x1")
        seen.append((marker, tile.evaluate(position), opened.texts("#lambda-value")))
        curves = [dict(curve.points) for curve in results[1].sweep("gaussian")]
        assert [float(text) for text in opened.texts("#noises .legend b")] == [round(curve[at], 1) for curve in curves]
    assert all(one != other for one, other in zip(*seen, strict=True))


def test_the_keyboard_drags_lambda_and_chooses_a_severity(opened: Opened) -> None:
    opened.tab.locator("#lambda").focus()
    opened.tab.keyboard.press("ArrowRight")
    assert opened.texts("#lambda-value") == ["0.2"]
    opened.tab.get_by_label("severity 3").focus()
    opened.tab.keyboard.press("ArrowDown")
    assert opened.texts(".pictures tbody th")[1] == "gaussian noise, severity 4"


def test_a_chart_is_dragged_over(opened: Opened) -> None:
    chart = opened.tab.locator("#attacks > svg")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    opened.tab.mouse.click(box["x"] + box["width"] * 406 / 480, box["y"] + 50)
    assert opened.texts("#lambda-value") == ["1.5"]


def test_a_model_without_images_shows_its_curves_alone(opened: Opened) -> None:
    opened.tab.locator("#model").select_option("sdnet18_all-cifar10-small")
    assert opened.tab.locator("#pictureless").is_visible()
    assert opened.texts("#pictureless code") == ["sdnet-bench visualize examples sdnet18_all-cifar10-small"]
    assert not opened.tab.locator("#pictures").is_visible()
    assert opened.tab.locator("#noises .line").count() > 0


def test_a_figure_opens_by_keyboard_and_closes_to_where_it_was(opened: Opened) -> None:
    figure = opened.tab.locator("#board button.figure").first
    figure.focus()
    opened.tab.keyboard.press("Enter")
    dialog = opened.tab.get_by_role("dialog")
    assert dialog.is_visible()
    assert "--precision bfloat16" in dialog.inner_text()
    opened.tab.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert figure.evaluate("figure => figure === document.activeElement")


def test_the_page_does_not_scroll_sideways_on_a_phone(opened: Opened) -> None:
    opened.tab.set_viewport_size({"width": 400, "height": 800})
    opened.tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert opened.tab.evaluate("document.documentElement.scrollWidth") == 400


def test_both_themes_have_contrast(opened: Opened) -> None:
    opened.tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    background = "getComputedStyle(document.body).backgroundColor"
    before = opened.tab.evaluate(background)
    assert opened.tab.evaluate(CONTRAST) == []
    opened.tab.locator("#theme").click()
    assert opened.tab.locator("#theme").get_attribute("aria-pressed") == "true"
    assert opened.tab.evaluate(background) != before
    assert opened.tab.evaluate(CONTRAST) == []


def test_a_hostile_name_is_text(browser: Any, results: list[Results], tmp_path: Path) -> None:
    evil = [replace(results[1], name=EVIL)]
    with browser.new_context() as context:
        opened = Opened(context.new_page(), write_page(evil, build_tables(evil), tmp_path)[0])
        opened.tab.locator("#board button.figure").first.click()
        assert EVIL in opened.texts("#evidence-title")[0]
        assert opened.wrong == []
