"""Commands on what is known: show it, start from it, and pack it for a release."""

from pathlib import Path
from typing import Annotated

import typer

from metaflow_hpo.commands import printing
from metaflow_hpo.commands.common import Json, Learner, opened
from metaflow_hpo.errors import MetaflowHPOError

app = typer.Typer()
_PANEL = "What is known"


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo status --json")
def status(learner: Learner = None, as_json: Json = False) -> None:
    """Say what is known, what is served and where the data are."""
    from metaflow_hpo.actions.status import read_status

    with opened(learner) as pipeline:
        report = read_status(pipeline)
    if as_json:
        printing.print_json(report)
        return
    printing.show_status(report)


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo report --output knowledge.html")
def report(
    output: Annotated[Path, typer.Option(help="The page, one self-contained HTML file.")] = Path("knowledge.html"),
    stability: Annotated[Path | None, typer.Option(help="JSON: how stable each meta-feature is.")] = None,
    learner: Learner = None,
    as_json: Json = False,
) -> None:
    """Write a page that shows what is known: tasks, performances, best configurations, importance, noise."""
    from metaflow_hpo.actions.report import write_report

    with opened(learner) as pipeline:
        written = write_report(pipeline, output, stability)
    if as_json:
        printing.print_json(written)
    else:
        printing.tell(f"{written['output']}: {written['trials']} trials on {written['tasks']} tasks")


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo unpack && metaflow-hpo fit")
def unpack(learner: Learner = None, as_json: Json = False) -> None:
    """Start a data folder of your own from the shipped trials; what it holds already is kept."""
    from metaflow_hpo.actions.pack import unpack as unpack_knowledge

    with opened(learner) as pipeline:
        if pipeline.knowledge is None:
            raise MetaflowHPOError("This package was built without such knowledge; install a released one.")
        added = unpack_knowledge(pipeline.knowledge, pipeline.store.data, pipeline.learner_name)
    if as_json:
        printing.print_json({"folder": str(pipeline.store.data), "added": added})
    else:
        printing.tell(f"{len(added)} tasks added to {pipeline.store.data}; next: metaflow-hpo fit")


@app.command(hidden=True, epilog="Try: metaflow-hpo pack --recommender data/surrogate")
def pack(
    data: Annotated[Path | None, typer.Option(help="Data folder; the setting's unless given.")] = None,
    recommender: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a fitted recommender, one a learner; that of the learner in DATA if none."),
    ] = None,
    target: Annotated[Path | None, typer.Option(help="Folder to write; the package's own unless given.")] = None,
    learner: Learner = None,
) -> None:
    """Turn a data folder into the knowledge that ships with the package (for its maintainers)."""
    from metaflow_hpo.actions.pack import pack as pack_knowledge
    from metaflow_hpo.adapters.knowledge import shipped_folder
    from metaflow_hpo.adapters.store import DEFAULT_LEARNER, DataStore
    from metaflow_hpo.learners.registry import MODALITY_OF
    from metaflow_hpo.task import TABLE

    with opened(learner) as pipeline:
        source, name = pipeline.settings.data if data is None else data, pipeline.learner_name
        store = DataStore(source, name)
        folders = recommender or [store.surrogate_folder]
        # Learners of tables share a meta-data set, unless one was collected on tasks of its own.
        is_own = MODALITY_OF[name] != TABLE or store.meta_dataset_path.is_file()
        ships_in = name if is_own and MODALITY_OF[name] == TABLE and name != DEFAULT_LEARNER else MODALITY_OF[name]
        folder = shipped_folder(ships_in) if target is None else target
        provenance = pack_knowledge(source, folder, folders, name if is_own else DEFAULT_LEARNER)
    printing.print_json(provenance)
