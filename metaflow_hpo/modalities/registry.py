"""Which modalities there are, which of them a file or folder is of, and what describes it."""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from metaflow_hpo.errors import InvalidTaskError, MetaflowHPOError
from metaflow_hpo.modalities.hints import read_hints
from metaflow_hpo.modalities.meta_features import MetaFeatureGroup
from metaflow_hpo.modalities.modality import ArrayModality, DescribedBySample, Modality
from metaflow_hpo.plugins import Registry, load_address
from metaflow_hpo.task import AUDIO, IMAGE, OPAQUE, SERIES, TABLE, TEXT, TaskData

MODALITIES = Registry(
    kind="modality",
    group="metaflow_hpo.modalities",
    built_in={
        TABLE: "metaflow_hpo.modalities.table.modality:TABLE_MODALITY",
        OPAQUE: "metaflow_hpo.modalities.opaque:OPAQUE_MODALITY",
        IMAGE: "metaflow_hpo.modalities.image.modality:IMAGE_MODALITY",
        TEXT: "metaflow_hpo.modalities.text.modality:TEXT_MODALITY",
        AUDIO: "metaflow_hpo.modalities.audio.modality:AUDIO_MODALITY",
        SERIES: "metaflow_hpo.modalities.series.modality:SERIES_MODALITY",
    },
)

_DESCRIPTIONS = (".yaml", ".yml")

META_FEATURES = Registry(kind="group of meta-features", group="metaflow_hpo.meta_features", built_in={})
"""Groups that come with no modality; those of a modality are its `meta_features`."""

_GIVEN: dict[str, Modality] = {}
"""Modalities that were given by their address, by name: their tasks say the name alone."""
_GIVEN_GROUPS: dict[str, MetaFeatureGroup] = {}
"""Groups of meta-features that were given by their address, by that."""


def add_plugins(addresses: Iterable[str]) -> None:
    """Make modalities and groups of meta-features known to this process that no installed package adds.

    Args:
        addresses: `module:attribute` of each.

    Raises:
        MetaflowHPOError: If there is neither.
    """
    for address in addresses:
        found = load_address(address, "modality or group of meta-features")
        if isinstance(found, MetaFeatureGroup):
            _GIVEN_GROUPS[address] = found
        elif isinstance(found, Modality):
            _GIVEN[found.name] = found
        else:
            raise MetaflowHPOError(
                f"Expected a modality or a MetaFeatureGroup at {address!r}; found {found!r}. Correct the setting "
                "`plugins`; a learner or a strategy is named where it is used."
            )


def _names() -> tuple[str, ...]:
    return tuple(dict.fromkeys([*MODALITIES.names, *_GIVEN]))


def get_modality(name: str) -> Modality:
    """Return a modality by its name, or by `module:attribute`.

    Raises:
        MetaflowHPOError: If there is none, or it is not one.
    """
    if name in _GIVEN:
        return _GIVEN[name]
    if ":" not in name and name not in MODALITIES.names:
        raise MetaflowHPOError(
            f"The modality must be one of {', '.join(_names())}, or an address module:attribute; got {name!r}. "
            "What was given by its address is not known to other processes: install its package, or set "
            "METAFLOW_HPO_PLUGINS='[\"module:attribute\"]'."
        )
    found = MODALITIES.load(name)
    if not isinstance(found, Modality):
        raise MetaflowHPOError(
            f"Expected a modality at {name!r}, with name, meta_features, recognises, read, save and load; found "
            f"{found!r}."
        )
    if ":" in name:
        _GIVEN[found.name] = found
    return found


def get_array_modality(name: str) -> ArrayModality:
    """Return a modality whose data can be made arrays.

    Raises:
        MetaflowHPOError: If it cannot.
    """
    found = get_modality(name)
    if not isinstance(found, ArrayModality):
        raise MetaflowHPOError(f"Expected a modality with arrays; only a learner of its own can open {name!r} tasks.")
    return found


def recognise(source: Path) -> list[str]:
    """Return the modalities that a file or folder may be of."""
    return [name for name in _names() if get_modality(name).recognises(source)]


def find_modality(source: Path, name: str | None = None) -> Modality:
    """Return the modality of a file or folder.

    Args:
        source: The file or folder.
        name: The modality, where it was said.

    Raises:
        InvalidTaskError: If it could be of several; one that may also be a table is what else it may be. What nobody
            recognises is left to a reader that says what it expects: a YAML file to that of descriptions, all else to
            that of tables.
    """
    if name is not None:
        return get_modality(name)
    found = recognise(source)
    found = [one for one in found if one != TABLE] or found
    if len(found) > 1:
        raise InvalidTaskError(
            f"{source.name} could be of the modalities {', '.join(found)}. Say which with --modality, or write "
            f"`modality: {found[0]}` into its sidecar."
        )
    return get_modality(found[0] if found else OPAQUE if source.suffix.lower() in _DESCRIPTIONS else TABLE)


def tell_modality(source: Path, name: str | None = None) -> str:
    """Return the name of the modality of a file or folder: what is said, or its sidecar says, or what recognises it.

    Raises:
        InvalidTaskError: If it could be of several.
    """
    return find_modality(source, name or read_hints(source).modality).name


def read_source(source: Path, target: str | None = None, **given: Any) -> TaskData:
    """Read a person's file or folder as a task.

    Args:
        source: The file or folder; `<name>.yaml` beside it is read if there is one.
        target: What to predict.
        given: Other fields of `Hints`; all that is given wins over the sidecar, as that does over what is inferred.

    Raises:
        InvalidTaskError: If it cannot become a task; the message says what to do.
    """
    hints = read_hints(source).given(target=target, **given)
    return find_modality(source, hints.modality).read(source, hints)


def known_groups() -> tuple[MetaFeatureGroup, ...]:
    """Return all groups of meta-features: those of the modalities, and those that were added."""
    return _find_groups(_names(), tuple(_GIVEN_GROUPS))


@cache
def _find_groups(modalities: tuple[str, ...], given: tuple[str, ...]) -> tuple[MetaFeatureGroup, ...]:
    of_modalities = [group for name in modalities for group in get_modality(name).meta_features]
    added = [*map(_load_group, META_FEATURES.names), *(_GIVEN_GROUPS[address] for address in given)]
    return tuple(dict.fromkeys([*of_modalities, *added]))


def groups_of(modality: str) -> tuple[MetaFeatureGroup, ...]:
    """Return the groups that describe tasks of a modality."""
    return tuple(group for group in known_groups() if group.describes(modality))


def describe(data: TaskData) -> dict[str, float]:
    """Return the meta-features of a task by their columns, group by group."""
    return dict(_describe(data))


def choose_described(data: TaskData) -> TaskData:
    """Return what a task is described by: a sample of a large one, of the size that past tasks have, else itself."""
    modality = get_modality(data.task.modality)
    return modality.sample(data, modality.described_rows) if isinstance(modality, DescribedBySample) else data


def _describe(data: TaskData) -> Iterator[tuple[str, float]]:
    chosen = choose_described(data)
    for group in groups_of(data.task.modality):
        yield from group.describe(chosen).items()


def _load_group(name: str) -> MetaFeatureGroup:
    found = META_FEATURES.load(name)
    if not isinstance(found, MetaFeatureGroup):
        raise MetaflowHPOError(f"Expected a MetaFeatureGroup at {name!r}; found {found!r}.")
    return found
