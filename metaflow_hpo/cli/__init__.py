"""The command line. Results go to standard output, progress and messages to standard error.

Exit codes: 0 done, 1 an error with a remedy (a `MetaflowHPOError`), 2 wrong usage. Heavy imports stay inside commands.
"""

import logging
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from metaflow_hpo.cli import knowledge, own_table, past_trials, steps, versions
from metaflow_hpo.errors import MetaflowHPOError

_COMMANDS: tuple[tuple[Callable[..., None], str], ...] = (
    (own_table.recommend, "recommend my.csv --target y --json"),
    (own_table.train, "train my.csv --target y"),
    (own_table.search, "search my.csv --target y --trials 20 --strategy tpe --output trials.parquet"),
    (past_trials.fit, "fit --trials trials.parquet --output recommender"),
    (past_trials.evaluate, "evaluate --json"),
    (past_trials.benchmark, "benchmark trials.parquet --folds 5 --output report"),
    (past_trials.import_benchmark, "import-benchmark taskset taskset.parquet --output t.parquet"),
    (knowledge.status, "status --json"),
    (knowledge.unpack, "unpack && metaflow-hpo fit"),
    (knowledge.pack, "pack --recommender data/surrogate"),
    (knowledge.report, "report --output knowledge.html"),
    (own_table.describe, "describe my.csv --target y > request.json"),
    (steps.step, "step dataset_catalogue"),
    (steps.demo, "demo"),
    (steps.add, "add my.csv --target y"),
    (versions.promote, "promote 3 --reason 'version 4 is slower'"),
    (versions.audit, "audit --json"),
    (versions.lineage, "lineage 1 --json"),
    (own_table.feedback, "feedback 0123456789abcdef --trials trials.csv"),
)
"""All commands in the order of `--help`, each with a call to try."""
_FOR_MAINTAINERS = (knowledge.pack,)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Recommend hyperparameters for a new task from past searches.",
    epilog="Try: metaflow-hpo demo",
)
for _command, _call in _COMMANDS:
    app.command(epilog=f"Try: metaflow-hpo {_call}", hidden=_command in _FOR_MAINTAINERS)(_command)


@app.callback()
def configure(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    """Recommend hyperparameters for a new task from past searches."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.getLogger("metaflow_hpo").setLevel(logging.DEBUG if debug else logging.INFO)


def main() -> None:
    """Run the command line and turn errors with a remedy into exit code 1."""
    debug = "--debug" in sys.argv
    try:
        app()
    except MetaflowHPOError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from error
