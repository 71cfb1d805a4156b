"""One dynamic partition a task; the catalogue adds and removes them."""

import dagster as dg

TASKS = "tasks"

task_partitions = dg.DynamicPartitionsDefinition(name=TASKS)


def sync_partitions(instance: dg.DagsterInstance, task_ids: list[str]) -> None:
    """Make the partitions those of the catalogue."""
    known = set(instance.get_dynamic_partitions(TASKS))
    new = [task_id for task_id in task_ids if task_id not in known]
    if new:
        instance.add_dynamic_partitions(TASKS, new)
    for gone in sorted(known - set(task_ids)):
        instance.delete_dynamic_partition(TASKS, gone)
