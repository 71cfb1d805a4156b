"""What becomes of a step that fails: tried again where its surroundings were ill, not where a task is.

The one thing to know: every step goes on from what is on the disk, so trying again repeats no training.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from metaflow_hpo.actions.collect import TasksFailedError

RETRY = dg.RetryPolicy(max_retries=4, delay=20, backoff=dg.Backoff.EXPONENTIAL)
"""After 20, 40, 80 and 160 s: five minutes for a full disk to be emptied or a server to come back."""

TRAINING, CATALOGUE = "training", "catalogue"
"""Pools of which dagster.yaml lets one run at a time work."""


@contextmanager
def keep_done_tasks(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Where some tasks of a run fail, report the others as done before the run fails, once and for all.

    Raises:
        dagster.Failure: If tasks failed; trying again would give the same.
    """
    try:
        yield
    except TasksFailedError as error:
        for task_id in error.done:
            context.log_event(dg.AssetMaterialization(context.asset_key, partition=task_id))
        raise dg.Failure(str(error), allow_retries=False) from error
