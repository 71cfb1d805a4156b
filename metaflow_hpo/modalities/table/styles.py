"""How the values of a column were written, where that was for people: kept, so that new rows are read the same way."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from metaflow_hpo.modalities.table.written_dates import DateStyle
from metaflow_hpo.modalities.table.written_numbers import NumberStyle

Style = NumberStyle | DateStyle


def style_to_json(style: Style) -> dict[str, Any]:
    """Return a style as JSON-ready values; `style_from_json` inverts it."""
    return asdict(style)


def style_from_json(values: Mapping[str, Any]) -> Style:
    """Build a style from what `style_to_json` returned."""
    return DateStyle(**values) if "order" in values else NumberStyle(**values)
