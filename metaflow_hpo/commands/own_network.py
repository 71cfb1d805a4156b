"""Commands on a network of a person's own: train one on their table, and predict rows with it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metaflow_hpo.commands import printing
from metaflow_hpo.commands.common import (
    Data,
    Force,
    Json,
    Kind,
    Learner,
    Modality,
    Options,
    Script,
    Target,
    check_output,
    check_script,
    describe_trial,
    opened,
    read_options,
    write_script,
)
from metaflow_hpo.errors import show_controls

if TYPE_CHECKING:
    from metaflow_hpo.adapters.pipeline import Pipeline
    from metaflow_hpo.task import TaskData
    from metaflow_hpo.trial import Trial

app = typer.Typer()
_PANEL = "Your table"


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo train my.csv --target y")
def train(
    data: Data,
    target: Target = None,
    kind: Kind = None,
    modality: Modality = None,
    option: Options = None,
    configuration: Annotated[
        Path | None, typer.Option(help="JSON file; the first recommendation unless given, or the default.")
    ] = None,
    learner: Learner = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training.")] = 0,
    script: Script = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train one configuration on your data: validated on its splits, refitted and scored on the test rows."""
    from metaflow_hpo.actions import advise, own_trials
    from metaflow_hpo.actions.feedback import remember
    from metaflow_hpo.errors import NoChampionError
    from metaflow_hpo.modalities.registry import read_source
    from metaflow_hpo.modalities.table.table_data import TableData

    check_script(script, force)
    options = read_options(option)
    with opened(learner, data=data, modality=modality) as pipeline:
        if configuration is None:
            described = advise.describe_file(data, target, kind, pipeline.progress, modality=modality, options=options)
            rows = described.data
            try:
                answer = advise.recommend(pipeline, described, 1)
            except NoChampionError:
                name, chosen = pipeline.learner.name, pipeline.learner.space.default
                printing.say(f"note: nothing is known of {name} from past tasks: its default is trained.")
            else:
                printing.warn_if_novel(answer["novelty"])
                remember(pipeline, answer)
                chosen = answer["recommendations"][0]["configuration"]
        else:
            chosen = advise.read_configuration(configuration, pipeline.learner)
            rows = read_source(data, target, kind=kind, modality=modality, options=options)
        printing.show_notes(rows.task.notes)
        trial, model = own_trials.train_and_keep(pipeline, rows, chosen, seed=seed, path=data)
        recommendation = _record_training(pipeline, rows, trial)
        if script is not None:
            write_script(pipeline, script, data, rows, trial.configuration, seed)
        if model is None:
            printing.say(f"note: {_explain_no_model(trial, script)}")
        result = {**describe_trial(trial, rows.task.metric.name), "recommendation_id": recommendation, "model": model}
    if as_json:
        printing.print_json(result)
    else:
        metric = rows.task.metric
        header = ["", metric.name]
        lines = [
            ["validated", metric.restore(trial.performance)],
            ["test rows", metric.restore(trial.test_performance)],
        ]
        printing.print_table(f"{rows.task.task_id}: {trial.status} {trial.reason}", header, lines)
        printing.tell("configuration: " + json.dumps(dict(trial.configuration)))
        if model is not None:
            new = "rows.csv" if isinstance(rows, TableData) else "NEW_ITEMS"
            printing.tell(f"predict:       metaflow-hpo predict {new} --model {model['uri']}")
            # Without `local` MLflow would download an environment of its own first.
            command = f"mlflow models serve -m {model['uri']} --env-manager local"
            printing.tell(f"serve it:      MLFLOW_TRACKING_URI={pipeline.tracking.address} {command}")


@app.command(
    rich_help_panel=_PANEL,
    epilog="Try: metaflow-hpo predict rows.csv --model models:/metaflow_hpo_surrogate_my/1 --output predictions.csv",
)
def predict(
    data: Annotated[
        Path, typer.Argument(help="Rows with the columns that were trained on; or files, a folder or a zip of items.")
    ],
    model: Annotated[str, typer.Option(help="models:/NAME/VERSION, as train says it.")],
    output: Annotated[
        Path | None,
        typer.Option(help="Write a csv here, not to standard output.", dir_okay=False, callback=check_output),
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict rows or items with a network that train registered: csv on standard output, one line each."""
    from metaflow_hpo.actions.kept_network import predict_file
    from metaflow_hpo.adapters.files import write_csv

    with opened() as pipeline:
        predicted, notes = predict_file(pipeline, data, model)
    printing.show_notes(notes)
    if output is not None:
        write_csv(output, predicted)
        printing.say(f"wrote {len(predicted)} predictions to {output}")
    if as_json:
        printing.print_json({"model": model, "predictions": predicted.to_dict("records")})
    elif output is None:
        text = predicted.to_csv(index=False)
        print(show_controls(text, kept="\n") if sys.stdout.isatty() else text, end="")


def _explain_no_model(trial: "Trial", script: Path | None) -> str:
    from metaflow_hpo.learners.registry import MODALITY_OF

    if trial.status == "failed" or (trial.learner in MODALITY_OF and trial.learner != "svm"):
        return "No model was kept: the training failed."
    if trial.learner != "svm":
        return f"No model was kept: {trial.learner} is code of your own, which may keep its model itself."
    again = "run the script" if script is not None else "--script FILE writes a script that does"
    return (
        f"No model was kept, and there is nothing to predict with: a trained {trial.learner} could only be stored as a "
        f"pickle, which runs code when it is opened and is refused here. To train it again on your own: {again}."
    )


def _record_training(pipeline: "Pipeline", rows: "TaskData", trial: "Trial") -> str | None:
    """Record what a recommended configuration came to; return the id of the recommendation, if it was one."""
    from metaflow_hpo.actions.feedback import find_recommendation, record_outcomes

    found = find_recommendation(pipeline, rows.task.sha256, trial.configuration, rows.task.metric.name)
    if found is not None:
        record_outcomes(pipeline, found, [(trial.configuration, trial.performance)], source="train")
    return found
