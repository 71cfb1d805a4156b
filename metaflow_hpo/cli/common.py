"""What commands share: arguments that mean the same everywhere, and the surroundings in which they work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metaflow_hpo.errors import MetaflowHPOError

if TYPE_CHECKING:
    from metaflow_hpo.adapters.pipeline import Pipeline

Data = Annotated[Path, typer.Argument(help="Your table, csv or parquet.", metavar="DATA")]
Target = Annotated[str | None, typer.Option("--target", help="Column to predict.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Learner = Annotated[str | None, typer.Option("--learner", help="mlp or svm; the setting's unless given.")]


@contextmanager
def opened(learner: str | None = None) -> "Iterator[Pipeline]":
    """Yield the surroundings of a step, with its progress on standard error while the block lasts.

    Args:
        learner: What is tuned; the setting's unless given.

    Raises:
        MetaflowHPOError: If a setting is wrong.
    """
    from pydantic import ValidationError

    from metaflow_hpo.adapters.pipeline import Pipeline
    from metaflow_hpo.adapters.terminal import show_progress
    from metaflow_hpo.settings import Settings

    try:
        settings = Settings() if learner is None else Settings.model_validate({"learner": learner})
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors())
        raise MetaflowHPOError(f"A setting is wrong: {found}. Mend METAFLOW_HPO_* or [tool.metaflow_hpo].") from error
    with show_progress() as progress:
        yield Pipeline(settings, progress)
