import pytest

from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.registry import describe, get_modality
from metaflow_hpo.modalities.text.modality import TEXT_MODALITY


@pytest.fixture
def sentences(tmp_path):
    words = ["red", "blue", "warm", "cold", "near", "far"]
    rows = [f"{words[i % 6]} {words[i // 6 % 6]} word{i},{'ab'[i % 2]}" for i in range(1000)]
    path = tmp_path / "sentences.csv"
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return TEXT_MODALITY.read(path, Hints(modality="text", target="label"))


def test_a_large_task_is_described_as_a_sample_of_it_is(sentences):
    limit = get_modality("text").described_rows
    assert sentences.task.rows > limit
    assert describe(sentences) == describe(TEXT_MODALITY.sample(sentences, limit))


def test_a_small_task_is_described_by_all_of_its_items(sentences):
    small = TEXT_MODALITY.sample(sentences, 300)
    assert describe(small)["mf_items.log_items"] == pytest.approx(2.38, abs=0.01)
