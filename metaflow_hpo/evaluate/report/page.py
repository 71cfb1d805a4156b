"""Self-contained HTML pages: plots inside as SVG, a few lines of script that only sort and filter tables."""

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A plot, as the source of an image, with what one sees on it."""

    source: str
    caption: str

    @classmethod
    def of(cls, figure: "Figure", caption: str) -> "Picture":
        """Draw a figure, the same bytes each time."""
        import matplotlib as mpl

        buffer = io.BytesIO()
        with mpl.rc_context({"svg.hashsalt": "metaflow_hpo"}):
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return cls("data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode(), caption)


def render_page(template: str, **values: Any) -> str:
    """Return a template of this package filled with values, as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("metaflow_hpo.evaluate.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["number"] = format_number
    return environment.get_template(template).render(**values)


def format_number(value: Any, digits: int = 3) -> str:
    """Format a number for a cell; a missing one is a dash."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float) else f"{value}"
