"""Items that are rows of numbers, for what all modalities of items share."""

from pathlib import Path

import numpy as np

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.assembling import assemble, digest_of
from metaflow_hpo.modalities.items.modality import ItemModality


def assemble_rows(rows, labels, source="toy.npy", hints=None, **more):
    digests = [digest_of(row.tobytes()) for row in rows]
    return assemble(rows, labels, digests, hints=hints or Hints(), source=Path(source), modality="toy", **more)


def draw(count=60, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = [f"c{i % classes}" for i in range(count)]
    return rng.normal(size=(count, 4)).astype(np.float32) + np.array([i % classes for i in range(count)])[
        :, None
    ], labels


class ToyModality(ItemModality):
    name = "toy"
    own_groups = ()
    endings = (".row",)

    def recognises(self, source):
        return source.suffix == ".npy"

    def read(self, source, hints):
        if not source.is_file():
            raise InvalidTaskError(f"Expected {source}; it is not there.")
        rows = np.load(source, allow_pickle=False)
        return assemble_rows(rows, [f"c{int(row.mean() > 0)}" for row in rows], source, hints)

    def to_arrays(self, items):
        return {"rows": items}

    def from_arrays(self, arrays):
        return arrays["rows"]

    def prepare_arrays(self, items, fitted_on):
        return ((items - fitted_on.mean(axis=0)) / fitted_on.std(axis=0)).astype(np.float32)

    def decode(self, files, form):
        return np.stack([np.frombuffer(file.read(), dtype=np.float32) for file in files])

    def form(self, data):
        return {}

    def features(self, items):
        return items.astype(np.float32)
