"""What learners of this package name as anchors: one file a learner, in the folder `anchors`."""

import json
from functools import cache
from importlib.resources import files

from metaflow_hpo.space import Configuration, SearchSpace


def read_anchors(name: str, space: SearchSpace) -> tuple[Configuration, ...]:
    """Return the configurations that did best together on a few tasks, see `Anchored`; none where no file lists some.

    Args:
        name: Of the learner.
        space: Its search space, which they are checked against.
    """
    return tuple(space.validate(configuration) for configuration in _read(name))


@cache
def _read(name: str) -> tuple[Configuration, ...]:
    file = files("metaflow_hpo.learners").joinpath("anchors", f"{name}.json")
    return tuple(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else ()
