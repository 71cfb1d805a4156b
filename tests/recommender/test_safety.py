"""Tasks drawn far from everything that ships: fallback, the default first, and no set worse than it in expectation."""

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.adapters.knowledge import open_knowledge
from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.registry import describe
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.recommender.observed import ObservedTrial
from metaflow_hpo.recommender.recommender import Recommender


@pytest.fixture(scope="module")
def shipped():
    return Recommender.load(open_knowledge().recommender_folder("mlp"))


def prepare(frame, kind=None):
    return prepare_task(frame, task_id="far", target="y", source="test", licence="none", kind=kind)


def columns(values, prefix="x"):
    return pd.DataFrame(values, columns=[f"{prefix}{i}" for i in range(values.shape[1])])


def make_text(seed, rows=200, words=400):
    """Counts of words, nearly all zero, from four topics."""
    rng = np.random.default_rng(seed)
    topic, words_of = rng.integers(0, 4, rows), rng.dirichlet(np.full(words, 0.05), 4)
    counts = np.stack([rng.multinomial(30, words_of[t]) for t in topic])
    return columns(counts, "word").assign(y=[f"topic {t}" for t in topic])


def make_few(seed, a_class, classes=40):
    """Many classes of a few rows each."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(classes), a_class)
    values = rng.normal(size=(classes, 8))[label] + rng.normal(size=(len(label), 8))
    return columns(values).assign(y=[f"class {t:02d}" for t in label])


def make_noise(seed, target, rows=400):
    """A target that has nothing to do with the columns."""
    rng = np.random.default_rng(seed)
    y = {
        "binary": rng.choice(["p", "q"], rows),
        "many": rng.choice(list("abcde"), rows),
        "number": rng.normal(size=rows),
    }
    return columns(rng.normal(size=(rows, 10))).assign(y=y[target])


FAR = [
    *((f"text {seed}", make_text(seed)) for seed in (0, 1)),
    *((f"few {seed}", make_few(seed, 5)) for seed in (0, 1)),
    *(
        (f"noise {target} {seed}", make_noise(seed, target))
        for target in ("binary", "many", "number")
        for seed in (0, 1)
    ),
]


@pytest.mark.parametrize(("name", "frame"), FAR, ids=[name for name, _ in FAR])
def test_far_from_all_past_tasks_the_set_is_no_worse_than_the_default_which_is_first_unless_outdone(
    shipped, name, frame
):
    answer = shipped.recommend(describe(prepare(frame)), 5)
    assert answer["novelty"]["fallback"]
    # Past tasks of few rows a class gained from another configuration.
    if not name.startswith("few"):
        assert answer["recommendations"][0]["configuration"] == dict(shipped.space.default)
    assert max(r["expected_gain_over_default"] for r in answer["recommendations"]) >= 0.0


def test_three_rows_a_class_are_no_task():
    with pytest.raises(InvalidTaskError, match="Expected at least 5 rows of each of two classes"):
        prepare(make_few(0, 3))


def test_on_every_past_task_the_best_of_a_set_is_expected_to_be_as_good_as_the_default(shipped):
    for row, performance in zip(shipped.past.meta_features[::10], shipped.past.performance[::10], strict=True):
        for count, tried in ((1, 0), (5, 0), (5, 2), (5, 6)):
            chosen = shipped.past.configurations[7 : 7 + tried]
            observed = [ObservedTrial(c, float(p)) for c, p in zip(chosen, performance[7:], strict=False)]
            found = shipped.choose(row, count, observed)
            assert found.mean.max() >= found.default_mean


def test_no_interval_is_a_point_even_where_everything_is_perfect(shipped):
    easy = np.argsort(-shipped.past.performance.min(axis=1))[:20]
    for t in easy:
        values = dict(zip(shipped.meta_feature_names, shipped.past.meta_features[t].tolist(), strict=True))
        for item in shipped.recommend(values, 5)["recommendations"]:
            assert item["performance"]["high"] - item["performance"]["low"] > 0.005
