"""Tables as LaTeX: the paper's layout, nothing unescaped, and a document that compiles."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sdnet_bench.paper.tables import Entry, Table
from sdnet_bench.records.statistics import Value
from sdnet_bench.report.latex import escape, to_latex, write_latex

ENGINE = shutil.which("tectonic") or shutil.which("pdflatex")
NASTY = r"a_b&c%d$e#f{g}h~i^j\k<l>m|n"
ENTRIES = (
    Entry("ResNet-18", "1", 79.43, "mine", Value(79.2, 78.4, 80.0, 10_000), None),
    Entry("ResNet-18", "2", 56.17, "mine", None, "sdnet-bench evaluate mine"),
    Entry("ResNet-18", "1", 79.43, NASTY, Value(74.0, 73.0, 75.0, 500), None, remark="500 images"),
    Entry("ResNet-18", "2", 56.17, NASTY, Value(0.25), None),
    Entry("SCN", "1", 80.89, None, None, None),
    Entry("SCN", "2", 60.2, None, None, None),
    Entry("nobody's", "1", None, None, None, None),
    Entry("nobody's", "2", None, None, None, None),
)
TABLE = Table("table2", "Table 2: accuracy (%) at lambda_0", "cifar10", "cifar10", ENTRIES, ("mine: 50 %\nof it",))


def body(text: str) -> list[str]:
    """The lines between the rules."""
    lines = [line.strip() for line in text.splitlines()]
    return lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]


def test_each_row_has_the_line_of_the_paper_and_those_of_models() -> None:
    assert body(to_latex(TABLE)) == [
        r"ResNet-18 & paper & 79.43 & 56.17 \\",
        r"& mine & 79.2 {\scriptsize [78.4, 80.0]} & --- \\",
        rf"& {escape(NASTY)} (500 images) & 74.0 {{\scriptsize [73.0, 75.0]}} & 0.25 \\",
        r"\addlinespace",
        r"SCN & paper & 80.89 & 60.2 \\",
    ]


def test_caption_label_and_notes() -> None:
    text = to_latex(TABLE)
    assert r"\caption{Accuracy (\%) at $\lambda_0$. Ours on cifar10. Intervals are Wilson's at 95\,\%, over" in text
    assert "Ours on digits. The published figures are those of cifar10. I" in to_latex(replace(TABLE, dataset="digits"))
    assert r"\label{tab:cifar10-table2}" in text
    assert "\n% mine: 50 % of it\n" in text
    assert r"\begin{tabular}{llrr}" in text


def test_special_characters_are_escaped() -> None:
    assert escape(r"100 % of a_b \input{x}") == r"100 \% of a\_b \textbackslash{}input\{x\}"
    assert escape("lambda = 0.1, lambdas") == r"$\lambda$ = 0.1, lambdas"


@pytest.mark.skipif(ENGINE is None, reason="neither tectonic nor pdflatex is installed")
def test_a_document_with_the_table_compiles(tmp_path: Path) -> None:
    (path,) = write_latex([TABLE], tmp_path)
    parts = [r"\documentclass{article}", r"\usepackage{booktabs,graphicx}", r"\begin{document}"]
    document = [*parts, rf"\input{{{path.name}}}", r"\end{document}"]
    (tmp_path / "all.tex").write_text("\n".join(document), encoding="utf-8")
    options = [] if "tectonic" in str(ENGINE) else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run([str(ENGINE), *options, "all.tex"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "all.pdf").stat().st_size > 1000
