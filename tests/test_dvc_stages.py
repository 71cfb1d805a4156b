"""The stages of dvc.yaml depend on all the code that makes their outputs: compared with the real import graph."""

from pathlib import Path

import pytest
import yaml

grimp = pytest.importorskip("grimp", reason="needs import-linter")

ROOT = Path(__file__).parents[1]
PACKAGE = "metaflow_hpo"
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]

STARTS = {
    "dataset_catalogue": {"actions.intake", "adapters.sources", "modalities"},
    "search_results": {"actions.champion_start", "actions.task_search", "learners.registry"},
    "meta_features": {"modalities.table.meta_features"},
    "meta_dataset": {"tables", "actions.own_history"},
    "surrogate": {"actions.fit"},
    "recommendation_evaluation": {"actions.evaluate", "adapters.evaluation_files", "learners.registry"},
    "champion": {"actions.promote"},
}
"""Where the code of a stage starts that decides what is in its outputs. From an action or an adapter its own imports of
nouns and steps count, not those of others of them, which only keep and show."""

NO_RESULT = {
    "errors",
    "settings",
    "version",
    "array_files",
    "parquet_files",
    "written_numbers",
    "evaluate.plots",
    "evaluate.significance",
}
"""Messages, and what changes only with the code that uses it; settings, the values of which are the stages' params."""

DECIDE_BY_FILES = {"champion"}
"""Stages that only read what others have found."""


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph(PACKAGE)


def shorten(modules):
    return {module.removeprefix(f"{PACKAGE}.") for module in modules} - {PACKAGE}


def imported_by(graph, module):
    """The nouns and steps that an action or an adapter, or a package of them, imports."""
    name = f"{PACKAGE}.{module}"
    found = [graph.find_modules_directly_imported_by(m) for m in {name} | graph.find_descendants(name)]
    return {m for m in shorten(set().union(*found)) if not is_edge(m)}


def is_edge(module):
    return module.startswith(("actions", "adapters"))


def needed_by(graph, stage):
    """All modules that decide what a stage writes."""
    starts = STARTS[stage]
    if stage in DECIDE_BY_FILES:
        return starts
    core = set().union(*(imported_by(graph, s) if is_edge(s) else {s} for s in starts))
    closure = core.union(*(shorten(graph.find_upstream_modules(f"{PACKAGE}.{module}")) for module in core))
    return closure | starts


def is_covered(module, dependencies):
    path = Path(PACKAGE, *module.split("."))
    names = {str(path.with_suffix(".py")), *map(str, [path, *path.parents])}
    return bool(names & dependencies)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_all_code_that_decides_what_it_writes(graph, stage):
    dependencies = set(STAGES[stage]["deps"])
    missing = {module for module in needed_by(graph, stage) - NO_RESULT if not is_covered(module, dependencies)}
    assert sorted(missing) == []


@pytest.mark.parametrize("stage", STAGES)
def test_every_dependency_on_code_exists(stage):
    code = [name for name in STAGES[stage]["deps"] if name.startswith(f"{PACKAGE}/")]
    assert [name for name in code if not (ROOT / name).exists()] == []
