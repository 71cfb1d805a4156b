"""Say whether meta-learning helps on somebody's past trials."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from metaflow_hpo.adapters.pipeline import Progress
from metaflow_hpo.adapters.trial_files import write_benchmark
from metaflow_hpo.evaluate.benchmark import Plan, describe_benchmark, note_plan, run_benchmark
from metaflow_hpo.history import History


def benchmark(
    history: History,
    plan: Plan,
    *,
    workers: int = 1,
    output: Path | None = None,
    progress: Progress,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Replay strategies on past trials, each task by what tasks of other families teach.

    Args:
        history: The trials.
        plan: What is run.
        workers: Processes.
        output: Folder for tables, plots and the report; none are written unless given.
        progress: Shown while it runs.
        say: Gets what a person should know, a sentence at a time.

    Returns:
        The contract's JSON.
    """
    for note in note_plan(history, plan):
        say(f"note: {note}")
    result = run_benchmark(
        history, plan, workers=workers, on_done=lambda done, total: progress("benchmark", done, total)
    )
    answer = describe_benchmark(history, plan, result)
    if output is not None:
        say(f"wrote {len(write_benchmark(output, answer, result))} files to {output}")
    return answer
