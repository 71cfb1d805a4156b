import zipfile
from io import BytesIO

import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTableError


def table_of(exports):
    folder = next((exports / "syne_tune").iterdir())
    with zipfile.ZipFile(folder / "results.csv.zip") as packed:
        return pd.read_csv(BytesIO(packed.read(packed.namelist()[0])))


def test_ranges_curves_and_stopped_trials_are_syne_tunes_own(exports, read, spaces):
    found = read("syne-tune", exports / "syne_tune")
    assert (found.metric, found.direction) == ("val_acc", "max")
    assert found.frame["task_id"].unique().tolist() == ["iris"]  # without the moment in the folder's name
    assert found.left_out == {"epochs": "constant: 4"}
    space = spaces(found)
    assert (space["lr"]["low"], space["lr"]["high"], space["lr"]["log"]) == (1e-5, 1e-1, True)
    assert (space["width"]["type"], space["width"]["low"], space["width"]["high"]) == ("int", 8, 128)
    assert space["opt"]["choices"] == ["sgd", "adam"]
    epochs = table_of(exports).groupby("trial_id", sort=False)["epoch"].max()
    assert found.frame["status"].tolist() == ["ok" if epoch == 4 else "stopped" for epoch in epochs]
    assert [len(curve) for curve in found.frame["learning_curve"]] == [e if e > 1 else 0 for e in epochs]


def test_the_table_of_reports_is_read_as_one_line_an_epoch(exports, read):
    table = table_of(exports)
    found = read("syne-tune", table, metric="val_acc", mode="max", task="name:iris")
    assert len(found.frame) == table["trial_id"].nunique()
    assert found.kept == read("syne-tune", exports / "syne_tune").kept


def test_a_damaged_zip_is_named(tmp_path, read):
    (tmp_path / "results.csv.zip").write_bytes(b"PK no zip")
    with pytest.raises(InvalidTableError, match="Expected a whole"):
        read("syne-tune", tmp_path)
