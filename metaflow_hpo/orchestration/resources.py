"""The one resource: how an asset gets at settings, files, MLflow and the registry."""

import dagster as dg

from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.settings import Settings


class PipelineResource(dg.ConfigurableResource[Pipeline]):
    """Opens the pipeline of the settings for one run of Dagster; progress goes to the run's log."""

    def open(self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Pipeline:
        """Return the pipeline, its MLflow runs tagged with the Dagster run."""

        def show(what: str, done: int, total: int) -> None:
            # Single trials come too fast for the event log.
            if not what.startswith("trials on "):
                context.log.info(f"{what}: {done}/{total}")

        # A retry is a run of its own whose root is the first one: it resumes that one's MLflow run.
        run = context.run
        return Pipeline(Settings.load(), show, run.root_run_id or run.run_id)
