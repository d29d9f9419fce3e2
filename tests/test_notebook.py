"""The notebook of `examples/` runs from top to bottom, on some of its digits."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_network.py"
ALL, FEWER = "slice(0, 300), slice(300, None)", "slice(0, 100), slice(300, 620)"
"""The test and the training images, and enough of them."""


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    jupytext, nbclient = pytest.importorskip("jupytext"), pytest.importorskip("nbclient")
    source = EXAMPLE.read_text(encoding="utf-8")
    assert ALL in source
    notebook = jupytext.reads(source.replace(ALL, FEWER), "py:percent")
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": tmp_path}}).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = [kind for output in shown for kind in output.get("data", {})]
    assert kinds.count("text/html") >= 7  # tables
    assert kinds.count("image/png") == 1  # the figure
    assert [output for output in shown if output.get("name") == "stderr"] == []
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
