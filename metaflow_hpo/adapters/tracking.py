"""MLflow tracking: one parent run for each execution of a step, children nested in it, found again by their tags.

No MLflow global state is used (no active run, no tracking URI set), so nothing leaks from one
run to the next; a step that is tried again resumes its run instead of adding a second one.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from metaflow_hpo.adapters.mlflow_database import PREFIX, moved_roots, prepare_database, relocate
from metaflow_hpo.adapters.run import Run
from metaflow_hpo.adapters.secrets import hide_passwords
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.extras import has_package

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as MlflowRun

_SQLITE = re.compile(r"sqlite(\+pysqlite)?:///")
_PARENT_TAG = "mlflow.parentRunId"
_FAILURE_TAG = "failure"
EXPERIMENTS = {
    "knowledge_report": ("1 collect", "One run a report of what is known: open its artifact `knowledge.html`."),
    "search_results": (
        "1 collect",
        "One run an execution, one nested run a task: its best performance, its search curve and its trials.",
    ),
    "surrogate": (
        "2 surrogate",
        "One run a version: learning curves of the folds, and after the evaluation regret, calibration and the gate. "
        "Choose two runs and Compare; the artifact `evaluation/model_card.md` sums one up.",
    ),
    "decisions": ("3 champion", "One run a promotion or rejection: tags say which version, by whom and why."),
    "training": ("4 use", "Networks trained on a person's table (`metaflow-hpo train`)."),
    "fit_table": ("4 use", "Recommenders learned from a person's table of trials (`metaflow-hpo fit --trials`)."),
    "search": ("4 use", "Searches on a person's table (`metaflow-hpo search`)."),
}
"""By step: the group of its experiment, and what a person sees there."""

# MLflow reads these when it is imported, which this module puts off. Standard output is for the JSON of the CLI, and
# standard error for its own progress bar.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")


@dataclass(frozen=True)
class Tracking:
    """Where runs are recorded.

    Attributes:
        tracking_uri: `sqlite:///...`, or the address of an MLflow server.
    """

    tracking_uri: str

    @classmethod
    def local(cls, data: Path) -> "Tracking":
        """Return tracking in SQLite, in the folder `data/mlflow`."""
        return cls(_sqlite_address(data.resolve() / "mlflow" / "mlflow.db"))

    @property
    def address(self) -> str:
        """The tracking URI as it may be shown: without a password."""
        return hide_passwords(self.tracking_uri)

    @property
    def database(self) -> Path | None:
        """The SQLite file; None where the tracking URI is no SQLite file."""
        found = _SQLITE.match(self.tracking_uri)
        return Path(unquote(self.tracking_uri[found.end() :])) if found else None

    @property
    def records(self) -> bool:
        """Whether runs are recorded: on this machine alone only where MLflow is installed."""
        return self.database is None or has_package("mlflow")

    @property
    def artifact_root(self) -> Path | None:
        """Folder of the artifacts of new experiments, beside the SQLite file; None leaves it to the server."""
        return None if self.database is None else self.database.parent / "artifacts"

    def prepare(self) -> None:
        """Create or check the database; call it in the parent before processes are started.

        Several processes may call it at once: a lock file beside the database lets one at a time through.

        Raises:
            MetaflowHPOError: If the server does not answer or the database is of another version of MLflow.
        """
        _prepare(self.tracking_uri)

    def client(self) -> "MlflowClient":
        """Return a client of this tracking server, for what this class does not offer."""
        self.prepare()
        return _client(self.tracking_uri)

    @contextmanager
    def parent_run(self, step: str, name: str, key_tags: Mapping[str, str]) -> Iterator[Run]:
        """Open the run of one execution of a step, in the experiment `metaflow_hpo/<step>`.

        Args:
            step: Name of the step, e.g. `search_results`.
            name: What a person reads in the list of runs.
            key_tags: What makes the run the same one when the step is tried again, e.g. `dagster.run_id`; a run of this
                experiment with all of them is resumed, whatever its status. Empty: always a new run.

        Yields:
            The run; it ends as FINISHED, or as FAILED (with the tag `failure`) when the block raises.
        """
        client = self.client()
        with _open_run(client, self._experiment_id(step), name, key_tags, key_tags) as run:
            yield run

    @contextmanager
    def child_run(self, parent_id: str, name: str, key_tags: Mapping[str, str]) -> Iterator[Run]:
        """Open a run nested in `parent_id`; otherwise as `parent_run`."""
        client = self.client()
        experiment_id = client.get_run(parent_id).info.experiment_id
        keys = {**key_tags, _PARENT_TAG: parent_id} if key_tags else {}
        with _open_run(client, experiment_id, name, {**key_tags, _PARENT_TAG: parent_id}, keys) as run:
            yield run

    def find_artifact(self, address: str) -> str:
        """Return where an artifact lies now: the database of a copied folder that is read-only names the original."""
        if self.database is None or self.artifact_root is None:
            return address
        return relocate(address, moved_roots(self.database, self.artifact_root))

    def resume(self, run_id: str) -> Run:
        """Return a handle on a run that exists, without touching its status."""
        return Run(run_id, self.client())

    def ensure_registered(self, name: str, description: str, tags: Mapping[str, str] | None = None) -> None:
        """Create a registered model; one that exists is left as it is."""
        from mlflow.exceptions import MlflowException

        try:
            self.client().create_registered_model(name, dict(tags or {}), description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _experiment_id(self, step: str) -> str:
        name = f"{PREFIX}{step}"
        client = self.client()
        experiment = client.get_experiment_by_name(name) or self._create_experiment(client, name, step)
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _create_experiment(self, client: "MlflowClient", name: str, step: str) -> "Experiment":
        from mlflow.exceptions import MlflowException

        # With SQLite MLflow would take ./mlruns of the current folder.
        location = None if self.artifact_root is None else (self.artifact_root.resolve() / step).as_uri()
        try:
            experiment_id = client.create_experiment(name, artifact_location=location, tags=_describe_experiment(step))
        except MlflowException as error:
            faster = client.get_experiment_by_name(name)  # another process may have been
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or faster is None:
                raise
            return faster
        return client.get_experiment(experiment_id)


@contextmanager
def keeping_global_address() -> Iterator[None]:
    """Put MLflow's global tracking URI back when the block ends: Lightning's logger sets it, for subprocesses too."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")  # MLflow writes there what is set
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None unsets it, as MLflow's own code does


