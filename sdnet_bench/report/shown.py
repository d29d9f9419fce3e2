"""A figure that a notebook shows, without a backend and without `pyplot`."""

from __future__ import annotations

from io import BytesIO

from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A figure of matplotlib that shows itself in a notebook."""

    def draw(self, renderer: RendererBase) -> None:
        """Draws it. To save it, matplotlib first draws it in vain, with a mute renderer: then it is laid out alone."""
        layout = self.get_layout_engine()
        if layout and self.canvas.is_saving() and "draw_path" in vars(renderer):
            layout.execute(self)
        else:
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        content = BytesIO()
        self.savefig(content, format="png", dpi=110)
        return content.getvalue()
