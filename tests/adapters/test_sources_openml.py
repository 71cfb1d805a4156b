"""OpenML through its real client, offline: the client reads a cache that the test writes."""

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from metaflow_hpo.adapters.sources.openml_source import load_openml_task, openml_suite
from metaflow_hpo.errors import InvalidTaskError

openml = pytest.importorskip("openml")

NAMESPACE = 'xmlns:oml="http://openml.org/openml"'
DESCRIPTION = f"""<oml:data_set_description {NAMESPACE}><oml:id>61</oml:id><oml:name>flowers</oml:name>
<oml:version>1</oml:version><oml:description>d</oml:description><oml:format>ARFF</oml:format>
<oml:licence>CC-BY 4.0</oml:licence><oml:url>http://127.0.0.1:1/flowers.arff</oml:url><oml:file_id>61</oml:file_id>
<oml:default_target_attribute>class</oml:default_target_attribute>
<oml:row_id_attribute>number</oml:row_id_attribute><oml:ignore_attribute>remark</oml:ignore_attribute>
</oml:data_set_description>"""
COLUMNS = ("number", "length", "colour", "remark", "class")
ARFF = """@RELATION flowers
@ATTRIBUTE number INTEGER
@ATTRIBUTE length REAL
@ATTRIBUTE colour {red,blue}
@ATTRIBUTE remark STRING
@ATTRIBUTE class {a,b}
@DATA
"""


def feature(index: int, name: str) -> str:
    values = {"class": ("a", "b"), "colour": ("red", "blue")}.get(name, ())
    nominal = "".join(f"<oml:nominal_value>{value}</oml:nominal_value>" for value in values)
    kind = "nominal" if values else "string" if name == "remark" else "numeric"
    flags = "".join(
        f"<oml:is_{flag}>{str(name == owner).lower()}</oml:is_{flag}>"
        for flag, owner in (("target", "class"), ("ignore", "remark"), ("row_identifier", "number"))
    )
    return (
        f"<oml:feature><oml:index>{index}</oml:index><oml:name>{name}</oml:name><oml:data_type>{kind}</oml:data_type>"
        f"{nominal}{flags}<oml:number_of_missing_values>0</oml:number_of_missing_values></oml:feature>"
    )


def task_xml(task_type: int, target: str) -> str:
    kind = {1: "Supervised Classification", 2: "Supervised Regression", 5: "Clustering"}[task_type]
    return f"""<oml:task {NAMESPACE}><oml:task_id>7</oml:task_id><oml:task_type_id>{task_type}</oml:task_type_id>
<oml:task_type>{kind}</oml:task_type><oml:input name="source_data"><oml:data_set><oml:data_set_id>61</oml:data_set_id>
<oml:target_feature>{target}</oml:target_feature></oml:data_set></oml:input>
<oml:input name="estimation_procedure"><oml:estimation_procedure><oml:type>crossvalidation</oml:type>
<oml:data_splits_url>http://127.0.0.1:1/splits</oml:data_splits_url>
<oml:parameter name="number_repeats">1</oml:parameter><oml:parameter name="number_folds">10</oml:parameter>
</oml:estimation_procedure></oml:input></oml:task>"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the client at an address that nothing listens on, and at a cache under tmp_path."""
    monkeypatch.setattr(openml.config, "server", "http://127.0.0.1:1/api/v1/xml")
    monkeypatch.setattr(openml.config, "_root_cache_directory", tmp_path)
    monkeypatch.setattr(openml.config, "connection_n_retries", 1)
    return Path(openml.config.get_cache_directory())


def fill(cache: Path, task_type: int = 1, target: str = "class") -> None:
    (cache / "tasks" / "7").mkdir(parents=True)
    (cache / "tasks" / "7" / "task.xml").write_text(task_xml(task_type, target))
    data_set = cache / "datasets" / "61"
    data_set.mkdir(parents=True)
    (data_set / "description.xml").write_text(DESCRIPTION)
    features = "".join(feature(index, name) for index, name in enumerate(COLUMNS))
    (data_set / "features.xml").write_text(f"<oml:data_features {NAMESPACE}>{features}</oml:data_features>")
    rows = [
        f"{number},{number * 0.37 % 5:.2f},{('red', 'blue', '?')[number % 3]},seen,{'ab'[number % 2]}"
        for number in range(60)
    ]
    (data_set / "dataset.arff").write_text(ARFF + "\n".join(rows) + "\n")


def test_a_classification_task_is_read_from_the_clients_cache(cache: Path) -> None:
    fill(cache)
    data = load_openml_task(7)
    assert (data.task.task_id, data.task.kind, data.task.licence) == ("openml_7", "binary", "CC-BY 4.0")
    assert data.task.source == "openml/flowers (task 7, data set 61)"
    assert list(data.features.columns) == ["length", "colour"]
    assert set(data.features["colour"].dropna()) == {"red", "blue"}
    assert data.features["colour"].isna().sum() == 20
    assert data.class_names == ("a", "b")


def test_a_regression_task_is_read_from_the_clients_cache(cache: Path) -> None:
    fill(cache, 2, "length")
    data = load_openml_task(7)
    assert (data.task.kind, data.task.target, data.task.columns) == ("regression", "length", 2)


def test_a_task_of_another_type_is_refused(cache: Path) -> None:
    fill(cache, 5)
    with pytest.raises(InvalidTaskError, match="OpenML task 7 is a Clustering"):
        load_openml_task(7)


def test_without_network_and_cache_the_message_says_so(cache: Path) -> None:
    with pytest.raises(InvalidTaskError, match=r"OpenML task 7; reading it failed.*openml\.org and the network"):
        load_openml_task(7)
    with pytest.raises(InvalidTaskError, match="OpenML suite 99; reading it failed"):
        openml_suite(99)


def test_a_suite_lists_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = f"""<oml:study {NAMESPACE}><oml:id>99</oml:id><oml:alias>s</oml:alias>
<oml:main_entity_type>task</oml:main_entity_type><oml:name>n</oml:name><oml:description>d</oml:description>
<oml:status>active</oml:status><oml:creation_date>2019</oml:creation_date><oml:creator>1</oml:creator>
<oml:data><oml:data_id>61</oml:data_id></oml:data>
<oml:tasks><oml:task_id>31</oml:task_id><oml:task_id>7</oml:task_id></oml:tasks></oml:study>"""
    monkeypatch.setattr(openml._api_calls, "_perform_api_call", lambda *_: answer)
    assert openml_suite("s") == [7, 31]


def test_without_the_client_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "openml":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "openml")
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InvalidTaskError, match=r"pip install 'metaflow-hpo\[openml\]'"):
        openml_suite(99)
