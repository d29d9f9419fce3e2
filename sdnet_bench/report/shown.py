"""A figure that a notebook shows, without a backend and without `pyplot`."""

from __future__ import annotations

from io import BytesIO

from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine


class ShownFigure(Figure):
    """A figure of matplotlib that shows itself in a notebook."""

    def draw(self, renderer: RendererBase) -> None:
        """Draws it. Where it is saved, matplotlib draws it once in vain for the layout, which is made alone here."""
        layout = self.get_layout_engine()
        if self.canvas.is_saving() and isinstance(layout, ConstrainedLayoutEngine):
            layout.execute(self)
        else:
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        content = BytesIO()
        self.savefig(content, format="png", dpi=110)
        return content.getvalue()
