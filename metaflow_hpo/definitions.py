"""Everything Dagster serves, by name."""

import dagster as dg

from metaflow_hpo.orchestration.assets import ASSETS, MONITORING, OTHERS
from metaflow_hpo.orchestration.automation import (
    automation,
    catalogue_job,
    collect_job,
    drift_sensor,
    inbox_sensor,
    learn_job,
    weekly_retraining,
)
from metaflow_hpo.orchestration.checks import CHECKS
from metaflow_hpo.orchestration.resources import PipelineResource

defs = dg.Definitions(
    assets=[*ASSETS, *OTHERS, *MONITORING],
    asset_checks=CHECKS,
    jobs=[catalogue_job, collect_job, learn_job],
    schedules=[weekly_retraining],
    sensors=[inbox_sensor, automation, drift_sensor],
    resources={"pipeline": PipelineResource()},
    # One process a run: a process a step costs ten seconds each, and fan-out happens inside the assets.
    executor=dg.in_process_executor,
)
