"""The command line. Results go to standard output, progress and messages to standard error.

Exit codes: 0 done, 1 an error with a remedy (a `MetaflowHPOError`), 2 wrong usage. Heavy imports stay inside commands.
"""

import logging
import sys
from typing import Annotated

import typer

from metaflow_hpo.commands import knowledge, learning, operating, own_table
from metaflow_hpo.errors import MetaflowHPOError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Recommend hyperparameters for a new task from past searches.",
    epilog="Try: metaflow-hpo demo",
)
for commands in (own_table, learning, knowledge, operating):
    app.add_typer(commands.app)

Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@app.callback()
def configure(debug: Debug = False) -> None:
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


if __name__ == "__main__":
    main()
