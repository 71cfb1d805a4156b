"""The network of pictures that `train` keeps: it predicts new files, and what a request sends, alike."""

import base64
import json

import numpy as np
import pandas as pd
import pytest
from mlflow import pyfunc
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations
from PIL import Image

from metaflow_hpo.actions.kept_network import predict_file
from metaflow_hpo.actions.own_trials import train_and_keep
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.settings import Settings

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow"),
]


def write_pictures(folder, count, bright, seed=0):
    """Write pictures of 8 x 8 pixels, dark or bright ones."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, bright])
    for number in range(count):
        pixels = rng.integers(0, 90, (8, 8)) + 150 * bright
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


def test_a_network_of_pictures_is_kept_and_predicts_files_and_requests_alike(tmp_path, tracking):
    write_pictures(tmp_path / "pictures" / "dark", 20, bright=0)
    write_pictures(tmp_path / "pictures" / "light", 20, bright=1)
    write_pictures(tmp_path / "new", 4, bright=1, seed=1)
    pipeline = Pipeline(Settings(data=tmp_path / "data", fidelity_epochs=4)).on("image")
    configuration = {**get_learner("cnn").space.default, "depth": 2, "width": 8}
    trial, kept = train_and_keep(pipeline, read_source(tmp_path / "pictures"), configuration)
    assert (trial.learner, trial.status, kept["name"]) == ("cnn", "ok", "metaflow_hpo_surrogate_pictures")

    predicted, notes = predict_file(pipeline, tmp_path / "new", kept["uri"])
    assert notes == ()
    assert predicted["item"].tolist() == ["0.png", "1.png", "2.png", "3.png"]
    assert set(predicted["prediction"]) == {"light"}
    assert list(predicted.columns) == ["item", "prediction", "probability_dark", "probability_light"]

    # Another size, another format, in colour.
    Image.new("RGB", (40, 30), (20, 10, 30)).save(tmp_path / "one.jpg")
    alone, _ = predict_file(pipeline, tmp_path / "one.jpg", kept["uri"])
    assert alone[["item", "prediction"]].to_numpy().tolist() == [["one.jpg", "dark"]]

    source = tracking.client().get_model_version_download_uri(kept["name"], str(kept["version"]))
    model = pyfunc.load_model(source)
    files = [base64.b64encode(path.read_bytes()).decode() for path in sorted((tmp_path / "new").iterdir())]
    body = json.dumps({"dataframe_records": [{"item": file} for file in files]})
    answer = invocations(body, "application/json", model, model.metadata.get_input_schema())
    served = pd.DataFrame(json.loads(answer.response)["predictions"])
    pd.testing.assert_frame_equal(served, predicted.drop(columns="item"), check_dtype=False)
    for wrong in ({"picture": files[0]}, {"item": base64.b64encode(b"no picture").decode()}):
        with pytest.raises(MlflowException) as caught:
            model.predict(pd.DataFrame([wrong]))
        assert caught.value.get_http_status_code() == 400
