"""What commands share: options that several of them take, and the surroundings that they work in."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from metaflow_hpo.adapters.pipeline import Pipeline
    from metaflow_hpo.learners.learner import Learner as LearnerObject
    from metaflow_hpo.space import Configuration
    from metaflow_hpo.task import TaskData
    from metaflow_hpo.trial import Trial

DATA_HELP = (
    "Your table (csv, JSON lines, Excel, parquet; also packed), a folder with a folder a class of images or "
    "recordings, a table of texts, series, or a zip of these."
)
Data = Annotated[Path, typer.Argument(help=DATA_HELP, metavar="DATA")]
Target = Annotated[str | None, typer.Option("--target", help="Column to predict.")]
Modality = Annotated[
    str | None,
    typer.Option(
        "--modality",
        help="What the inputs are: table, image, text, audio, series, opaque, a plug-in's name or module:attribute; "
        "told by the file unless given.",
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="What only this modality knows, as under `options` of a sidecar, e.g. text=review; may be repeated.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Learner = Annotated[
    str | None,
    typer.Option(
        "--learner",
        help="realmlp, mlp, svm, cnn, text, audio_cnn, series, a plug-in's name or module:attribute. Unless given it "
        "is the setting's, or where that does not fit the data the modality's.",
    ),
]
Assume = Annotated[
    list[str] | None,
    typer.Option("--assume", help="name=value of a hyperparameter that older trials lack; repeat it."),
]
Kind = Annotated[
    Literal["binary", "multiclass", "classification", "regression"] | None,
    typer.Option("--kind", help="What the target is; told from its values unless given."),
]


def check_output(path: Path | None) -> Path | None:
    """Refuse a file that cannot be written before the work that it is for.

    Raises:
        BadParameter: If a part of the path is no folder, or the folder cannot be written.
    """
    if path is not None:
        folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise typer.BadParameter(f"{path} cannot be written: {folder} is no folder that may be written to.")
    return path


def read_assumptions(texts: list[str] | None) -> dict[str, Any]:
    """Return what is to be assumed of older trials.

    Raises:
        BadParameter: If a text is not name=value.
    """
    return dict(_read_pair(text, "--assume name=value, such as weight_decay=0") for text in texts or ())


def read_options(texts: list[str] | None) -> dict[str, Any] | None:
    """Return the options of `--option`; None where there are none.

    Raises:
        BadParameter: If a text is not NAME=VALUE.
    """
    return dict(_read_pair(text, "--option NAME=VALUE, such as text=review") for text in texts or ()) or None


def _read_pair(text: str, expected: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"expected {expected}; got {text!r}.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def check_trials_output(path: Path | None) -> Path | None:
    """Refuse a file of trials whose name does not say what it is, or that cannot be written.

    Raises:
        BadParameter: If it ends in neither .csv nor .parquet, or cannot be written.
    """
    if path is not None and path.suffix.lower() not in {".csv", ".parquet"}:
        raise typer.BadParameter(f"expected a name that ends in .csv or .parquet; got {path}.")
    return check_output(path)


Script = Annotated[
    Path | None,
    typer.Option(
        help="Write a Python script that trains it on your data without this package.",
        dir_okay=False,
        callback=check_output,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the script of --script if there is one.")]


def check_script(path: Path | None, force: bool) -> None:
    """Refuse to replace a script before any work: a person may have gone on with it, or `train.py` be their own.

    Raises:
        BadParameter: If there is a file, and `force` is not given.
    """
    if path is not None and os.path.lexists(path) and not force:
        raise typer.BadParameter(f"{path} is there already; choose another name for --script, or give --force.")
    if force and path is None:
        raise typer.BadParameter("--force goes with --script FILE.")


def check_seconds(seconds: float | None) -> float | None:
    """Refuse a time limit that is not above 0.

    Raises:
        BadParameter: If it is not.
    """
    if seconds is not None and not seconds > 0:
        raise typer.BadParameter(f"expected more than 0 seconds; got {seconds}.")
    return seconds


@contextmanager
def opened(
    learner: str | None = None,
    *,
    quiet: bool = False,
    own_learner: "LearnerObject | None" = None,
    data: Path | None = None,
    modality: str | None = None,
) -> "Iterator[Pipeline]":
    """Open the surroundings that the settings describe, and show progress on standard error.

    Args:
        learner: Learner in place of the setting's.
        quiet: Show no progress.
        own_learner: A learner that has no name in the settings.
        data: What is worked on: its modality decides where no learner is chosen, see `Pipeline.asked`.
        modality: What was said of it.

    Raises:
        MetaflowHPOError: If a setting is wrong.
    """
    from metaflow_hpo.adapters.files import remove_leftovers
    from metaflow_hpo.adapters.pipeline import Pipeline, show_nothing
    from metaflow_hpo.adapters.terminal import show_progress
    from metaflow_hpo.modalities.registry import tell_modality
    from metaflow_hpo.settings import Settings

    settings = Settings.load(**({} if learner is None else {"learner": learner}))
    remove_leftovers(settings.data)
    with nullcontext(show_nothing) if quiet else show_progress() as progress:
        pipeline = Pipeline(settings, progress, own_learner=own_learner, is_chosen=learner is not None)
        yield pipeline if data is None else pipeline.asked(tell_modality(data, modality))


def write_script(
    pipeline: "Pipeline", script: Path, table: Path, rows: "TaskData", configuration: "Configuration", seed: int = 0
) -> None:
    """Write the script of `--script` and say how to run it."""
    from metaflow_hpo.actions import script as scripts
    from metaflow_hpo.commands.printing import say

    pipeline.progress(f"writing {script.name}", 0, 0)
    scripts.write_script(pipeline, script, table, rows, configuration, seed=seed)
    say(f"wrote {script}; run it with: python {script}")


def describe_trial(trial: "Trial", metric: str) -> dict[str, Any]:
    """Return what a person wants to know of a trial, JSON-ready."""
    names = ("status", "reason", "performance", "test_performance", "duration_s", "seed")
    common = {name: getattr(trial, name) for name in names} | {f"fidelity_{trial.fidelity_unit}": trial.fidelity}
    return {"configuration": dict(trial.configuration), "metric": metric, **common, "scores": dict(trial.scores)}
