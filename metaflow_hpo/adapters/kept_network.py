"""Keep the network that `train` trained: logged to its MLflow run and registered, ready to predict a person's rows.

The one thing to know: it is registered under the name of the task, one version a training.
"""

import tempfile
from pathlib import Path
from typing import Any

from metaflow_hpo.adapters.logged_model import log_network
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.task import TaskData
from metaflow_hpo.trial import Trial


def keep_network(pipeline: Pipeline, data: TaskData, trial: Trial, run_id: str) -> dict[str, Any] | None:
    """Register the refit of a trial on all training rows, whose test performance the trial reports.

    Args:
        pipeline: The surroundings.
        data: The task.
        trial: A trial of the `mlp`.
        run_id: The MLflow run of the trial.

    Returns:
        `name, version, uri` of the registered model; None where there is no network: the trial failed, or another
        learner was trained.
    """
    from metaflow_hpo.learners.trained import fit_network

    if trial.status == "failed" or trial.learner != "mlp":
        return None
    network = fit_network(data, trial.configuration, seed=trial.seed, epochs=trial.fidelity_epochs)
    if network is None:
        return None
    name, client = f"{pipeline.settings.model_name}_{data.task.task_id}", pipeline.tracking.client()
    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as temporary:
        network.save(Path(temporary))
        example = data.train_features[network.preprocessor.column_names].head(2)
        model = log_network(client, Path(temporary), run_id=run_id, name=name, example=example)
    pipeline.tracking.ensure_registered(name, f"Predicts {data.task.target!r} of {data.task.source}.")
    tags = {"task_sha256": data.task.sha256, "configuration_id": trial.configuration_id}
    created = client.create_model_version(
        name, source=model.artifact_location, run_id=run_id, model_id=model.model_id, tags=tags
    )
    return {"name": name, "version": int(created.version), "uri": f"models:/{name}/{created.version}"}