def _describe_experiment(step: str) -> dict[str, str]:
    """Return the tags by which a person finds an experiment: its group, and the note that MLflow shows above it."""
    group, note = EXPERIMENTS.get(step, ("other", ""))
    return {"group": group, "mlflow.note.content": note}


@lru_cache(maxsize=32)
def _client(tracking_uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@lru_cache(maxsize=32)
def _prepare(tracking_uri: str) -> None:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    tracking = Tracking(tracking_uri)
    try:
        if tracking.database is not None and tracking.artifact_root is not None:
            prepare_database(tracking.database, tracking.artifact_root, _make_stores)
        _touch_stores(tracking_uri)
        return
    except (MlflowException, SQLAlchemyError, ImportError) as error:  # a driver of a database may be missing
        reason = hide_passwords(str(error).strip().splitlines()[0])
    # Outside of `except`, as a traceback of the cause would show the address.
    raise MetaflowHPOError(
        f"Expected an MLflow tracking server or database at {hide_passwords(tracking_uri)}; found: {reason} "
        "Start the server, or see `mlflow db upgrade` for a database of an older MLflow."
    )


def _sqlite_address(database: Path) -> str:
    """Return the address of an SQLite file, whose name may hold what means something in an address."""
    quoted = str(database).replace("%", "%25").replace("?", "%3F")
    # With the driver named, as MLflow would make an empty folder of the quoted name beside the real one otherwise.
    return f"{'sqlite' if quoted == str(database) else 'sqlite+pysqlite'}:///{quoted}"


def _make_stores(database: Path) -> None:
    _touch_stores(_sqlite_address(database))


def _touch_stores(tracking_uri: str) -> None:
    """Make MLflow create the tables of its tracking and registry stores, which it does on first use."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    client.search_experiments(max_results=1)
    client.search_registered_models(max_results=1)


@contextmanager
def _open_run(
    client: "MlflowClient", experiment_id: str, name: str, tags: Mapping[str, str], key_tags: Mapping[str, str]
) -> Iterator[Run]:
    tags, key_tags = ({key: hide_passwords(value) for key, value in given.items()} for given in (tags, key_tags))
    found = _find_run(client, experiment_id, key_tags)
    if found is None:
        tags = {"mlflow.source.name": "metaflow-hpo", **tags}
        run = Run(client.create_run(experiment_id, tags=dict(tags), run_name=name).info.run_id, client)
    else:
        run = Run(found.info.run_id, client)
        client.update_run(run.run_id, status="RUNNING", name=name)
        run.set_tags(tags)
    try:
        yield run
    # Whatever ends the block, Ctrl-C included, ends the run; nothing is swallowed.
    except BaseException as error:
        run.set_tags({_FAILURE_TAG: hide_passwords(f"{type(error).__name__}: {error}")[:500]})
        client.set_terminated(run.run_id, status="FAILED")
        raise
    if found is not None and _FAILURE_TAG in found.data.tags:
        client.delete_tag(run.run_id, _FAILURE_TAG)
    client.set_terminated(run.run_id, status="FINISHED")


def _find_run(client: "MlflowClient", experiment_id: str, key_tags: Mapping[str, str]) -> "MlflowRun | None":
    if not key_tags:
        return None
    condition = " and ".join(f"tags.`{name}` = {_quote(value)}" for name, value in key_tags.items())
    found = client.search_runs([experiment_id], condition, max_results=1, order_by=["attributes.start_time DESC"])
    return found[0] if found else None


def _quote(value: str) -> str:
    if "'" in value and '"' in value:
        raise MetaflowHPOError(f"A key tag may hold single or double quotes, not both; got {value!r}. Rename it.")
    return f'"{value}"' if "'" in value else f"'{value}'"
