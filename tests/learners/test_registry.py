import pytest

from metaflow_hpo.errors import MetaflowHPOError, SearchSpaceMismatchError
from metaflow_hpo.learners.learner import Fidelity, Learner
from metaflow_hpo.learners.limits import Limits
from metaflow_hpo.learners.registry import get_learner

SOURCE = """
from metaflow_hpo.learners.command import learner_from_command
from metaflow_hpo.learners.function import learner_from_function
from metaflow_hpo.learners.learner import Fidelity
from metaflow_hpo.space import SearchSpace

SPACE = SearchSpace.read({"x": {"type": "float", "low": 0, "high": 1}})

def train(configuration, task, report):
    return configuration["x"]

cnn = learner_from_function(train, SPACE)
renamed = learner_from_function(train, SPACE, name="mlp")
script = learner_from_command("python train.py {x}", SPACE)

def make():
    return cnn

class Own:
    name, modalities, space, fidelity = "own", ("image",), SPACE, Fidelity("steps", 100)

    def train(self, data, configurations, *, fidelity, seed, judge=None, refit=False):
        yield from ()

own = Own()

class Bare:
    name, train = "bare", None

class Wrong(Own):
    space = {"x": [1, 2]}

class Spaced(Own):
    name = "my learner"

constant = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module in the folder that the program was started in, of a name of its own."""
    name = f"learners_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.parametrize("attribute", ["cnn", "make", "script", "own", "Own"])
def test_a_learner_is_found_by_address_as_an_object_a_class_or_a_function(module, attribute):
    learner = get_learner(f"{module}:{attribute}")
    assert isinstance(learner, Learner)
    names = {"cnn": f"{module}.train", "make": f"{module}.train", "script": "train"}
    assert learner.name == names.get(attribute, "own")


def test_limits_and_workers_reach_a_persons_learner(module):
    learner = get_learner(f"{module}:cnn", Limits(seconds=3.0), workers=4)
    assert (learner.limits.seconds, learner.workers, learner.isolation) == (3.0, 4, "thread")
    assert get_learner(f"{module}:cnn", isolation="process").isolation == "process"
    assert get_learner(f"{module}:cnn", Limits(memory_mb=100)).isolation == "process"
    assert get_learner(f"{module}:script", Limits(seconds=3.0)).limits.seconds == 3.0
    assert get_learner(f"{module}:own").fidelity == Fidelity("steps", 100)
    with pytest.raises(SearchSpaceMismatchError, match="has no method `within` and keeps to no limits"):
        get_learner(f"{module}:own", Limits(seconds=3.0))


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("train", r"found the function train that needs configuration, task, report.*learner_from_function"),
        ("constant", "found a int without name, modalities, space, fidelity, train"),
        ("Bare", "found a Bare without modalities, space, fidelity"),
        ("Wrong", "Expected space of the learner .* as a SearchSpace"),
        ("Spaced", "name of a learner must match .* got 'my learner'"),
        ("renamed", "calls itself 'mlp', as a built-in one does"),
        ("SPACE", "found a SearchSpace without name, modalities"),
    ],
)
def test_what_is_no_learner_is_refused_with_what_is_missing(module, attribute, message):
    with pytest.raises(SearchSpaceMismatchError, match=message):
        get_learner(f"{module}:{attribute}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("forest", "The learner must be one of mlp, realmlp, svm, .*or an address module:attribute; got 'forest'"),
        ("no_such_module:x", "its module cannot be imported: No module named 'no_such_module'"),
        ("math:forest", "module 'math' has no attribute 'forest'"),
    ],
)
def test_a_learner_that_is_not_there_is_refused_with_where_it_was_looked_for(name, message):
    with pytest.raises(MetaflowHPOError, match=message):
        get_learner(name)
