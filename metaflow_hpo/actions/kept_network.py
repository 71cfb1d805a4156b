"""Keep the network that `train` trained: logged to its MLflow run and registered; and predict a person's rows with it.

It is registered under the name of the task, one version a training.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from metaflow_hpo.adapters.logged_model import NETWORK, fetch_surrogate, log_item_network, log_network
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.registered_files import check_fetched, tag_files
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.task import TaskData
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

_PATH_TAG = "source_path"
_ADDRESS = re.compile(r"(?:models:/)?([^/]+)/(\d+)")


def keep_network(
    pipeline: Pipeline, data: TaskData, trial: Trial, run_id: str, path: Path | None = None
) -> dict[str, Any] | None:
    """Register the refit of a trial on all training rows, whose test performance the trial reports.

    Args:
        pipeline: The surroundings.
        data: The task.
        trial: A trial of the task.
        run_id: The MLflow run of the trial.
        path: Where the data lie: the network of another file of the same name gets another name.

    Returns:
        `name, version, uri` of the registered model; None where there is no network: the trial failed, or another
        learner was trained.
    """
    if trial.status == "failed":
        return None
    client = pipeline.tracking.client()
    name = f"{pipeline.settings.model_name}_{data.task.task_id}"
    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as temporary:
        log = _save_network(pipeline, data, trial, Path(temporary))
        if log is None:
            return None
        name = _choose_name(client, name, path)
        files = tag_files(Path(temporary))
        model = log(client, Path(temporary), run_id=run_id, name=name)
    predicted = repr(data.task.target) if data.task.target else "the class"
    pipeline.tracking.ensure_registered(name, f"Predicts {predicted} of {data.task.source}.")
    if path is not None:
        client.set_registered_model_tag(name, _PATH_TAG, _show_path(path))
    tags = {"task_sha256": data.task.sha256, "configuration_id": trial.configuration_id, **files}
    created = client.create_model_version(
        name, source=model.artifact_location, run_id=run_id, model_id=model.model_id, tags=tags
    )
    return {"name": name, "version": int(created.version), "uri": f"models:/{name}/{created.version}"}


def _save_network(
    pipeline: Pipeline, data: TaskData, trial: Trial, folder: Path
) -> "Callable[..., LoggedModel] | None":
    """Train the network, save it and return what logs it; None where the learner keeps none, or it diverges."""
    if isinstance(data, TableData):
        return _save_of_rows(data, trial, folder)
    return _save_of_items(pipeline, data, trial, folder) if isinstance(data, ItemData) else None


def _save_of_rows(data: TableData, trial: Trial, folder: Path) -> "Callable[..., LoggedModel] | None":
    from metaflow_hpo.learners.trained_rows import KEPT, fit_network

    if trial.learner not in KEPT:
        return None
    network = fit_network(data, trial.learner, trial.configuration, seed=trial.seed, epochs=trial.fidelity)
    if network is None:
        return None
    network.save(folder)
    example = data.train_features[network.preprocessor.column_names].head(2)
    outputs = [str(column) for column in network.predict(example).columns]
    return partial(log_network, example=example, outputs=outputs)


def _save_of_items(
    pipeline: Pipeline, data: ItemData, trial: Trial, folder: Path
) -> "Callable[..., LoggedModel] | None":
    from metaflow_hpo.adapters.item_networks import fit_kept

    kept = fit_kept(pipeline.learner, data, trial)
    if kept is None:
        return None
    kept.save(folder)
    return log_item_network


def _choose_name(client: "MlflowClient", name: str, path: Path | None) -> str:
    """Return the name of the registered model; with a digest of the path where another file has the name."""
    from mlflow.exceptions import MlflowException

    if path is None:
        return name
    try:
        owner = client.get_registered_model(name).tags.get(_PATH_TAG)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return name
    shown = _show_path(path)
    return name if owner in (None, shown) else f"{name}_{hashlib.sha256(shown.encode()).hexdigest()[:8]}"


def _show_path(path: Path) -> str:
    return os.fsencode(path.resolve()).decode("utf-8", "backslashreplace")


class Predicted(NamedTuple):
    """Predictions of a file.

    Attributes:
        rows: One line a row, in the file's order: `prediction`, and `probability_<class>` for classification.
        notes: What was read in another way than in the training rows, or not at all.
    """

    rows: pd.DataFrame
    notes: tuple[str, ...]


def predict_file(pipeline: Pipeline, path: Path, model: str) -> Predicted:
    """Predict the rows of a file with a registered network, whatever separator or format the file has.

    Args:
        pipeline: The surroundings.
        path: A table, see `read_table`, with the columns of the table that was trained on; the target may be missing.
        model: `models:/NAME/VERSION`, as `train` says it.

    Raises:
        MetaflowHPOError: If there is no such model.
        InvalidTaskError: If the file cannot be read.
        InvalidTableError: If a column is missing, or nothing in it can be read.
    """
    from metaflow_hpo.adapters.item_networks import FORM_FILE, KeptItemNetwork
    from metaflow_hpo.learners.trained_rows import TrainedNetwork
    from metaflow_hpo.modalities.table.conform import conform_rows
    from metaflow_hpo.modalities.table.files.tables import read_table

    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as temporary:
        folder = _download(pipeline, model, temporary)
        if (folder / FORM_FILE).is_file():
            return Predicted(KeptItemNetwork.load(folder).predict_file(path), ())
        network = TrainedNetwork.load(folder)
    columns = network.columns
    # As in the training rows, and not as a few rows may look: `1.234` as written, `007` as text.
    as_written = [column.name for column in columns if not column.is_numeric or column.style is not None]
    rows = read_table(
        path,
        names=[column.name for column in columns],
        as_written=as_written,
        min_columns=min(2, len(columns)),
        reads_commas=False,
        settles_words=False,
    )
    conformed = conform_rows(rows, columns, decimal_comma=rows.attrs.get("decimal_comma", False))
    return Predicted(network.predict(conformed.features), (*rows.attrs.get("notes", ()), *conformed.notes))


def _download(pipeline: Pipeline, model: str, folder: str) -> Path:
    from mlflow.exceptions import MlflowException

    found, server = _ADDRESS.fullmatch(model), pipeline.tracking.tracking_uri
    if found is None:
        raise MetaflowHPOError(f"Expected models:/NAME/VERSION, as `metaflow-hpo train` says it; got {model!r}.")
    try:
        client = pipeline.tracking.client()
        source = pipeline.tracking.find_artifact(client.get_model_version_download_uri(found[1], found[2]))
        tags = client.get_model_version(found[1], found[2]).tags
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise MetaflowHPOError(
            f"Expected a network in {pipeline.tracking.address}; there is no {model}. "
            "Train it with `metaflow-hpo train`, which says its name."
        ) from error
    target = Path(folder, NETWORK)
    try:
        fetch_surrogate(server, source, target, model, NETWORK)
    except (MlflowException, OSError) as error:
        raise MetaflowHPOError(
            f"Expected {model} to hold a network that `metaflow-hpo train` trained; found none ({error})."
        ) from error
    check_fetched(target, tags, model, "Train it again with `metaflow-hpo train`.")
    return target
