"""The command line. Results go to standard output, progress and messages to standard error.

Exit codes: 0 done, 1 an error with a remedy (a `MetaflowHPOError`), 2 wrong usage. Heavy imports stay inside commands.
"""

import logging
import sys
from typing import Annotated

import typer

from metaflow_hpo import __version__
from metaflow_hpo.commands import knowledge, learning, operating, own_network, own_table, past_trials, searching
from metaflow_hpo.errors import MetaflowHPOError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Recommend hyperparameters for a new task from past searches.",
    epilog="Try: metaflow-hpo demo",
)
for commands in (own_table, searching, own_network, learning, past_trials, knowledge, operating):
    app.add_typer(commands.app)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"metaflow-hpo {__version__}")
        raise typer.Exit


Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks; anywhere on the line.")]
Version = Annotated[
    bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
]


@app.callback()
def configure(debug: Debug = False, version: Version = False) -> None:
    """Recommend hyperparameters for a new task from past searches."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.getLogger("metaflow_hpo").setLevel(logging.DEBUG if debug else logging.INFO)


def main() -> None:
    """Run the command line and turn errors with a remedy into exit code 1."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        app(["--debug", *(one for one in arguments if one != "--debug")] if debug else arguments)
    except (MetaflowHPOError, OSError) as error:
        if debug:
            raise
        typer.echo(f"error: {_describe(error)}", err=True)
        raise SystemExit(1) from error


def _describe(error: MetaflowHPOError | OSError) -> str:
    """Return the message; the system's own (a full disk, a folder that cannot be written) lacks a remedy."""
    if isinstance(error, MetaflowHPOError):
        return str(error)
    return f"{error}. Check that it exists, may be written and has space; METAFLOW_HPO_DATA moves what is kept."


if __name__ == "__main__":
    main()
