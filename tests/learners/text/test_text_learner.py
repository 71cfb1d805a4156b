from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.learners.learner import Outcome
from metaflow_hpo.learners.networks.kept import TrainedItemNetwork, fit_item_network
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.learners.text.learner import SPACE, TextLearner, find_width, read_by
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.text.modality import TEXT_MODALITY
from metaflow_hpo.space import Configuration
from metaflow_hpo.testing import check_learner

FILLER = ("film", "was", "plot", "actor", "music", "and", "very", "long", "scene", "end")


def make(folder: Path, texts: list[str], labels: list[str]) -> ItemData:
    path = folder / "my.parquet"
    pd.DataFrame({"text": texts, "label": labels}).to_parquet(path)
    return TEXT_MODALITY.read(path, Hints())


@pytest.fixture
def told_by_words(tmp_path: Path) -> ItemData:
    rng = np.random.default_rng(0)
    words = [rng.choice(FILLER, 6).tolist() for _ in range(120)]
    for n, text in enumerate(words):
        text.insert(int(rng.integers(6)), ("great", "awful")[n % 2])
        text.append(str(n))
    return make(tmp_path, [" ".join(text) for text in words], [("pos", "neg")[n % 2] for n in range(120)])


def one_of(encoder: str, **changed: object) -> Configuration:
    active = {
        hp.name: changed.get(hp.name, hp.default)
        for hp in SPACE.hyperparameters
        if hp.condition is None or (hp.condition.parent == "encoder" and encoder in hp.condition.values)
    }
    return SPACE.validate({**active, "encoder": encoder, **changed})


def train(data: ItemData, configuration: Configuration, epochs: int) -> Outcome:
    return dict(TextLearner(workers=1).train(data, [configuration], fidelity=epochs, seed=0))[0]


@pytest.mark.parametrize(
    ("encoder", "changed"),
    [
        ("bag", {}),
        ("cnn", {}),
        ("gru", {}),
        ("transformer", {}),
        ("bag", {"character_ngrams": 0, "word_ngrams": 1}),
        ("cnn", {"unit": "characters"}),
        ("gru", {"unit": "characters"}),
        ("transformer", {"unit": "characters"}),
    ],
)
def test_every_encoder_learns_the_word_that_tells(told_by_words: ItemData, encoder: str, changed: dict) -> None:
    outcome = train(told_by_words, one_of(encoder, word_dropout=0.0, dropout=0.0, learning_rate=0.005, **changed), 15)
    assert not outcome.reason
    assert outcome.performance is not None
    assert outcome.performance > 0.8


def test_it_keeps_the_contract_of_a_learner(told_by_words: ItemData) -> None:
    check_learner(get_learner("text"), told_by_words, configurations=2, fidelity=1)


def test_the_order_of_words_is_learned_by_pairs_and_not_by_words_alone(tmp_path: Path) -> None:
    beside = [(one, other) for one in FILLER for other in FILLER if one != other]
    texts = [f"{one} {('man bites dog', 'dog bites man')[n % 2]} {other}" for n, (one, other) in enumerate(beside)]
    data = make(tmp_path, texts, [("a", "b")[n % 2] for n in range(len(texts))])
    pairs = train(data, one_of("bag", word_ngrams=2, character_ngrams=0, learning_rate=0.01), 10)
    alone = train(data, one_of("bag", word_ngrams=1, character_ngrams=0, learning_rate=0.01), 10)
    assert pairs.performance == 1
    assert alone.performance is not None
    assert alone.performance < 0.8


@pytest.mark.parametrize("encoder", ["bag", "cnn", "gru", "transformer"])
def test_odd_texts_are_trained_on(tmp_path: Path, encoder: str) -> None:
    signs = ["", "!", "\U0001f600", "\u4eca\u65e5", "\u0939\u093f\u0928\u094d\u0926\u0940", "w " * 5_000, "x" * 9_000]
    texts = [f"{sign}{n if sign else ''}" for n in range(6) for sign in signs]
    data = make(tmp_path, texts, [("a", "b")[n % 2] for n in range(len(texts))])
    assert not train(data, one_of(encoder), 1).reason


def test_configurations_say_how_texts_are_cut() -> None:
    bag = read_by(one_of("bag", word_ngrams=2, character_ngrams=5))
    assert (bag.words, bag.characters, bag.length) == (2, 5, 0)
    words = read_by(one_of("cnn", max_length=32))
    assert (words.characters, words.length) == (0, 32)
    characters = read_by(one_of("gru", max_length=32, unit="characters"))
    assert (characters.characters, characters.length) == (1, 128)


def test_the_width_is_a_multiple_of_the_heads() -> None:
    assert find_width(one_of("transformer", width=31)) == 30
    assert find_width(one_of("bag", width=31)) == 31


def test_what_costs_more_is_said_to() -> None:
    learner = TextLearner()

    def cost(encoder: str, **changed: object) -> float:
        return learner.measure_cost(one_of(encoder, **changed), (), 2)

    assert cost("transformer", width=64) > cost("transformer", width=32)
    assert cost("cnn", unit="characters") > cost("cnn", unit="words")
    assert cost("bag", vocabulary=32_000) > cost("bag", vocabulary=1_000)
    assert cost("gru", max_length=96) > cost("gru", max_length=16)


@pytest.mark.parametrize("encoder", ["bag", "gru"])
def test_a_network_that_was_kept_predicts_as_before(tmp_path: Path, told_by_words: ItemData, encoder: str) -> None:
    configuration = one_of(encoder, learning_rate=0.01)
    kept = fit_item_network(TextLearner(), told_by_words, configuration, seed=0, epochs=3)
    assert kept is not None
    outcome = TextLearner().refit(told_by_words, configuration, fidelity=3, seed=0)
    names = np.array(told_by_words.class_names)[told_by_words.test_target]
    predicted = kept.predict(told_by_words.test_items)
    recalls = [(predicted.prediction[names == name] == name).mean() for name in told_by_words.class_names]
    assert outcome.test_performance == pytest.approx(np.mean(recalls))
    (tmp_path / "kept").mkdir()
    kept.save(tmp_path / "kept")
    new = np.array(["great film", "awful film", "", "\u4eca\u65e5 unseen"], dtype=object)
    pd.testing.assert_frame_equal(TrainedItemNetwork.load(tmp_path / "kept").predict(new), kept.predict(new))
