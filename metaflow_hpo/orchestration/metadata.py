"""Turn what a step reports into Dagster metadata: tables, plots, numbers."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_ROWS = 400


def show_table(frame: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """Return a table as Markdown, which the UI renders; numbers with four digits."""
    shown = frame.head(_MAX_ROWS)
    header = "| " + " | ".join(map(str, shown.columns)) + " |"
    rule = "|" + "---|" * len(shown.columns)
    rows = ["| " + " | ".join(_cell(value) for value in row) + " |" for row in shown.itertuples(index=False)]
    return dg.MetadataValue.md("\n".join([header, rule, *rows]))


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value).replace("|", "/")


def show_image(path: Path) -> dg.MarkdownMetadataValue:
    """Return a PNG file as an image inside Markdown."""
    return show_png(path.read_bytes())


def show_figure(figure: "Figure") -> dg.MarkdownMetadataValue:
    """Return a matplotlib figure as an image inside Markdown."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return show_png(buffer.getvalue())


def show_png(png: bytes) -> dg.MarkdownMetadataValue:
    """Return a PNG image inside Markdown."""
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})")


def show_task(shown: bytes | str | None) -> dict[str, dg.MarkdownMetadataValue]:
    """Return what a modality shows of a task, a PNG image or Markdown; nothing where it shows nothing."""
    if shown is None:
        return {}
    return {"task": show_png(shown) if isinstance(shown, bytes) else dg.MetadataValue.md(shown)}


def keep_plain(report: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of a report that are single numbers, texts or flags."""
    return {name: value for name, value in report.items() if isinstance(value, int | float | str | bool)}
