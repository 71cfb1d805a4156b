"""The searches of step 1 on a Ray cluster: one Ray task searches one task of the catalogue.

The one thing to know: this process is the only writer. A worker sends back every trial as soon as it is finished, and
it is journalled here. Ray's own retries are off, as they would start from nothing: a search whose worker died is sent
out again with all that is known by then, so that only the trials in flight are trained twice.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from metaflow_hpo.adapters.pipeline import Pipeline, logger
from metaflow_hpo.collect.plans import Plan, count_trials, run_plan
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.learner import Learner
from metaflow_hpo.modalities.registry import add_plugins
from metaflow_hpo.settings import Settings
from metaflow_hpo.task import Task, TaskData
from metaflow_hpo.trial import Trial
from metaflow_hpo.version import __version__

if TYPE_CHECKING:
    from metaflow_hpo.collect.search import Refit

MAX_DEATHS = 3
"""A search is given up when its worker died so often in a row without finishing a trial."""

_LOOK_S = 5.0


@dataclass(frozen=True)
class Searched:
    """A task that was searched on a cluster; its trials are in the journal.

    Attributes:
        task_id: The task.
        fresh_trials: Trials that were not known before.
        seconds: Seconds they took, all processors of a Ray task together counting once.
    """

    task_id: str
    fresh_trials: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Order:
    """All that a worker needs, which has no access to the files.

    Attributes:
        data: The task.
        learner: What is tuned, with its limits and as many threads or processes as the Ray task has processors.
        plan: The searches.
        fidelity: Effort of each training; None for the full fidelity.
        known: Trials that need not be trained again.
        refit: Which trials of each search have a test performance.
        informed: Whether a search is told what those before it have found.
        plugins: Addresses of modalities that no installed package adds.
        version: Version of this package where the order was written.
    """

    data: TaskData
    learner: Learner
    plan: Plan
    fidelity: int | None
    known: tuple[Trial, ...] = ()
    refit: "Refit" = "all"
    informed: bool = False
    plugins: tuple[str, ...] = ()
    version: str = __version__


def stream_trials(order: Order) -> Iterator[Trial]:
    """Search, in a worker, and yield each trial that was not known as soon as it is finished.

    Raises:
        MetaflowHPOError: If the worker has another version of this package than the one who sent the order.
    """
    if order.version != __version__:
        raise MetaflowHPOError(
            f"Expected metaflow_hpo {order.version} on every node of the cluster; a worker has {__version__}. "
            "Install the same version everywhere, or use one image."
        )
    add_plugins(order.plugins)
    finished: SimpleQueue[Trial | None] = SimpleQueue()
    with ThreadPoolExecutor(1, thread_name_prefix="search") as pool:
        searching = pool.submit(
            run_plan,
            order.data,
            order.learner,
            order.plan,
            fidelity=order.fidelity,
            known=order.known,
            on_trial=finished.put,
            refit=order.refit,
            informed=order.informed,
        )
        searching.add_done_callback(lambda _: finished.put(None))
        # Not `yield from`, which would hand the values that Ray sends on to an iterator that takes none.
        for trial in iter(finished.get, None):  # noqa: UP028
            yield trial
        searching.result()


def search_on_ray(
    pipeline: Pipeline, task_ids: Sequence[str], plan_searches: Callable[[Task], Plan]
) -> Iterator[Searched]:
    """Search tasks on the cluster of the settings, the largest first, and journal their trials.

    Args:
        pipeline: Settings, files and progress.
        task_ids: Tasks of the catalogue.
        plan_searches: Says which searches a task gets.

    Yields:
        Each task as soon as all of its trials are in the journal; its table is not written yet.

    Raises:
        MetaflowHPOError: If there is no cluster; or, after all others are finished, if searches have failed.
    """
    with _connected(pipeline.settings):
        driver = _Driver(pipeline, plan_searches)
        yield from driver.search(_largest_first(pipeline, task_ids))
    if driver.failed:
        shown = [f"{task_id} ({reason})" for task_id, reason in list(driver.failed.items())[:10]]
        raise MetaflowHPOError(
            f"{len(driver.failed)} of {len(task_ids)} searches failed on the cluster, the others are finished: "
            f"{'; '.join(shown)}. Mend the cause and run the step again: it goes on with the trials it has."
        )


def _largest_first(pipeline: Pipeline, task_ids: Sequence[str]) -> list[str]:
    frame = pipeline.store.read_catalogue().set_index("task_id")
    cells = (frame["rows"] * frame["columns"]).to_dict()
    return sorted(task_ids, key=lambda task_id: -int(cells.get(task_id, 0)))


@contextmanager
def _connected(settings: Settings) -> Iterator[None]:
    address = settings.ray_address
    if address is not None and address.startswith("ray://"):
        raise MetaflowHPOError(
            f"Expected ray_address as host:port of the cluster's head; found {address!r}. Trials cannot be streamed "
            "to a Ray client: run this step on a node of the cluster (a RayJob does)."
        )
    # Whoever reaches an open cluster runs code on it: to go without a token must be asked for.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MetaflowHPOError("The executor `ray` needs its extra: pip install 'metaflow-hpo[ray]'.") from error
    if ray.is_initialized():  # by whoever started this process as a Ray job: theirs to close
        yield
        return
    try:
        # Lines of the workers would go to standard output, which is for results.
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="WARNING")
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise MetaflowHPOError(
            f"Expected a Ray cluster at {address or 'RAY_ADDRESS, or to start one here'}; found: {error}. "
            "Check the address, and that RAY_AUTH_TOKEN is the cluster's."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@dataclass
class _Running:
    """A search on the cluster: what was sent out, what came back."""

    data: TaskData
    plan: Plan
    fresh_trials: int = 0
    seconds: float = 0.0
    deaths: int = 0


@dataclass
class _Driver:
    """Sends searches to the cluster and keeps what comes back."""

    pipeline: Pipeline
    plan_searches: Callable[[Task], Plan]
    running: dict[Any, _Running] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def search(self, task_ids: Sequence[str]) -> Iterator[Searched]:
        """Yield tasks as they are finished; those that failed are in `failed`."""
        import ray

        waiting = deque(task_ids)
        while waiting or self.running:
            while waiting and len(self.running) < self._room():
                self._start(waiting.popleft())
            if not self.running:
                continue
            # The timeout is for nodes that join meanwhile: they make room.
            ready, _ = ray.wait(list(self.running), num_returns=1, timeout=_LOOK_S)
            for stream in ready:
                if self._is_finished(stream):
                    done = self.running.pop(stream)
                    yield Searched(done.data.task.task_id, done.fresh_trials, done.seconds)

    def _room(self) -> int:
        """Twice what runs at once: a free worker finds work, an autoscaler sees demand, and memory stays bounded."""
        import ray

        slots = int(ray.cluster_resources().get("CPU", 0)) // self.pipeline.settings.ray_cpus
        return 2 * max(slots, 1)

    def _start(self, task_id: str) -> None:
        try:
            data = self.pipeline.store.read_task(task_id)
            self._send(_Running(data, self.plan_searches(data.task)))
        except MetaflowHPOError as error:
            self._fail(task_id, str(error))

    def _send(self, search: _Running) -> None:
        import ray

        settings = self.pipeline.settings
        known = tuple(self.pipeline.store.read_trials(search.data.task))
        learner = self.pipeline.on(search.data.task.modality).make_learner(workers=settings.ray_cpus)
        order = Order(
            search.data,
            learner,
            search.plan,
            settings.fidelity_epochs,
            known,
            settings.refit,
            settings.informed_searches,
            settings.plugins,
        )
        remote = ray.remote(num_cpus=settings.ray_cpus, max_retries=0)(stream_trials)
        self.running[remote.remote(order)] = search

    def _is_finished(self, stream: Any) -> bool:
        """Take what a search has sent; True where that was the end. A search that broke off is no longer running."""
        import ray
        from ray import exceptions

        search = self.running[stream]
        try:
            trial: Trial = ray.get(next(stream))
        except StopIteration:
            return True
        except exceptions.RayTaskError as error:
            del self.running[stream]
            self._fail(search.data.task.task_id, f"{type(error.cause).__name__}: {error.cause}")
        except (
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.OutOfMemoryError,
            exceptions.ObjectLostError,
        ) as error:
            del self.running[stream]
            self._send_again(search, error)
        else:
            self._keep(search, trial)
        return False

    def _keep(self, search: _Running, trial: Trial) -> None:
        task = search.data.task
        self.pipeline.store.append_trial(task, trial)
        search.fresh_trials += 1
        search.seconds += trial.duration_s / self.pipeline.settings.ray_cpus
        search.deaths = 0
        self.pipeline.progress(f"trials on {task.task_id}", search.fresh_trials, count_trials(search.plan))

    def _send_again(self, search: _Running, error: Exception) -> None:
        task_id, what = search.data.task.task_id, type(error).__name__
        search.deaths += 1
        if search.deaths >= MAX_DEATHS:
            self._fail(task_id, f"{what}, {MAX_DEATHS} times without a finished trial; give its node more memory")
            return
        logger.warning("%s: %s; searching it again after %d new trials.", task_id, what, search.fresh_trials)
        self._send(search)

    def _fail(self, task_id: str, reason: str) -> None:
        logger.error("%s cannot be searched: %s", task_id, reason)
        self.failed[task_id] = reason
