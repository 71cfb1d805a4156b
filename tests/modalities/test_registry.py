"""Modalities are found by what a file is, by name, and in other packages."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError, MetaflowHPOError
from metaflow_hpo.modalities import registry
from metaflow_hpo.modalities.hints import Hints, read_hints
from metaflow_hpo.modalities.registry import describe, find_modality, get_modality, read_source
from metaflow_hpo.modalities.table.modality import TABLE_MODALITY
from metaflow_hpo.testing import check_modality


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60), "b": rng.choice(["u", "v"], 60), "y": [0, 1] * 30})
    frame.to_csv(tmp_path / "my.csv", index=False)
    return tmp_path / "my.csv"


def test_the_table_keeps_the_contract_of_modalities(table: Path) -> None:
    check_modality(TABLE_MODALITY, table, target="y")


def test_a_table_is_recognised_by_its_name_and_described_by_its_group(table: Path) -> None:
    data = read_source(table, "y")
    assert data.task.modality == "table"
    assert tuple(describe(data)) == TABLE_MODALITY.meta_features[0].columns


def test_what_nobody_recognises_is_left_to_the_reader_of_tables(tmp_path: Path) -> None:
    assert find_modality(tmp_path / "notes.txt") is TABLE_MODALITY
    with pytest.raises(InvalidTaskError, match="Expected a"):
        read_source(tmp_path / "movie.mp4")


def test_a_modality_that_was_said_is_taken(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("modality: sound\n")
    with pytest.raises(MetaflowHPOError, match=r"The modality must be one of table.*got 'sound'"):
        read_source(tmp_path / "my.csv")


def test_a_source_of_several_modalities_is_asked_for(monkeypatch, table: Path) -> None:
    monkeypatch.setattr(registry, "recognise", lambda source: ["table", "text", "series"])
    with pytest.raises(InvalidTaskError, match=r"my.csv could be of the modalities text, series\. Say which with"):
        find_modality(table)


def test_what_may_be_a_table_too_is_what_else_it_may_be(monkeypatch, table: Path) -> None:
    monkeypatch.setattr(registry, "recognise", lambda source: ["table", "opaque"])
    assert find_modality(table).name == "opaque"


WORDS = """
from metaflow_hpo.modalities.meta_features import MetaFeature, MetaFeatureGroup

LETTERS = MetaFeatureGroup("letters", 1, {"one": MetaFeature("One.")}, ("words",), lambda data: {"one": 1.0})
EXTRA = MetaFeatureGroup("extra", 1, {"two": MetaFeature("Two.")}, (), lambda data: {"two": 2.0})


class Words:
    name, meta_features = "words", (LETTERS,)

    def recognises(self, source):
        return source.suffix == ".words"

    def read(self, source, hints):
        return source

    save = load = read


WORDS = Words()
"""


def test_what_is_not_installed_is_known_to_every_process_that_has_it_in_its_settings(tmp_path: Path) -> None:
    (tmp_path / "my_words.py").write_text(WORDS)
    code = """
from pathlib import Path
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.modalities.registry import find_modality, get_modality, groups_of
from metaflow_hpo.settings import Settings
Pipeline(Settings.load())
print(find_modality(Path("a.words")).name, get_modality("words").name, [group.name for group in groups_of("words")])
"""
    environment = {**os.environ, "METAFLOW_HPO_PLUGINS": '["my_words:WORDS", "my_words:EXTRA"]'}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    run = partial(subprocess.run, [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run(env=environment).stdout == "words words ['letters', 'extra']\n"
    refused = run(env={name: value for name, value in environment.items() if name != "METAFLOW_HPO_PLUGINS"})
    assert "or set METAFLOW_HPO_PLUGINS=" in refused.stderr


def test_a_plugin_that_is_neither_modality_nor_group_is_refused() -> None:
    with pytest.raises(MetaflowHPOError, match=r"a MetaFeatureGroup at 'math:pi'; found 3\.14.*setting `plugins`"):
        registry.add_plugins(["math:pi"])


def test_what_is_no_modality_is_refused() -> None:
    with pytest.raises(MetaflowHPOError, match="Expected a modality at 'math:pi', with name"):
        get_modality("math:pi")


def test_what_a_caller_gives_wins_over_the_sidecar_and_nothing_given_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("family: relatives\nlicence: CC0\noptions: {size: 32}\n")
    hints = read_hints(tmp_path / "my.csv").given(family="mine", licence=None)
    assert (hints.family, hints.licence, hints.options) == ("mine", "CC0", {"size": 32})


def test_a_description_that_is_a_task_by_itself_is_no_sidecar_of_itself(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("data: s3://bucket\n")
    assert read_hints(tmp_path / "task.yaml") == Hints()
