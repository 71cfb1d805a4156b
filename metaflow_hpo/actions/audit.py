"""Who was promoted and who was refused, when, by whom and why; and the promotion by hand, which is the rollback.

The one thing to know: tags of a version hold its last decision only; the history is one run a decision in the
experiment `metaflow_hpo/decisions`, to which is only added, on whatever database or server MLflow uses.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.registry import DECISIONS, PERSON
from metaflow_hpo.errors import MetaflowHPOError

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

_PAGE = 1000


@dataclass(frozen=True)
class Decision:
    """One decision on a version.

    Attributes:
        time: When, ISO 8601 in UTC.
        outcome: `promoted` or `rejected`.
        version: The version it is about.
        champion_before: The champion at that moment, `none` before the first.
        by: `gate` or `person`.
        reason: Why.
        finished: False where the process died while it carried the decision out.
        run_id: The MLflow run that records it.
    """

    time: str
    outcome: str
    version: int
    champion_before: str
    by: str
    reason: str
    finished: bool
    run_id: str


def read_decisions(pipeline: Pipeline) -> list[Decision]:
    """Return every decision on the registered model, oldest first."""
    database = pipeline.tracking.database
    if database is not None and not database.is_file():
        return []  # a question must not create a database
    client = pipeline.tracking.client()
    experiment = client.get_experiment_by_name(f"metaflow_hpo/{DECISIONS}")
    if experiment is None:
        return []
    found: list[Decision] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id],
            f"tags.`decision.model` = '{pipeline.registry.name}'",
            order_by=["attributes.start_time ASC"],
            max_results=_PAGE,
            page_token=token,
        )
        found += [_read(run) for run in page]
        token = page.token
        if not token:
            return found


def _read(run: "MlflowRun") -> Decision:
    tags = {name.removeprefix("decision."): value for name, value in run.data.tags.items()}
    return Decision(
        time=datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds"),
        outcome=tags["outcome"],
        version=int(tags["version"]),
        champion_before=tags["champion_before"],
        by=tags["by"],
        reason=tags["reason"],
        finished=run.info.status == "FINISHED",
        run_id=run.info.run_id,
    )


def audit(pipeline: Pipeline) -> dict[str, Any]:
    """Return the champion and every decision, JSON-ready."""
    champion = pipeline.registry.champion()
    return {
        "name": pipeline.registry.name,
        "champion": None if champion is None else champion.version,
        "decisions": [asdict(decision) for decision in read_decisions(pipeline)],
    }


def promote_by_hand(pipeline: Pipeline, version: int, reason: str) -> dict[str, Any]:
    """Make a version the champion, whatever the gate thinks; this is also the way back to an earlier one.

    It is loaded first, so that a version that cannot be served never gets the alias.

    Returns:
        What `data/champion.json` holds now, with the version that was replaced as `previous`.

    Raises:
        MetaflowHPOError: If there is no such version, or it cannot be loaded.
    """
    registry, champion = pipeline.registry, pipeline.registry.champion()
    if not reason.strip():
        raise MetaflowHPOError(
            "Expected a reason for the promotion; found none. Give --reason, for whoever asks later."
        )
    found = registry.version(version)
    registry.load(version)
    registry.promote(version, reason, by=PERSON)
    record = {
        "name": registry.name,
        "version": version,
        "candidate": version,
        "promoted": True,
        "reason": reason,
        "meta_dataset_md5": found.tags.get("data.meta_dataset.md5"),
    }
    pipeline.store.write_champion(record)
    return {**record, "previous": None if champion is None else champion.version}
