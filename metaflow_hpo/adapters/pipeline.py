"""What every step works with: settings, files, tracking, registry, and where its progress is shown.

The one thing to know: Dagster assets, DVC stages and CLI commands all call the same step functions with one of these.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaflow_hpo.adapters.kept_trials import read_card
from metaflow_hpo.adapters.knowledge import Knowledge, find_shipped
from metaflow_hpo.adapters.registry import Registry
from metaflow_hpo.adapters.secrets import keep_credentials_apart
from metaflow_hpo.adapters.store import DEFAULT_LEARNER, DataStore
from metaflow_hpo.adapters.tracking import Tracking
from metaflow_hpo.adapters.versioning import git_revision, record
from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.settings import Settings
from metaflow_hpo.task import TaskData

if TYPE_CHECKING:
    from metaflow_hpo.learners.learner import Learner

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total); a total of 0: how long it takes is not known, it lasts until the next call."""

Metadata = dict[str, Any]
"""What a step reports of its work, to be shown with an asset."""

logger = logging.getLogger("metaflow_hpo")


def show_nothing(what: str, done: int, total: int) -> None:
    """The progress callback of a step nobody watches."""


@dataclass(frozen=True)
class Pipeline:
    """The surroundings of a step.

    Attributes:
        settings: Program settings.
        progress: Called with (what, done, total) while a step works.
        own_learner: What is tuned, in place of the learner that the settings name.
        is_chosen: Whether a person chose the learner for what is done now; else each modality has its own, see `on`.
        dagster_run_id: Set where Dagster runs the step; a retry of that run then resumes its MLflow run.
    """

    settings: Settings
    progress: Progress = field(default=show_nothing)
    dagster_run_id: str | None = None
    own_learner: "Learner | None" = None
    is_chosen: bool = False

    def __post_init__(self) -> None:
        """Make known what the settings add."""
        if self.settings.plugins:
            from metaflow_hpo.modalities.registry import add_plugins

            add_plugins(self.settings.plugins)

    @cached_property
    def learner(self) -> "Learner":
        """What is tuned, within the limits of the settings."""
        return self.make_learner()

    def on(self, modality: str) -> "Pipeline":
        """Return the surroundings of tasks of a modality.

        They are these, unless the learner of the settings does not train on it, and nobody chose it for what is done
        now: then it is the modality's, where that has one.
        """
        from metaflow_hpo.learners.registry import DEFAULT_LEARNERS

        name = DEFAULT_LEARNERS.get(modality)
        if name is None or self.is_chosen or self.own_learner is not None or self.trains_on(modality):
            return self
        return self._with_learner(name)

    def _with_learner(self, name: str) -> "Pipeline":
        return replace(self, settings=self.settings.model_copy(update={"learner": name}))

    def tuning(self, learner: str) -> "Pipeline":
        """Return the surroundings of another learner, as if somebody had chosen it."""
        return replace(self._with_learner(learner), is_chosen=True)

    def asked(self, modality: str) -> "Pipeline":
        """Return the surroundings of data that a person brings.

        They are with the modality's own learner, unless somebody chose one, in the settings too, or a version of that
        of the settings was promoted here: the pipeline's learner of tables is the cheaper one.
        """
        from metaflow_hpo.learners.registry import DEFAULT_LEARNERS

        is_set = self.is_chosen or self.own_learner is not None or "learner" in self.settings.model_fields_set
        name = DEFAULT_LEARNERS.get(modality)
        if is_set or name is None or self.store.champion_path.is_file():
            return self.on(modality)
        return self._with_learner(name)

    def trains_on(self, modality: str) -> bool:
        """Tell whether the learner trains on tasks of a modality; a built-in one is not imported for it."""
        from metaflow_hpo.learners.registry import MODALITY_OF

        name = self.settings.learner
        if self.own_learner is None and name in MODALITY_OF:
            return MODALITY_OF[name] == modality
        return not self.learner.modalities or modality in self.learner.modalities

    def check_learner(self, data: TaskData) -> None:
        """Check that the learner trains on a task.

        Raises:
            SearchSpaceMismatchError: If it does not.
        """
        task = data.task
        if not self.trains_on(task.modality):
            raise SearchSpaceMismatchError(
                f"Expected a task of the modality {' or '.join(self.learner.modalities)} for the learner "
                f"{self.learner_name}; {task.task_id} is of {task.modality}. Leave --learner out, or choose one for it."
            )

    def make_learner(self, workers: int | None = None) -> "Learner":
        """Return what is tuned, training on so many processors; all of this machine unless given."""
        from metaflow_hpo.learners.limits import Limits
        from metaflow_hpo.learners.registry import get_learner, limit_learner

        settings = self.settings
        recorded = self._find_recorded()
        if recorded is not None:
            return recorded
        limits = Limits(settings.trial_seconds, settings.trial_memory_mb)
        if self.own_learner is not None:
            return limit_learner(self.own_learner, limits, settings.isolation, workers)
        return get_learner(settings.learner, limits, settings.isolation, workers)

    def _find_recorded(self) -> "Learner | None":
        """Return a learner whose trials are known here and whose code has no name: that of a command, say."""
        from metaflow_hpo.learners.registry import LEARNERS

        name = self.settings.learner
        if self.own_learner is not None or ":" in name or name in LEARNERS.names:
            return None
        return read_card(self.cards, name)

    @property
    def cards(self) -> Path:
        """Folder that says of each learner that was searched with here what it is."""
        return self.settings.data / "own" / "learners"

    @cached_property
    def learner_name(self) -> str:
        """Name of the learner; a built-in one is not imported for it."""
        from metaflow_hpo.learners.registry import LEARNERS

        is_built_in = self.own_learner is None and self.settings.learner in LEARNERS.built_in
        return self.settings.learner if is_built_in else self.learner.name

    def task_ids(self, max_rows: int | None = None) -> list[str]:
        """Return the tasks of the catalogue that the learner can train on, those of more rows than that left out."""
        return self.store.task_ids(max_rows, self.learner.modalities)

    def collected_task_ids(self) -> list[str]:
        """Return the tasks of the catalogue that are searched: those for which there is a learner, see `on`."""
        catalogue = self.store.read_catalogue()
        kinds = [modality for modality in catalogue["modality"].unique() if self.on(modality).trains_on(modality)]
        return self.store.task_ids(modalities=kinds) if kinds else []

    @property
    def epochs(self) -> int:
        """Epochs of a trial: those of the settings, or the learner's full fidelity."""
        return self.settings.fidelity_epochs or self.learner.fidelity.maximum

    @cached_property
    def store(self) -> DataStore:
        """The files of the data folder."""
        return DataStore(self.settings.data, self.learner_name)

    def name_recorded(self, path: Path) -> str:
        """Return what DVC calls a file or folder below the data folder."""
        return f"data/{path.relative_to(self.settings.data).as_posix()}"

    @cached_property
    def tracking(self) -> Tracking:
        """MLflow, on SQLite in the data folder unless an address is set."""
        if self.settings.tracking_uri is None:
            return Tracking.local(self.settings.data)
        return Tracking(keep_credentials_apart(self.settings.tracking_uri))

    @cached_property
    def registry(self) -> Registry:
        """The registered versions of the learner, which no other learner's decisions touch."""
        name, learner = self.settings.model_name, self.learner_name
        registered = name if learner == DEFAULT_LEARNER else f"{name}.{learner}"
        return Registry(self.tracking, self.settings.data / "mlflow" / "downloads", registered)

    @cached_property
    def knowledge(self) -> Knowledge | None:
        """What ships of the learner, or else of its modality; None where the package was built without."""
        return find_shipped(self.learner_name)

    def tags(self, data_md5: Mapping[str, str] | None = None, partition: str | None = None) -> dict[str, str]:
        """Return the tags that lead from a run back to what made it.

        Args:
            data_md5: DVC's md5 of each input by name, as `data.<name>.md5`.
            partition: The Dagster partition, `dagster.partition`.

        Returns:
            The tags, with `git.revision` (`none` outside a git repository) and `git.dirty` (`true` or `false`).
        """
        commit, is_dirty = self._revision
        tags = {"git.revision": commit, "git.dirty": str(is_dirty).lower()}
        if self.dagster_run_id:
            tags["dagster.run_id"] = self.dagster_run_id
        if partition:
            tags["dagster.partition"] = partition
        return tags | {f"data.{name}.md5": md5 for name, md5 in (data_md5 or {}).items()}

    @cached_property
    def _revision(self) -> tuple[str, bool]:
        """Git's commit, and whether files differ from it, when this run first asked."""
        return git_revision(self.settings.root)

    def key_tags(self, step: str, inputs: str) -> dict[str, str]:
        """Return what makes the run of a step the same one when it is tried again.

        Under Dagster that is the Dagster run, and the learner, as one run may fit several (`other_champions`);
        elsewhere the same step on the same inputs.
        """
        run_id = self.dagster_run_id or f"none/{inputs}"
        return {"step": step, "dagster.run_id": run_id, "learner": self.learner_name}


_LEARNED = {
    "meta_dataset": "meta_dataset_path",
    "surrogate": "surrogate_folder",
    "recommendation_evaluation": "evaluation_folder",
    "champion": "champion_path",
}
"""What stages write for each learner apart: `dvc.yaml` knows the default one's, others get a `.dvc` file beside it."""


def record_stages(pipeline: Pipeline, stages: Iterable[str]) -> dict[str, str]:
    """Record with DVC what stages of `dvc.yaml` have written, and push it where the settings name a remote.

    Not for the stages themselves: `dvc repro` records what it runs.

    Returns:
        What became of it, to be shown.

    Raises:
        MetaflowHPOError: If DVC cannot record it.
    """
    settings, names, store = pipeline.settings, list(stages), pipeline.store
    if store.learner == DEFAULT_LEARNER:
        return record(settings.root, names, settings.dvc_remote)
    outs = [pipeline.name_recorded(getattr(store, _LEARNED[name])) for name in names if name in _LEARNED]
    return record(settings.root, [name for name in names if name not in _LEARNED], settings.dvc_remote, outs)
