"""The pictures with which the demo ends."""

from metaflow_hpo.actions import demo
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.settings import Settings


def test_the_pictures_of_the_demo_are_a_folder_with_a_folder_a_class(tmp_path):
    pipeline = Pipeline(Settings(data=tmp_path / "data"))
    folder = demo.write_pictures(pipeline)
    assert len(list(folder.rglob("*.png"))) == demo.PICTURES
    task = read_source(folder).task
    assert (task.modality, task.classes, task.task_id) == ("image", 10, "digits")
    assert pipeline.on(task.modality).learner_name == "cnn"
