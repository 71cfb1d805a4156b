"""The main job from the command line: `python -m metaflow_hpo.orchestration.main_job`.

Three runs on the instance of DAGSTER_HOME, so that everything is seen in the UI afterwards: the catalogue, all
partitions of the collection in one run, and the rest. The exit code is 1 if a run failed; a candidate that the gate
refuses is no failure.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from metaflow_hpo.adapters.pipeline import Pipeline, Progress
from metaflow_hpo.adapters.terminal import show_progress
from metaflow_hpo.adapters.versioning import commit_stages, is_dvc_repository
from metaflow_hpo.orchestration import assets, checks
from metaflow_hpo.orchestration.partitions import TASKS
from metaflow_hpo.orchestration.resources import PipelineResource
from metaflow_hpo.settings import Settings

STAGES = tuple(asset.key.to_user_string() for asset in assets.ASSETS)


def materialize(
    selected: Sequence[dg.AssetsDefinition],
    instance: dg.DagsterInstance,
    resource: PipelineResource,
    partitions: Sequence[str] = (),
) -> bool:
    """Materialise assets with their checks in one run in this process; True when the run succeeded."""
    keys = {key for asset in selected for key in asset.keys}
    chosen = [check for check in checks.CHECKS if any(spec.asset_key in keys for spec in check.check_specs)]
    tags = {"metaflow_hpo": "main_job"}
    if partitions:
        tags |= {
            "dagster/asset_partition_range_start": partitions[0],
            "dagster/asset_partition_range_end": partitions[-1],
        }
    result = dg.materialize(
        [*assets.ASSETS, *chosen],
        selection=dg.AssetSelection.assets(*selected) | dg.AssetSelection.checks(*chosen),
        instance=instance,
        resources={"pipeline": resource},
        tags=tags,
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
    )
    return result.success


def run_main_job(instance: dg.DagsterInstance, resource: PipelineResource) -> bool:
    """Run the whole job; True when every run succeeded, a refusal by the gate included."""
    if not materialize([assets.dataset_catalogue], instance, resource):
        return False
    partitions = instance.get_dynamic_partitions(TASKS)
    if not materialize([assets.search_results, assets.meta_features], instance, resource, partitions):
        return False
    learn = [assets.meta_dataset, assets.surrogate, assets.recommendation_evaluation, assets.champion]
    return materialize(learn, instance, resource) or _was_refused(Pipeline(Settings.load()))


def _was_refused(pipeline: Pipeline) -> bool:
    """Tell whether the gate refused the candidate, and recorded it: then a blocked champion is the right outcome."""
    from metaflow_hpo.actions.candidate import read_candidate
    from metaflow_hpo.adapters.evaluation_files import read_results

    results, candidate = read_results(pipeline.store), read_candidate(pipeline)
    return not results["promoted"] and bool(results["version"] == candidate["version"])


def show_on_terminal(progress: Progress) -> PipelineResource:
    """Return a resource that shows progress on the terminal instead of in the run's log."""

    class TerminalResource(PipelineResource):
        def open(self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Pipeline:
            return Pipeline(Settings.load(), progress, context.run.run_id)

    return TerminalResource()


def main() -> int:
    """Run the main job on the instance of DAGSTER_HOME and record the data with DVC."""
    home = Path(os.environ["DAGSTER_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    with show_progress() as progress, dg.DagsterInstance.get() as instance:
        done = run_main_job(instance, show_on_terminal(progress))
    root = Settings.load().root
    if done and is_dvc_repository(root):
        commit_stages(root, STAGES)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
