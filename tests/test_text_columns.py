"""Text is read alike by every pandas that is allowed: `make test-oldest` runs this with the oldest one."""

import pandas as pd
import pytest

from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.text_columns import STR, is_text, with_text


def test_what_is_missing_stays_missing_in_text():
    text = pd.Series(["a", None, float("nan"), " b "], dtype=object).astype(STR).str.strip()
    assert text.isna().tolist() == [False, True, True, False]
    assert text.dropna().tolist() == ["a", "b"]
    assert is_text(text)


def test_only_columns_of_nothing_but_text_become_text():
    columns = {"word": ["a", None], "mixed": ["a", 1], "number": [1.0, 2.0], "nothing": [None, None]}
    table = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    table = table.astype({"number": "float64"})
    table.attrs["notes"] = ["said"]
    read = with_text(table)
    assert [name for name in read.columns if is_text(read[name])] == ["word"]
    assert read["mixed"].tolist() == ["a", 1]
    assert read.attrs == table.attrs


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_a_file_is_read_with_text_and_what_is_missing(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    table = pd.DataFrame({"word": ["a", None, "c"], "number": [1.5, 2.5, 3.5]})
    {"csv": table.to_csv, "parquet": table.to_parquet, "json": table.to_json}[ending](
        path, **({"orient": "records"} if ending == "json" else {"index": False})
    )
    read = read_table(path)
    assert is_text(read["word"])
    assert read["word"].isna().tolist() == [False, True, False]
    assert read["number"].dtype == "float64"
