"""New texts are read from the columns that were trained on, whatever else stands beside them."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.modalities.text.modality import TEXT_MODALITY

WORDS = ["the boat is late today", "good bread and butter", "it rains in the north", "we walk home alone"]
FRAME = pd.DataFrame(
    {
        "summary": [f"{WORDS[n % 4]} for the {n}th time" for n in range(60)],
        "text": [f"and of the rest there is {n} to say, which nobody reads to its end" for n in range(60)],
        "mood": ["up", "down"] * 30,
    }
)


def form_after(tmp_path: Path, texts: str | list[str]) -> dict[str, Any]:
    FRAME.to_csv(tmp_path / "own.csv", index=False)
    data = read_source(tmp_path / "own.csv", "mood", modality="text", options={"text": texts})
    assert isinstance(data, ItemData)
    TEXT_MODALITY.save(data, tmp_path / "kept")
    return TEXT_MODALITY.form(TEXT_MODALITY.load(tmp_path / "kept"))


@pytest.mark.parametrize("way", ["as it was", "reordered", "without classes", "wider", "parquet", "lines"])
def test_the_column_that_was_trained_on_is_read_and_no_other(tmp_path: Path, way: str) -> None:
    form, new, path = form_after(tmp_path, "summary"), FRAME, tmp_path / "new.csv"
    match way:
        case "reordered":
            new = FRAME[["mood", "text", "summary"]]
        case "without classes":
            new = FRAME.drop(columns="mood")
        case "wider":
            new = FRAME.assign(message="a longer text that is called as texts usually are, but was not trained on")
    if way == "parquet":
        new.to_parquet(path := tmp_path / "new.parquet")
    elif way == "lines":
        new.to_json(path := tmp_path / "new.jsonl", orient="records", lines=True)
    else:
        new.to_csv(path, index=False)
    assert TEXT_MODALITY.read_new(path, form).arrays.tolist() == FRAME["summary"].tolist()


def test_columns_that_were_joined_are_joined_again(tmp_path: Path) -> None:
    form = form_after(tmp_path, ["text", "summary"])
    FRAME[["summary", "text"]].to_csv(tmp_path / "new.csv", index=False)
    expected = (FRAME["text"] + "\n" + FRAME["summary"]).tolist()
    assert TEXT_MODALITY.read_new(tmp_path / "new.csv", form).arrays.tolist() == expected


@pytest.mark.parametrize("name", ["Summary", "review", "text"])
def test_a_renamed_column_is_refused_and_not_guessed(tmp_path: Path, name: str) -> None:
    form = form_after(tmp_path, "summary")
    FRAME[["summary", "mood"]].rename(columns={"summary": name}).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(InvalidTaskError, match=rf"Expected texts in 'summary' of new\.csv.*has '{name}', 'mood'"):
        TEXT_MODALITY.read_new(tmp_path / "new.csv", form)


@pytest.mark.parametrize("value", [None, 3, True, ["a"], {"text": "a"}])
def test_what_is_no_text_in_a_request_is_refused(value: object) -> None:
    with pytest.raises(InvalidTaskError, match="Expected a text as each item"):
        TEXT_MODALITY.take_new(["good", value], {"target": "mood"})
    assert TEXT_MODALITY.take_new(["good", ""], {"target": "mood"}).tolist() == ["good", ""]
