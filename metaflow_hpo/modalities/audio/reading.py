"""Read recordings with a class each: files in folders, in a zip or named in a table; or arrays."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.audio.decoding import SUFFIXES, Decoded, decode
from metaflow_hpo.modalities.audio.features import find_alike
from metaflow_hpo.modalities.audio.recordings import Recordings, Steps, quantise, resample
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.assembling import assemble, digest_of
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.items.listed import ItemFile, read_files
from metaflow_hpo.modalities.items.sources import list_items
from metaflow_hpo.task import AUDIO

SECONDS = 4.0
"""What is kept of a recording from its beginning, unless the option `seconds` says otherwise."""
_FEWEST_SECONDS, _MOST_SECONDS = 0.05, 60.0


def read_files_of_recordings(source: Path, hints: Hints) -> ItemData:
    """Read a folder, table or zip of recordings.

    Args:
        source: As `list_items` takes it.
        hints: What was said of it.

    Raises:
        InvalidTaskError: If it is none; the message says what to do.
    """
    seconds = read_seconds(hints)

    def decode_file(file: ItemFile) -> Decoded:
        return decode(file.read(), file.name, seconds)

    decoded, found = read_files(list_items(source, hints, SUFFIXES), decode_file)
    names = [file.name for file in found.files]
    recordings, said = join_decoded(decoded)
    notes = [*found.notes, *said, *say_mended(decoded, names), *say_cut([one.is_cut for one in decoded], seconds)]
    return assemble_recordings(recordings, found.labels, found.tell(hints), source, found.groups, notes)


def assemble_recordings(
    recordings: Recordings,
    labels: Sequence[str | None],
    hints: Hints,
    source: Path,
    groups: Sequence[object] | None,
    notes: Sequence[str],
) -> ItemData:
    """Make a task of recordings, see `assemble`; those of the same sound stay on one side of every split."""
    return assemble(
        recordings,
        labels,
        [_digest(recordings.steps(position), recordings.rate) for position in range(len(recordings))],
        hints=hints,
        source=source,
        modality=AUDIO,
        groups=groups,
        notes=notes,
        near=find_alike(recordings),
    )


def join_decoded(decoded: Sequence[Decoded]) -> tuple[Recordings, list[str]]:
    """Bring recordings to the rate that most of them have; return what is to be said of it as well."""
    rates = Counter(one.rate for one in decoded)
    rate = max(rates, key=lambda one: (rates[one], one), default=1)
    others = sorted(set(rates) - {rate})
    said = f"Brought {len(decoded) - rates[rate]} recordings from {listed(others)} to {rate} samples a second."
    return bring_to_rate(decoded, rate), [said] if others else []


def bring_to_rate(decoded: Sequence[Decoded], rate: int) -> Recordings:
    """Return recordings at a rate."""
    steps = [one.steps if one.rate == rate else quantise(resample(one.steps.wave, one.rate, rate)) for one in decoded]
    return Recordings.join(steps, rate)


def read_seconds(hints: Hints) -> float:
    """Return how much is kept of a recording.

    Raises:
        InvalidTaskError: If the option is no such number.
    """
    seconds = hints.options.get("seconds", SECONDS)
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not _FEWEST_SECONDS <= seconds <= _MOST_SECONDS:
        raise InvalidTaskError(
            f"Expected the option seconds as {_FEWEST_SECONDS} to {_MOST_SECONDS}; got {seconds!r}. Correct it."
        )
    return float(seconds)


def say_cut(is_cut: Sequence[bool], seconds: float) -> list[str]:
    """Return what is to be said of recordings of which not all is kept."""
    count = sum(is_cut)
    said = f"Kept the first {seconds:g} seconds of {count} recordings that are longer (option `seconds`)."
    return [said] if count else []


def say_mended(decoded: Sequence[Decoded], names: Sequence[str]) -> list[str]:
    """Return what is to be said of recordings with samples that were no finite numbers."""
    mended = [name for one, name in zip(decoded, names, strict=True) if one.mended]
    return [f"Took samples that are no finite numbers as silence in {listed(mended)}."] if mended else []


def _digest(steps: Steps, rate: int) -> bytes:
    head = np.array([rate, steps.scale], "<f8")
    return digest_of(head.tobytes(), steps.samples.astype("<i2").tobytes())
