import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.opaque import OPAQUE_MODALITY, read_opaque
from metaflow_hpo.modalities.registry import describe, read_source
from metaflow_hpo.task import Task
from metaflow_hpo.testing import check_modality

FULL = """
task_id: digits_3
family: digits
metric: {name: loss, direction: min, low: 0}
data: s3://bucket/digits/3
meta_features: {rows: 1e3, classes: 10}
"""


def test_a_description_is_read_from_a_file_or_a_dict(tmp_path):
    path = tmp_path / "Task 3.yaml"
    path.write_text(FULL)
    data = read_opaque(path)
    assert (data.task_id, data.task.family, data.task.modality) == ("digits_3", "digits", "opaque")
    assert data.task.metric == Metric("loss", "min", low=0)
    assert (data.address, data.meta_features) == ("s3://bucket/digits/3", {"rows": 1000.0, "classes": 10.0})
    values = {"metric": {"name": "loss", "direction": "min", "low": 0}, "data": "s3://bucket/digits/3"}
    same = read_opaque({**values, "task_id": "digits_3", "meta_features": {"classes": 10, "rows": 1000}})
    assert same.task.sha256 == data.task.sha256
    assert Task.from_dict(data.task.to_dict()) == data.task


def test_a_metric_is_enough_and_the_file_names_the_task(tmp_path):
    path = tmp_path / "My Task-3.yaml"
    path.write_text("metric: accuracy\n")
    data = read_opaque(path)
    assert (data.task_id, data.task.family, data.address, data.meta_features) == ("my_task_3", "my_task_3", "", {})


@pytest.mark.parametrize(
    "change", [{"metric": "rmse"}, {"data": "b"}, {"meta_features": {"rows": 4}}, {"task_id": "other"}]
)
def test_the_digest_is_of_what_the_description_says(change):
    base = {"task_id": "t", "metric": "accuracy", "data": "a", "meta_features": {"rows": 3}}
    assert read_opaque(base).task.sha256 != read_opaque({**base, **change}).task.sha256
    assert read_opaque(base).task.sha256 == read_opaque({**base, "family": "f", "licence": "MIT"}).task.sha256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metric: accuracy\nmetrics: 3", r"found unknown keys \['metrics'\]"),
        ("metric: accuracy\nmodality: table", "found modality 'table'"),
        ("data: here", "Expected a metric in .*found none. Write `metric: accuracy`"),
        ("metric: speed", "Expected a metric among"),
        ("metric: {name: speed}", "Expected a metric among"),
        ("metric: accuracy\nmeta_features: [1, 2]", r"Expected meta_features .* as {name: number}"),
        ("metric: accuracy\nmeta_features: {rows: many}", "Expected a finite number as meta-feature rows .*'many'"),
        ("metric: accuracy\nmeta_features: {rows: .nan}", "Expected a finite number"),
        ("metric: accuracy\nmeta_features: {a b: 1}", "Expected names of letters"),
        ("metric: accuracy\ntask_id: [1]", "Expected task_id in .* as text"),
        ("metric: accuracy\ntask_id: A B", "task_id must match"),
        ("- a", "Expected task_id, family, metric, data, meta_features, licence in .* found list"),
        ("", "found NoneType"),
        ("a: [", "Expected YAML in UTF-8"),
    ],
)
def test_what_is_no_description_says_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "task.yaml"
    path.write_text(text)
    with pytest.raises(InvalidTaskError, match=message):
        read_opaque(path)


def test_a_missing_file_and_a_nameless_dict_are_refused(tmp_path):
    with pytest.raises(InvalidTaskError, match="No such file"):
        read_opaque(tmp_path / "none.yaml")
    with pytest.raises(InvalidTaskError, match="Expected task_id, a lower-case name"):
        read_opaque({"metric": "accuracy"})


def test_data_of_one_name_in_two_folders_are_two_tasks_and_a_copy_is_the_same(tmp_path, monkeypatch):
    digests = {}
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name / "folder" / "deep").mkdir(parents=True)
        (tmp_path / name / "data.bin").write_bytes(content)
        (tmp_path / name / "folder" / "deep" / "x").write_bytes(content)
        monkeypatch.chdir(tmp_path / name)
        tasks = [
            read_opaque({"task_id": "t", "metric": "accuracy", "data": data}).task
            for data in ("data.bin", "folder", "s3://bucket/data", "", "~nobody/data", "a\0b")
        ]
        digests[name] = [task.sha256 for task in tasks]
    same = [a == b for a, b in zip(digests["a"], digests["b"], strict=True)]
    assert same == [False, False, True, True, True, True]
    assert digests["a"] == digests["c"]
    (tmp_path / "c" / "folder" / "deep" / "x").rename(tmp_path / "c" / "folder" / "deep" / "y")
    assert read_opaque({"task_id": "t", "metric": "accuracy", "data": "folder"}).task.sha256 != digests["a"][1]


def test_a_place_tells_tasks_apart_that_are_described_alike():
    values = {"task_id": "t", "metric": "accuracy"}
    digests = {read_opaque(values, place).task.sha256 for place in ("", "/a", "/b")}
    assert len(digests) == 3


@pytest.mark.parametrize("name", ["数据.yaml", "训练.yaml", "a#b.yaml", "a%b.yaml", "Ünïcode.yaml", "🙂.yaml"])
def test_a_description_may_be_called_anything(tmp_path, name):
    ids = set()
    for one in (name, "a&b.yaml"):
        (tmp_path / one).write_text("metric: accuracy\n")
        ids.add(read_opaque(tmp_path / one).task_id)
    assert len(ids) == 2


def write_description(tmp_path):
    path = tmp_path / "Task 3.yaml"
    path.write_text(FULL)
    return path


def test_it_keeps_the_contract_of_modalities(tmp_path):
    check_modality(OPAQUE_MODALITY, write_description(tmp_path))


def test_it_is_described_by_the_numbers_that_were_given(tmp_path):
    data = read_source(write_description(tmp_path))
    assert describe(data) == {"mf_given.classes": 10.0, "mf_given.rows": 1000.0}
    assert data.task.source == "inbox/Task 3.yaml"
    assert data.address == "s3://bucket/digits/3"


def test_a_sidecar_is_no_description_and_a_file_in_yaml_that_is_asked_for_is_one(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("metric: accuracy\n")
    assert not OPAQUE_MODALITY.recognises(path)
    assert read_source(path).task.modality == "opaque"
    path.write_text("data: [\n")
    assert not OPAQUE_MODALITY.recognises(path)
    with pytest.raises(InvalidTaskError, match="Expected YAML in UTF-8"):
        read_source(path)


def test_what_is_no_kept_task_is_refused(tmp_path):
    (tmp_path / "t.opaque").write_text("{}")
    with pytest.raises(InvalidTaskError, match=r"Expected an opaque task in .*Make it again"):
        OPAQUE_MODALITY.load(tmp_path / "t.opaque")
