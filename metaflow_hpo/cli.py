"""The command line. Results go to standard output, progress and messages to standard error.

Exit codes: 0 done, 1 an error with a remedy (a `MetaflowHPOError`), 2 wrong usage. Heavy imports stay inside commands.
"""

import logging
import sys
import traceback
from types import TracebackType
from typing import Annotated

import typer

from metaflow_hpo.adapters.secrets import hide_in_logs, hide_passwords
from metaflow_hpo.commands import knowledge, learning, operating, own_network, own_table, past_trials, searching
from metaflow_hpo.errors import MetaflowHPOError, show_controls
from metaflow_hpo.extras import naming_extras
from metaflow_hpo.version import __version__

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
    hide_in_logs()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.getLogger("metaflow_hpo").setLevel(logging.DEBUG if debug else logging.INFO)


def main() -> None:
    """Run the command line and turn errors with a remedy into exit code 1."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    sys.excepthook = _show_hidden
    try:
        with naming_extras():
            app(["--debug", *(one for one in arguments if one != "--debug")] if debug else arguments)
    except _explained() as error:
        told = "".join(traceback.format_exception(error)) if debug else f"error: {_describe(error)}\n"
        sys.stderr.write(show_controls(hide_passwords(told), kept="\n"))
        raise SystemExit(1) from None  # a traceback of the cause would show what is hidden


def _explained() -> tuple[type[Exception], ...]:
    """Return the errors that are told in a sentence: ours, the system's, and MLflow's where it is in use."""
    named = (("mlflow.exceptions", "MlflowException"), ("sqlalchemy.exc", "SQLAlchemyError"), ("sqlite3", "Error"))
    theirs = [getattr(sys.modules.get(module), name, None) for module, name in named]
    return MetaflowHPOError, OSError, *(kind for kind in theirs if kind is not None)


def _show_hidden(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what nobody expected, which is for whoever mends it, without passwords."""
    sys.stderr.write(hide_passwords("".join(traceback.format_exception(kind, error, trace))))


def _describe(error: Exception) -> str:
    """Return the message; those of the system (a full disk, no right to write) and of MLflow lack a remedy."""
    if isinstance(error, MetaflowHPOError):
        return str(error)
    if not isinstance(error, OSError) or type(error).__module__.startswith("requests"):
        first = " ".join(str(error).strip().splitlines()[:1])[:500] or type(error).__name__
        return (
            f"MLflow could not do its part: {first}. Check with `metaflow-hpo status` that its server or database "
            "answers and is whole, and that METAFLOW_HPO_TRACKING_URI names it; --debug shows more."
        )
    return f"{error}. Check that it exists, may be written and has space; METAFLOW_HPO_DATA moves what is kept."


if __name__ == "__main__":
    main()
