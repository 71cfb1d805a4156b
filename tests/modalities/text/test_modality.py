from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.text.meta_features import TEXT_GROUP
from metaflow_hpo.modalities.text.modality import TEXT_MODALITY
from metaflow_hpo.testing import check_meta_features, check_modality

WORDS = ("film", "was", "good", "bad", "awful", "great", "nice", "terrible", "plot", "actor", "music", "and", "very")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 6)) + (" love" if n % 2 else " hate") for n in range(80)]
    table = pd.DataFrame({"review": texts, "label": ["pos" if n % 2 else "neg" for n in range(80)]})
    table.to_csv(tmp_path / "my.csv", index=False)
    return tmp_path / "my.csv"


def test_it_keeps_the_contract_of_a_modality(source: Path) -> None:
    check_modality(TEXT_MODALITY, source)


def test_its_group_keeps_the_contract_of_meta_features(source: Path) -> None:
    check_meta_features(TEXT_GROUP, TEXT_MODALITY.read(source, Hints()))


def test_what_is_saved_is_loaded_text_by_text(tmp_path: Path) -> None:
    signs = ["\U0001f600", "\u0e2a\u0e27\u0e31", "caf\u00e9", "<b>", "", "a\nb", "\u202e", "\u0939\u093f"]
    table = pd.DataFrame({"text": [f"{sign} {n}" for n, sign in enumerate(signs * 4)], "label": ["a", "b"] * 16})
    table.to_parquet(tmp_path / "my.parquet")
    data = TEXT_MODALITY.read(tmp_path / "my.parquet", Hints())
    TEXT_MODALITY.save(data, tmp_path / "task")
    loaded = TEXT_MODALITY.load(tmp_path / "task")
    assert loaded.items.tolist() == data.items.tolist()
    assert loaded.items.dtype == object
    assert loaded.task == data.task
