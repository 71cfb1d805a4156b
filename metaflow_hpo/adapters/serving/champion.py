"""The champion in memory: loaded, tried on a past task, and replaced as a whole when the alias moves.

The one thing to know: `current` is one immutable value. A request takes it once and is answered by that version to its
end, so a promotion neither waits for requests nor fails one. Nothing of the registry is run or unpickled: weights are
safetensors, the rest is JSON.
"""

import logging
from dataclasses import dataclass

from metaflow_hpo.adapters.clock import now
from metaflow_hpo.adapters.registry import CHAMPION, Registry
from metaflow_hpo.adapters.secrets import hide_passwords
from metaflow_hpo.errors import NoChampionError
from metaflow_hpo.recommender.recommender import Recommender

logger = logging.getLogger("metaflow_hpo")


@dataclass(frozen=True)
class Served:
    """A version in memory.

    Attributes:
        recommender: What answers.
        name: Name of the registered model.
        version: Its version.
        loaded_at: When, ISO 8601 in UTC.
    """

    recommender: Recommender
    name: str
    version: int
    loaded_at: str


class ChampionFollower:
    """Keeps the version with the alias `champion` in memory.

    Attributes:
        current: The version that answers.
        checked_at: When the alias was last read, ISO 8601 in UTC.
        problem: Why the alias could not be followed the last time; None where it was.
    """

    def __init__(self, registry: Registry) -> None:
        """Load the champion.

        Raises:
            NoChampionError: If nothing has been promoted.
            MetaflowHPOError: If it cannot be served.
        """
        self._registry = registry
        self.current = self._load(registry.require_champion().version)
        self.checked_at = now()
        self.problem: str | None = None

    def check(self) -> None:
        """Read the alias and load the version it names, where that is another one.

        Raises:
            NoChampionError: If the alias is gone; the version in memory stays.
            Exception: Whatever keeps a version from being loaded; the version in memory stays.
        """
        version = self._registry.aliased(CHAMPION)
        if version is None:
            raise NoChampionError(f"No version of {self._registry.name!r} has the alias {CHAMPION!r} any more.")
        if version != self.current.version:
            fresh, before = self._load(version), self.current.version
            self.current = fresh
            logger.info("%s: version %d is served, after version %d", fresh.name, version, before)
        self.checked_at, self.problem = now(), None

    def report(self, problem: BaseException) -> None:
        """Keep why the alias could not be followed; it is logged once, not every few seconds."""
        text = hide_passwords(f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}")
        if text != self.problem:
            logger.warning("version %d stays: %s", self.current.version, text)
        self.problem = text

    def _load(self, version: int) -> Served:
        recommender = self._registry.load(version)
        # The golden request: a version that cannot answer never gets a request, and the first one is not slow.
        golden = recommender.past.meta_features[0].tolist()
        recommender.recommend(dict(zip(recommender.meta_feature_names, golden, strict=True)), 1)
        return Served(recommender, self._registry.name, version, now())
