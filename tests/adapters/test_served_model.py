"""What MLflow itself makes of the champion: `mlflow.pyfunc.load_model`, behind the code of its scoring server."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import pyfunc
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations

from metaflow_hpo.adapters.registry import Registry
from metaflow_hpo.adapters.tracking import Tracking
from metaflow_hpo.recommender.recommender import Recommender

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow"),
]


def example_for(folder: Path) -> pd.DataFrame:
    return pd.DataFrame({name: [1.0] for name in Recommender.load(folder).meta_feature_names})


def promote(tracking: Tracking, folder: Path, cache: Path) -> Registry:
    registry = Registry(tracking, cache)
    with tracking.parent_run("surrogate", "s", {}) as run:
        version = registry.register_surrogate(folder, run_id=run.run_id, input_example=example_for(folder))
    registry.promote(version, "the first one")
    return registry


def test_the_served_champion_recommends_and_answers_400_to_what_it_cannot(
    tracking: Tracking, served_folder: Path, tmp_path: Path
) -> None:
    registry = promote(tracking, served_folder, tmp_path / "cache")
    row = example_for(served_folder).iloc[0].to_dict()
    first = next(iter(row))
    model = pyfunc.load_model(tracking.client().get_model_version_download_uri(registry.name, "1"))

    def post(body: bytes) -> dict[str, Any]:
        answer = invocations(body, "application/json", model, model.metadata.get_input_schema())
        assert answer.status == 200
        return json.loads(answer.response)

    def body(values: dict[str, Any], **more: Any) -> bytes:
        return json.dumps({"dataframe_records": [values], **more}).encode()

    malformed = {
        "missing column": (body({name: 1.0 for name in row if name != first}), "missing inputs"),
        "text": (body({**row, first: "abc"}), "Failed to convert column"),
        "a list": (body({**row, first: [1.0]}), "Failed to convert column"),
        "null": (body({**row, first: None}), first),
        "NaN": (body({**row, first: math.nan}), first),
        "infinite": (body({**row, first: math.inf}), first),
        "k of 0": (body(row, params={"k": 0}), "k must be a whole number from 1 to 50"),
        "k of 51": (body(row, params={"k": 51}), "k must be a whole number from 1 to 50"),
        "k null": (body(row, params={"k": None}), "k must be a whole number from 1 to 50"),
        "k text": (body(row, params={"k": "five"}), "Invalid parameters found"),
        "k of 2.5": (body(row, params={"k": 2.5}), "Invalid parameters found"),
        "params a list": (body(row, params=[5]), "must be a dictionary"),
        "no JSON": (b"hello", "valid JSON"),
        "no object": (b"[1]", "JSON dictionary"),
        "no input": (b"{}", "JSON dictionary"),
        "no task": (json.dumps({"dataframe_split": {"columns": list(row), "data": []}}).encode(), "1 to 1000 tasks"),
    }
    answer = post(body(row, params={"k": 2}))
    assert answer["predictions"] == [Recommender.load(registry.download("champion")).recommend(row, 2)]
    assert [item["rank"] for item in answer["predictions"][0]["recommendations"]] == [1, 2]
    answer = post(json.dumps({"dataframe_records": [row, row]}).encode())
    assert [len(item["recommendations"]) for item in answer["predictions"]] == [5, 5]
    # MLflow drops what the signature does not name before the model sees it; a misspelt name is a missing column.
    assert post(body({**row, "unknown": 1.0}, params={"k": 2}))["predictions"]
    for name, (request, message) in malformed.items():
        with pytest.raises(MlflowException) as caught:
            post(request)
        assert (name, caught.value.get_http_status_code()) == (name, 400)
        assert message in caught.value.message, name
