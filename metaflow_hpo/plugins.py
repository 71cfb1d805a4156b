"""Plug-ins: what the package holds and what a person adds to it, found by name or by address.

A name is built in or an entry point of an installed package; an address is `module:attribute`, and its module may lie
in the folder that the program was started in.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from metaflow_hpo.errors import MetaflowHPOError


@dataclass(frozen=True)
class Registry:
    """Things of one kind by their names.

    Attributes:
        kind: What they are, one word for messages: `strategy`, `learner`, ...
        group: Entry points of installed packages that add to them: `metaflow_hpo.strategies`, ...
        built_in: Address of each that this package holds; nothing of it is imported before it is asked for.
    """

    kind: str
    group: str
    built_in: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """All names: the built-in ones, then those that installed packages add."""
        return tuple(dict.fromkeys([*self.built_in, *sorted(self._added())]))

    def load(self, name: str) -> Any:
        """Return what bears a name, or stands at an address.

        Raises:
            MetaflowHPOError: If there is nothing of this name, or nothing can be imported at the address.
        """
        if name in self.built_in:
            return load_address(self.built_in[name], self.kind)
        if name in (added := self._added()):
            return load_address(added[name].value, self.kind)
        if ":" in name:
            return load_address(name, self.kind)
        raise MetaflowHPOError(
            f"The {self.kind} must be one of {', '.join(self.names)}, or an address module:attribute; got {name!r}."
        )

    def _added(self) -> Mapping[str, EntryPoint]:
        return _find_points(self.group, tuple(map(str, sys.path)))


@cache
def _find_points(group: str, path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    """Return the entry points on a search path: reading them takes 30 ms, and a recommendation asks many times."""
    return {point.name: point for point in entry_points(group=group)}


def load_address(address: str, kind: str) -> Any:
    """Import what stands at an address.

    Args:
        address: `module:attribute`; the attribute may have dots.
        kind: What is expected there, one word for messages.

    Raises:
        MetaflowHPOError: If the module cannot be imported, or does not have the attribute.
    """
    module_name, _, attribute = address.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        found: Any = import_module(module_name)
    except ImportError as error:
        raise MetaflowHPOError(
            f"Expected a {kind} at {address!r}; its module cannot be imported: {error}. Give module:attribute, with "
            "the module installed or in the folder that you start metaflow-hpo in."
        ) from error
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise MetaflowHPOError(
            f"Expected a {kind} at {address!r}; {error}. Correct the name behind the colon."
        ) from error
    return found
