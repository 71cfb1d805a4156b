"""Read recordings from arrays: all end to end with offsets, or one a row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.audio.decoding import MAX_RATE, RATES, Decoded
from metaflow_hpo.modalities.audio.reading import assemble_recordings, join_decoded, read_seconds, say_cut, say_mended
from metaflow_hpo.modalities.audio.recordings import Wave, quantise, resample
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.arrays import read_arrays, shapes_of
from metaflow_hpo.modalities.items.item_data import ItemData

_WAVES = ("wave", "waves", "audio")
_OFFSETS = ("offset", "offsets")
_RATES = ("rate", "sample_rate", "sampling_rate", "sr")

Arrays = Mapping[str, NDArray[Any]]


def holds_waves(source: Path) -> bool:
    """Tell, without reading them, whether arrays of waves are in a file."""
    if source.suffix.lower() != ".npz" or not source.is_file():
        return False
    return any(name.lower() in _WAVES for name in shapes_of(source))


def read_waves(source: Path, hints: Hints) -> ItemData:
    """Read a task from arrays.

    Args:
        source: An `.npz` with `wave`, `(samples,)` with `offset` `(n + 1,)` or `(n, samples)`; `rate`, unless the
            option says it; and classes and groups as `read_arrays` takes them.
        hints: What was said of it.

    Raises:
        InvalidTaskError: If it is none; the message says what to do.
    """
    seconds = read_seconds(hints)
    found = read_arrays(source, hints, _WAVES)
    waves = _cut_waves(source, found.x, _find(found.arrays, _OFFSETS))
    rate = _read_rate(source, hints.options.get("rate", _find(found.arrays, _RATES)))
    if len(waves) <= found.positions.max(initial=-1):
        raise InvalidTaskError(
            f"Expected a recording for each class in {source.name}; found {len(waves)} recordings. Write both for the "
            "same items."
        )
    decoded = [_keep(waves[position], rate, seconds) for position in found.positions]
    empty = [position for position, one in enumerate(decoded) if not len(one.steps.samples)]
    recordings, _ = join_decoded(decoded)
    notes = [
        *found.notes,
        *([f"Left out {len(empty)} recordings without samples."] if empty else []),
        *say_cut([one.is_cut for one in decoded], seconds),
        *say_mended(decoded, [f"recording {position}" for position in found.positions]),
    ]
    labels = [None if position in set(empty) else label for position, label in enumerate(found.labels)]
    return assemble_recordings(recordings, labels, found.tell(hints), source, found.groups, notes)


def _find(arrays: Arrays, names: tuple[str, ...]) -> NDArray[Any] | None:
    return next((arrays[name] for wanted in names for name in arrays if name.lower() == wanted), None)


def _cut_waves(source: Path, wave: NDArray[Any], offsets: NDArray[Any] | None) -> list[NDArray[Any]]:
    """Return the wave of each recording."""
    if wave.dtype.kind in "iuf" and wave.ndim == 2 and offsets is None:
        return list(wave)
    if wave.dtype.kind not in "iuf" or wave.ndim != 1 or offsets is None or not _are_offsets(offsets, len(wave)):
        raise InvalidTaskError(
            f"Expected waves (recordings, samples) in {source.name}, or all end to end with `offset` that rises from 0 "
            f"to the number of samples; found waves {wave.dtype} {wave.shape} and offsets "
            f"{'missing' if offsets is None else offsets.shape}. Save them like that."
        )
    return np.split(wave, offsets[1:-1].astype(np.int64))


def _are_offsets(offsets: NDArray[Any], samples: int) -> bool:
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or len(offsets) < 2:
        return False
    steps = np.diff(offsets.astype(np.int64))
    return bool(offsets[0] == 0 and offsets[-1] == samples and (steps >= 0).all())


def _read_rate(source: Path, found: Any) -> int:
    rate = np.asarray(0 if found is None else found).ravel()
    if rate.dtype.kind not in "iuf" or len(rate) != 1 or not RATES[0] <= rate[0] <= RATES[1]:
        raise InvalidTaskError(
            f"Expected the rate of the recordings in {source.name}, {RATES[0]} to {RATES[1]} samples a second; found "
            f"{'none' if found is None else found}. Say it with the option `rate`, or keep it as the array `rate`."
        )
    return round(float(rate[0]))


def _keep(wave: NDArray[Any], rate: int, seconds: float) -> Decoded:
    """Return a recording as one that was decoded."""
    most = round(seconds * rate)
    plain = _to_full_scale(wave[:most])
    is_number = np.isfinite(plain)
    mended = int(np.count_nonzero(~is_number))
    finite = np.where(is_number, plain, np.float32(0)) if mended else plain
    kept = min(rate, MAX_RATE)
    return Decoded(quantise(resample(finite, rate, kept)), kept, len(wave) > most, mended)


def _to_full_scale(wave: NDArray[Any]) -> Wave:
    if wave.dtype.kind == "f":
        return wave.astype(np.float32)
    half = 2 ** (8 * wave.dtype.itemsize - 1)
    whole = wave.astype(np.float64) - (half if wave.dtype.kind == "u" else 0)
    return np.asarray(whole / half, np.float32)
