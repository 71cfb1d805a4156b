"""MLflow's model registry: which surrogate is a candidate, which is the champion, and why.

The alias `champion` is moved as the last step of a promotion, so that whoever follows it never
sees a half-promoted version. What was decided last, and why, stands in the tags of the versions; every decision is a
run of the experiment `metaflow_hpo/decisions` (read it with `actions.audit`).
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from metaflow_hpo.adapters.clock import now
from metaflow_hpo.adapters.logged_model import checked_example, fetch_surrogate, log_surrogate
from metaflow_hpo.adapters.registered_files import check_fetched, discard, list_changed, tag_files, writable
from metaflow_hpo.adapters.tracking import Tracking
from metaflow_hpo.errors import MetaflowHPOError, NoChampionError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from metaflow_hpo.recommender.recommender import Recommender

CHAMPION = "champion"
CANDIDATE = "candidate"
DECISIONS = "decisions"
GATE, PERSON = "gate", "person"

COMPARED = ("regret.k1", "regret.k5", "regret.portfolio.k1", "regret.portfolio.k5", "coverage_80", "tasks", "families")
"""Tags of an evaluated version by which versions are compared."""

logger = logging.getLogger("metaflow_hpo")

_MODEL_ID_TAG = "model_id"
_WITHDRAWN_TAG = "withdrawn_by_person"
_DESCRIPTION = (
    "metaflow_hpo: recommends which configurations to try first on a new task, from its meta-features. "
    "The alias `champion` is served; `candidate` waits for its evaluation. Tags say why."
)
_TAGS = {"kind": "recommender", "input": "meta-features of a task", "serve": "make serve"}


@dataclass(frozen=True)
class ChampionVersion:
    """The version that is served.

    Attributes:
        name: Name of the registered model.
        version: Its version, from 1.
        run_id: The MLflow run that trained and evaluated it.
        metrics: The metrics of that run.
        tags: The tags of the version: `promotion.reason`, `data.<name>.md5`, ...
    """

    name: str
    version: int
    run_id: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Registry:
    """The registered surrogates.

    Attributes:
        tracking: Where the registry is.
        cache: Folder of downloaded surrogates.
        name: Name of the registered model.
    """

    tracking: Tracking
    cache: Path
    name: str = "metaflow_hpo_surrogate"

    def register_surrogate(
        self, folder: Path, *, run_id: str, input_example: pd.DataFrame, tags: Mapping[str, str] | None = None
    ) -> int:
        """Log a surrogate to its run as a served model and register it, with the alias `candidate`.

        Args:
            folder: A saved `Recommender`.
            run_id: The run that trained it.
            input_example: `(T, M)` meta-features, T >= 1; its columns, in order, become the inputs of the model.
            tags: Tags of the version, e.g. the md5 of the meta-data set.

        Returns:
            The new version.

        Raises:
            InvalidTableError: If the example holds no row or values that are no finite numbers.
            MetaflowHPOError: If `folder` is missing.
        """
        if not folder.is_dir():
            raise MetaflowHPOError(
                f"Expected the folder of a surrogate at {folder}; found none. Run `metaflow-hpo fit`."
            )
        example = checked_example(input_example)
        client = self.tracking.client()
        self.tracking.ensure_registered(self.name, _DESCRIPTION, _TAGS)
        # A logged model, unlike a registered one, has no dot in its name.
        model = log_surrogate(client, folder, run_id=run_id, name=self.name.replace(".", "_"), example=example)
        created = client.create_model_version(
            self.name,
            # A path, as the store would look `models:/<id>` up in the global tracking URI.
            source=model.artifact_location,
            run_id=run_id,
            model_id=model.model_id,
            tags={"status": CANDIDATE, _MODEL_ID_TAG: model.model_id, **tag_files(folder), **(tags or {})},
            description=f"Trained by the run {run_id} on {len(example.columns)} meta-features.",
        )
        client.set_registered_model_alias(self.name, CANDIDATE, str(created.version))
        return int(created.version)

    def promote(self, version: int, reason: str, *, by: str = GATE) -> None:
        """Make a version the champion; promoting the champion again changes nothing.

        Args:
            version: The version.
            reason: Why, a sentence that the version keeps (`promotion.reason`), beside `promotion.previous`.
            by: `gate` or `person`. The gate does not promote again what a person has replaced, see `is_withdrawn`.

        Raises:
            MetaflowHPOError: If there is no such version.
        """
        self.version(version)
        previous = self._aliases().get(CHAMPION)
        if previous == version:
            return
        moment = now()
        previous_name = "none" if previous is None else str(previous)
        decision = {"promotion.reason": reason, "promotion.previous": previous_name, "promotion.time": moment}
        with self._decision("promoted", version, reason, by, previous_name):
            self._tag(version, {"status": CHAMPION, _WITHDRAWN_TAG: "false", "promotion.by": by, **decision})
            self.tracking.client().set_registered_model_alias(self.name, CHAMPION, str(version))
            if previous is not None:
                withdrawn = {_WITHDRAWN_TAG: str(by == PERSON).lower()}
                retirement = {"retirement.by": str(version), "retirement.time": moment, "retirement.reason": reason}
                self._tag(previous, {"status": "retired", **retirement, **withdrawn})
            self._show_card(version)
            self._drop_candidate(version)

    def reject(self, version: int, reason: str) -> None:
        """Record that a version does not become the champion, and take the alias `candidate` from it.

        Raises:
            MetaflowHPOError: If there is no such version, or it is the champion.
        """
        tags = self.version(version).tags
        champion = self._aliases().get(CHAMPION)
        if champion == version:
            raise MetaflowHPOError(f"Version {version} of {self.name} is the champion; promote another one instead.")
        if tags.get("status") == "rejected" and tags.get("rejection.reason") == reason:
            return
        with self._decision("rejected", version, reason, GATE, "none" if champion is None else str(champion)):
            self._tag(version, {"status": "rejected", "rejection.reason": reason, "rejection.time": now()})
            self._drop_candidate(version)

    def describe(self, version: int, card: str, tags: Mapping[str, str]) -> None:
        """Give a version its model card, in Markdown, and the numbers by which versions are compared."""
        client = self.tracking.client()
        client.update_model_version(self.name, str(version), description=card)
        self._tag(version, tags)
        if self._aliases().get(CHAMPION) == version:
            self._show_card(version)

    def _show_card(self, champion: int) -> None:
        """Say on the registered model which version is the champion and how good it is; the card is on the version."""
        tags = self.version(champion).tags
        numbers = "; ".join(f"{name} {tags[name]}" for name in COMPARED if name in tags)
        sentence = f"**The champion is version {champion}**{f': {numbers}' if numbers else ''}. Its card is there."
        self.tracking.client().update_registered_model(self.name, description=f"{_DESCRIPTION}\n\n{sentence}")

    def is_withdrawn(self, version: int) -> bool:
        """Tell whether a person has replaced this version, so that only a person may bring it back."""
        return self.version(version).tags.get(_WITHDRAWN_TAG) == "true"

    @contextmanager
    def _decision(self, outcome: str, version: int, reason: str, by: str, champion: str) -> Iterator[None]:
        """Record a decision as a run; it stays unfinished where the process dies in the middle."""
        tags = {"outcome": outcome, "version": str(version), "reason": reason, "by": by, "champion_before": champion}
        named = {f"decision.{name}": value for name, value in {**tags, "model": self.name}.items()}
        with self.tracking.parent_run(DECISIONS, f"{self.name} {version} {outcome}", {}) as run:
            run.set_tags(named)
            yield

    def has_version(self, version: int) -> bool:
        """Tell whether a version is registered."""
        try:
            self.version(version)
        except MetaflowHPOError:
            return False
        return True

    def aliased(self, alias: str) -> int | None:
        """Return the version that has an alias, `champion` or `candidate`; None where none has."""
        return self._aliases().get(alias)

    def champion(self) -> ChampionVersion | None:
        """Return the version that is served, or None before the first promotion."""
        number = self._aliases().get(CHAMPION)
        if number is None:
            return None
        found = self.version(number)
        run_id = str(found.run_id)
        metrics = self.tracking.client().get_run(run_id).data.metrics
        return ChampionVersion(self.name, number, run_id, dict(metrics), dict(found.tags))

    def require_champion(self) -> ChampionVersion:
        """Return the version that is served.

        Raises:
            NoChampionError: If none has been promoted.
        """
        champion = self.champion()
        if champion is None:
            raise NoChampionError(
                f"Expected a champion of {self.name!r} in {self.tracking.address}; none has been promoted. "
                "Run `metaflow-hpo fit` and `metaflow-hpo evaluate`, or materialize the asset `champion`."
            )
        return champion

    def download(self, version: int | str) -> Path:
        """Return the folder of a version's surrogate, downloaded once.

        Args:
            version: A version, or an alias: `champion`, `candidate`.

        Returns:
            A folder in `cache` that is complete, not to be written to.

        Raises:
            NoChampionError: If the alias is not set.
            MetaflowHPOError: If there is no such version, it holds files that may run code (pickles), or files that
                are not those that were registered.
        """
        found = self.version(version if isinstance(version, int) else self._resolve(version))
        # The model's id is part of the name: after the database was deleted, version 1 is another model.
        name = Path(self.name, f"{found.version}-{found.tags.get(_MODEL_ID_TAG, found.run_id)}")
        target, what = self.cache / name, f"version {found.version} of {self.name}"
        if target.is_dir() and (changed := list_changed(target, found.tags)):
            logger.warning("The copy of %s was damaged or changed (%s); it is fetched again.", what, ", ".join(changed))
            discard(target)
        if not target.is_dir():
            target = writable(self.cache) / name
            address = self.tracking.client().get_model_version_download_uri(self.name, str(found.version))
            fetch_surrogate(self.tracking.tracking_uri, self.tracking.find_artifact(address), target, what)
            check_fetched(target, found.tags, what, "Register another one with `metaflow-hpo fit`.")
        return target

    def load(self, version: int | str) -> "Recommender":
        """Return the recommender of a version, see `download`.

        Raises:
            NoChampionError: If the alias is not set.
            MetaflowHPOError: If there is no such version, or it cannot be loaded.
        """
        from metaflow_hpo.recommender.recommender import Recommender

        return Recommender.load(self.download(version))

    def _aliases(self) -> dict[str, int]:
        database = self.tracking.database
        if database is not None and not database.is_file():
            return {}  # a question must neither create a database nor wait for MLflow to be imported
        from mlflow.exceptions import MlflowException

        try:
            aliases = self.tracking.client().get_registered_model(self.name).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
        return {alias: int(number) for alias, number in aliases.items()}

    def _resolve(self, alias: str) -> int:
        number = self._aliases().get(alias)
        if number is None:
            raise NoChampionError(
                f"Expected a version of {self.name!r} with the alias {alias!r}; none has it. "
                "Run `metaflow-hpo fit` and `metaflow-hpo evaluate` first."
            )
        return number

    def version(self, number: int) -> "ModelVersion":
        """Return what the registry holds of a version.

        Raises:
            MetaflowHPOError: If there is no such version.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self.tracking.client().get_model_version(self.name, str(number))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise MetaflowHPOError(
                f"Expected a version of the registered model {self.name!r}; there is no version {number}. "
                "See the versions with `mlflow ui`, or register one with `metaflow-hpo fit`."
            ) from error

    def _tag(self, number: int, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self.tracking.client().set_model_version_tag(self.name, str(number), key, value)

    def _drop_candidate(self, number: int) -> None:
        if self._aliases().get(CANDIDATE) == number:
            self.tracking.client().delete_registered_model_alias(self.name, CANDIDATE)
