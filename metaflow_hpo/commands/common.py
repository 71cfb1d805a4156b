"""What commands share: options that several of them take, and the surroundings that they work in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from metaflow_hpo.adapters.pipeline import Pipeline

Data = Annotated[Path, typer.Argument(help="Your table, csv or parquet.", metavar="DATA")]
Target = Annotated[str | None, typer.Option("--target", help="Column to predict.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Learner = Annotated[str | None, typer.Option("--learner", help="mlp or svm; the setting's unless given.")]


@contextmanager
def opened(learner: str | None = None) -> "Iterator[Pipeline]":
    """Open the surroundings that the settings describe, and show progress on standard error.

    Args:
        learner: Learner in place of the setting's.

    Raises:
        MetaflowHPOError: If a setting is wrong.
    """
    from metaflow_hpo.adapters.pipeline import Pipeline
    from metaflow_hpo.adapters.terminal import show_progress
    from metaflow_hpo.settings import Settings

    settings = Settings.load(**({} if learner is None else {"learner": learner}))
    with show_progress() as progress:
        yield Pipeline(settings, progress)
