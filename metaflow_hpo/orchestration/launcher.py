"""The run launcher of one machine: Dagster's own, which also tells whether the process of a run is alive.

The one thing to know: Dagster's launcher notices a dead run only while the code server that started it lives. After a
crash of everything, such a run would count as running, and hold its place in the queue, for ever. With this one,
`run_monitoring` of dagster.yaml finds it, marks it failed, and `run_retries` starts it again.
"""

import dagster as dg
import psutil
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus

_CLOCK_S = 2.0
"""A process is older than the event that names it, give or take the resolution of the clocks."""


class WatchedRunLauncher(DefaultRunLauncher):
    """Starts runs through the code server of this machine and watches their processes."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether `check_run_worker_health` works: always."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Tell whether the process that a run reported is alive."""
        found = self._find_process(run)
        if found is None:  # it has not reported yet; `start_timeout_seconds` is for those
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        pid, since = found
        if _is_alive(pid, since):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its process {pid} is gone: killed, or the machine restarted")

    def _find_process(self, run: dg.DagsterRun) -> tuple[int, float] | None:
        """Return the latest process that the run reported, and when."""
        for event in reversed(self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)):
            pid = event.get_dagster_event().engine_event_data.metadata.get("pid")
            if pid is not None:
                return int(str(pid.value)), event.timestamp
        return None


def _is_alive(pid: int, since: float) -> bool:
    try:
        process = psutil.Process(pid)
        # A younger process has only inherited the number.
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= since + _CLOCK_S)
    except psutil.NoSuchProcess:
        return False
