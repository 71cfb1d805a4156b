"""What the commands print for people (tables and sentences) and for programs (JSON), on standard output.

The one thing to know: notes and warnings go to standard error, so that what is printed can be piped. Only `rich` is
needed, and only when a table is drawn: `--help` stays fast.
"""

import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from metaflow_hpo.errors import show_controls
from metaflow_hpo.task import TABLE

if TYPE_CHECKING:
    import pandas as pd

    from metaflow_hpo.adapters.pipeline import Pipeline

_DRIVERS = 3
SAME_TABLE = 1e-9
"""Distance in meta-features below which two tables are taken to be one."""


def print_json(value: Any) -> None:
    """Print JSON; NaN and infinities become null."""
    from metaflow_hpo.adapters.files import to_jsonable

    print(json.dumps(to_jsonable(value), indent=2, allow_nan=False))


def tell(text: str) -> None:
    """Print a sentence or several lines for people, with the control characters of names written out."""
    print(show_controls(text, kept="\n"))


def say(text: str) -> None:
    """Print a note or warning on standard error, likewise."""
    typer.echo(show_controls(text, kept="\n"), err=True)


def print_table(title: str, header: list[str], rows: list[list[Any]]) -> None:
    """Print a table, numbers with four digits or `-` for none, texts as they are: brackets are no markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(show_controls(title)), title_justify="left")
    for position, name in enumerate(header):
        table.add_column(Text(show_controls(name)), justify="left" if position == 0 else "right")
    for row in rows:
        table.add_row(*(Text(_show_cell(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _show_cell(cell: Any) -> str:
    if not isinstance(cell, float):
        return show_controls(str(cell))
    return "-" if math.isnan(cell) else f"{cell:.4f}"


def show_notes(notes: Iterable[str]) -> None:
    """Say on standard error how a table was understood."""
    for note in notes:
        say(f"note: {note}")


def warn_if_novel(novelty: dict[str, Any], instead: str = "what past tasks alone speak for is") -> None:
    """Warn of a task that is unlike all past ones, and say what is recommended instead."""
    from metaflow_hpo.recommender.novelty import is_beyond

    if not novelty["fallback"]:
        return
    percentile = novelty["percentile"]
    if is_beyond(percentile):
        reason = f"this task is unlike all past ones (novelty percentile {percentile:.0f}); intervals are wider"
    else:
        reason = "no cheap learner is clearly better than guessing on this task"
    say(f"warning: {reason}; {instead} recommended.")


def say_if_known(nearest: list[dict[str, Any]]) -> None:
    """Say so where the table itself is among the past tasks: then nothing was predicted, but remembered."""
    if nearest and nearest[0]["distance"] < SAME_TABLE:
        same = nearest[0]["task_id"]
        say(f"note: This table is a past task itself, {same}; how unseen ones fare, an evaluation says.")


def show_recommendation(answer: dict[str, Any]) -> None:
    """Print what was recommended for a data set, and why."""
    task, novelty = answer["task"], answer["novelty"]
    show_notes(task["notes"])
    warn_if_novel(novelty)
    say_if_known(answer["evidence"]["nearest_tasks"])
    print_recommendations(f"{task['task_id']}: {task['kind']}, {_describe_size(task)}; {answer['learner']}", answer)
    if "hyperparameters" in answer["evidence"]:  # past tasks alone do not say what drives them
        show_drivers(answer["evidence"])
    near = ", ".join(t["task_id"] for t in answer["evidence"]["nearest_tasks"])
    tell(f"nearest past tasks: {near}; surrogate version {answer['lineage']['surrogate_version']}")


def _describe_size(task: dict[str, Any]) -> str:
    """Return how large a task is, in words that fit its modality."""
    if task["modality"] == TABLE:
        return f"{task['rows']} rows, {task['columns']} columns"
    return f"{task['rows']} items of the modality {task['modality']}, {task['classes']} classes"


def print_recommendations(title: str, answer: dict[str, Any]) -> None:
    """Print the table of recommendations."""
    rows = [
        [
            r["rank"],
            ", ".join(f"{name}={value}" for name, value in r["configuration"].items()),
            r["performance"]["mean"],
            _show_interval(r["performance"]),
            f"{r['expected_gain_over_default']:+.4f}",
            "" if r["expected_duration_s"] is None else format_seconds(r["expected_duration_s"]),
        ]
        for r in answer["recommendations"]
    ]
    metric = answer["recommendations"][0]["performance"]["metric"]
    header = ["rank", "configuration", f"expected {metric}", "80 % interval", "gain over default", "seconds"]
    print_table(title, header, rows)
    if answer["tuning"] is not None:
        tell(answer["tuning"]["text"])


def _show_interval(performance: dict[str, Any]) -> str:
    """Return an interval, or nothing where the metric has no bounds and none is known."""
    low, high = performance["low"], performance["high"]
    return "" if low is None or high is None else f"{low:.3f} - {high:.3f}"


def format_seconds(seconds: float) -> str:
    """Return a duration with two digits that count: 0.0043, 0.43, 4.3, 43, 430."""
    digits = 1 - math.floor(math.log10(seconds)) if seconds > 0 else 0
    return f"{seconds:.{min(max(digits, 0), 6)}f}"


def show_drivers(evidence: dict[str, Any]) -> None:
    """Say in two lines what speaks for the first recommendation, as the surrogate sees it."""
    changes = [
        f"{d['name']}={d['value']} instead of {d['default']} ({d['effect']:+.4f})" for d in evidence["hyperparameters"]
    ]
    facts = [
        f"{d['name'].removeprefix('mf_')} {d['value']:.3g}, typically {d['typical']:.3g} ({d['effect']:+.4f})"
        for d in evidence["meta_features"]
    ]
    if changes:
        tell(f"rank 1 against the default: {', '.join(changes[:_DRIVERS])}")
    if facts:
        tell(f"what this task adds to its gain: {', '.join(facts[:_DRIVERS])}")


def show_evaluation(report: dict[str, Any]) -> None:
    """Print what an evaluation found and what the gate says."""
    summary: pd.DataFrame = report["summary"]
    wide = summary.pivot_table(index="recommender", columns="k", values="mean")
    pairs = zip(wide.index, wide.to_numpy(dtype="float64").tolist(), strict=True)
    rows = [[str(name), *values] for name, values in sorted(pairs, key=lambda pair: pair[1])]
    tasks = int(summary["tasks"].max())
    print_table(
        f"Mean normalised regret, {tasks} held-out tasks", ["recommender", *(f"k={k}" for k in wide.columns)], rows
    )
    gains = [
        [
            f"{r.way} - {r.rival}",
            f"{r.mean_gain:+.4f}",
            f"{r.low:+.4f} .. {r.high:+.4f}",
            f"{r.wins}/{r.ties}/{r.losses}",
        ]
        for r in report["gains"].itertuples()
    ]
    if gains:
        print_table("Test performance, really trained", ["comparison", "mean gain", "95 %", "win/tie/loss"], gains)
    if report["realised_note"]:
        tell(report["realised_note"])
    tell(f"gate: {'promoted' if report['promoted'] else 'refused'}. {report['reason']}")


def show_benchmark(answer: dict[str, Any]) -> None:
    """Print the regret of every recommender on a table of trials."""
    ks = [str(k) for k in answer["protocol"]["k"]]
    found, table = answer["recommenders"], answer["table"]
    rows: list[list[Any]] = []
    for name, by_k in found.items():
        cells = [f"{by_k[k]['mean']:.4f} +-{(by_k[k]['high'] - by_k[k]['low']) / 2:.3f}" for k in ks]
        last = by_k[ks[-1]]
        versus = "" if "wins" not in last else "/".join(str(last[w]) for w in ("wins", "ties", "losses"))
        rows.append([name, *cells, f"{last['rank']:.1f}", versus, f"{answer['seconds'][name]:.0f}"])
    header = ["recommender", *(f"k={k}" for k in ks), f"rank at {ks[-1]}", f"w/t/l at {ks[-1]}", "seconds"]
    title = (
        f"Mean normalised regret (half the 95 % interval), {table['tasks']} tasks of {table['families']} families, "
        f"{table['configurations']} configurations{'' if table['shared'] else ', not shared'}"
    )
    print_table(title, header, rows)
    tell("w/t/l: tasks on which a recommender beats, equals, loses to recommended")
    for sentence in answer["verdict"]:
        tell(sentence)


def show_status(report: dict[str, Any]) -> None:
    """Print what is known and served."""
    knowledge, champion, shipped = report["knowledge"], report["champion"], report["shipped"]
    tell(
        f"knowledge: {knowledge['trials']} trials on {knowledge['tasks']} tasks of {knowledge['families']} families "
        f"({knowledge['source']}, meta-data set {knowledge['meta_dataset_md5']})"
    )
    for name, count in knowledge["learners"].items():
        tell(f"           {name}: {count['trials']} trials on {count['tasks']} tasks")
    for name, known in report["modalities"].items():
        what = "nothing" if known["shipped"] is None else "{trials} trials on {tasks} tasks".format(**known["shipped"])
        tell(f"{name + ':':<10} {what} shipped, {known['local_tasks']} tasks here")
    tell("champion:  " + ("none" if champion is None else f"{champion['name']} version {champion['version']}"))
    if shipped is not None:
        tell(
            f"shipped:   {shipped['version']}, {len(shipped['files'])} files of {shipped['bytes'] / 1e6:.1f} MB, "
            f"intact; packed {shipped['packed_at']} at {shipped['git_revision'][:12]}"
        )
        for name, md5 in shipped["files"].items():
            tell(f"           {md5} {name}")
    tell(f"data:      {report['data']['folder']} (MLflow: {report['data']['tracking_uri']})")


def show_where_next(pipeline: "Pipeline", path: Path, target: str) -> None:
    """Print where to look after the demo."""
    from metaflow_hpo.adapters.evaluation_files import REPORT_FILE

    tell(
        f"""Where to look next
  report             {pipeline.store.evaluation_folder / REPORT_FILE}
  Dagster and MLflow make ui, then http://127.0.0.1:3000 and http://127.0.0.1:5000
  your own table     metaflow-hpo recommend my.csv --target y
  this one again     metaflow-hpo recommend {path} --target {target}
  over HTTP          make serve, then README, "Serve it" """
    )


def show_lineage(report: dict[str, Any]) -> None:
    """Print where a version or a recommendation came from."""
    recommendation, version, run, inputs = (report[n] for n in ("recommendation", "version", "run", "inputs"))
    if recommendation is not None:
        task = recommendation["task"]
        tell(f"recommendation {recommendation['recommendation_id']} of {recommendation['time']}")
        tell(f"  for task     {task['task_id']} (sha256 {task['sha256'][:16]})")
    if version is None:
        tell(f"  made by      {json.dumps(recommendation['lineage'])}")
        return
    state = "champion" if version["is_champion"] else version["status"]
    present = "the one in data/" if version["meta_dataset_is_present"] else "another one than in data/"
    tell(f"surrogate      {version['name']} version {version['version']} ({state}): {version['reason'] or 'undecided'}")
    tell(f"MLflow run     {run['run_id']}")
    tell(f"git revision   {run['git_revision']}{' with local changes' if run['git_dirty'] else ''}")
    tell(f"meta-data set  md5 {version['meta_dataset_md5']}, {present}")
    if inputs is None:
        tell("trials         not recorded with this version")
        return
    tell(f"catalogue      md5 {inputs['catalogue']['md5']}")
    rows = [
        [t["task_id"], t["trials"], t["search_results"]["path"], t["search_results"]["md5"], t["source"]]
        for t in inputs["tasks"]
    ]
    print_table(f"{inputs['trials']} trials", ["task", "trials", "table", "md5", "raw source"], rows)
    tell("\n".join(["again:", *(f"  {command}" for command in report["reproduce"])]))
