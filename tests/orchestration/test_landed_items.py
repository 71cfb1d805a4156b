"""A zip of recordings and a table of sentences in the inbox go through every asset, to a version each."""

import zipfile
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.adapters import landed
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.orchestration import assets
from metaflow_hpo.orchestration.main_job import materialize
from metaflow_hpo.orchestration.partitions import TASKS
from metaflow_hpo.orchestration.resources import PipelineResource
from metaflow_hpo.settings import Settings
from tests.modalities.audio.sounds import sine, written

pytestmark = [pytest.mark.integration, pytest.mark.slow]
SETTINGS = {"TASKS": "[]", "CORE_TRIALS": "8", "RANDOM_TRIALS": "0", "FOLDS": "3"}
LEARNERS = {"reviews": "text", "tones": "audio_cnn"}


def land(inbox: Path) -> None:
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(inbox / "tones.zip", "w") as archive:
        for number in range(40):
            label, hertz = (("low", 300), ("high", 1200))[number % 2]
            wave = sine(hertz * rng.uniform(0.9, 1.1), 0.2, 8_000)
            archive.writestr(f"tones/{label}/{number}.wav", written(wave, 8_000))
    words = [f"the {('good', 'bad')[n % 2]} film of number {n} was seen" for n in range(60)]
    pd.DataFrame({"text": words, "label": ["yes", "no"] * 30}).to_csv(inbox / "reviews.csv", index=False)


def test_recordings_and_sentences_are_searched_described_learned_from_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_template: Path
) -> None:
    monkeypatch.setattr(landed, "SETTLED_S", 0.0)
    data = tmp_path / "data"
    for folder in (data / "mlflow", data / "inbox", tmp_path / "dagster"):
        folder.mkdir(parents=True)
    (data / "mlflow" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    for name, value in {**SETTINGS, "DATA": str(data)}.items():
        monkeypatch.setenv(f"METAFLOW_HPO_{name}", value)
    land(data / "inbox")
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        assert materialize([assets.dataset_catalogue], instance, PipelineResource())
        partitions = instance.get_dynamic_partitions(TASKS)
        assert sorted(partitions) == sorted(LEARNERS)
        collected = [assets.search_results, assets.meta_features]
        assert materialize(collected, instance, PipelineResource(), partitions)
        result = dg.materialize(
            [*assets.ASSETS, *assets.OTHERS],
            selection=dg.AssetSelection.assets(*assets.OTHERS),
            instance=instance,
            resources={"pipeline": PipelineResource()},
        )
        [shown] = [event.materialization.metadata for event in result.get_asset_materialization_events()]
        [described] = [
            record.asset_materialization.metadata["task"].value
            for record in instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=dg.AssetKey("meta_features"), asset_partitions=["tones"]), limit=1
            ).records
        ]
    assert described.startswith("![plot](data:image/png;base64,")  # spectrograms
    assert shown["learners"].value == len(LEARNERS)
    for task_id, learner in LEARNERS.items():
        other = Pipeline(Settings(learner=learner))
        trials = pd.read_parquet(other.store.search_results_path(task_id))
        assert set(trials["learner"]) == {learner}
        assert task_id in set(other.store.read_meta_dataset()["task_id"])
        report = shown[learner].value
        assert report["version"] == 1, report
        # On so few tasks the gate may judge either way; what it says is what is served.
        assert (other.registry.champion() is not None) == report["promoted"]
