from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.modality import Showing
from metaflow_hpo.modalities.text.modality import TEXT_MODALITY


def test_texts_are_shown_by_class_and_mean_nothing_in_markdown(tmp_path: Path) -> None:
    texts = [f"<script>{n}</script> *b* [x](y) line\\nbreak {'long ' * 100}" for n in range(40)]
    pd.DataFrame({"text": texts, "label": ["a_b", "c"] * 20}).to_parquet(tmp_path / "my.parquet")
    data = TEXT_MODALITY.read(tmp_path / "my.parquet", Hints())
    assert isinstance(TEXT_MODALITY, Showing)
    shown = TEXT_MODALITY.show(data)
    assert [line for line in shown.splitlines() if line.startswith("**")] == ["**a\\_b**", "**c**"]
    assert sum(line.startswith("- ") for line in shown.splitlines()) == 6
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "\\[x\\]\\(y\\)" in shown
    assert all(len(line) < 300 for line in shown.splitlines())


def test_test_items_are_not_shown(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": [f"words {n} and more" for n in range(40)], "label": ["a", "c"] * 20})
    frame.to_parquet(tmp_path / "my.parquet")
    data = TEXT_MODALITY.read(tmp_path / "my.parquet", Hints())
    items = np.where(data.is_test, "hidden", data.items).astype(object)
    assert "hidden" not in TEXT_MODALITY.show(replace(data, items=items))
