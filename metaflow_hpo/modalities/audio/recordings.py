"""Recordings of unequal length in one array: what a task of the modality `audio` holds."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]
"""`(samples,)` of one channel; full scale is 1."""

_HEAD = 2
_MAX_DENOMINATOR = 2_000
_STEPS = 32768
_QUIET = 1 / 64
_SILENT = 1e-30
"""Of full scale, far below what is heard: its steps would be no numbers."""


@dataclass(frozen=True)
class Recordings:
    """Recordings of one channel and one rate, in 16 bits each.

    Attributes:
        samples: `(s,)` all of them, end to end.
        offsets: `(n + 1,)` recording i is `samples[offsets[i]:offsets[i + 1]]`.
        scale: `(n,)` of full scale in one step of a recording's samples, so that quiet ones keep their 16 bits.
        rate: Samples a second.
    """

    samples: NDArray[np.int16]
    offsets: NDArray[np.int64]
    scale: NDArray[np.float32]
    rate: int

    @classmethod
    def pack(cls, waves: Iterable[Wave], rate: int) -> "Recordings":
        """Hold waves, in their order."""
        return cls.join([quantise(wave) for wave in waves], rate)

    @classmethod
    def join(cls, steps: Sequence["Steps"], rate: int) -> "Recordings":
        """Hold waves that are in 16 bits already."""
        ends = np.cumsum([len(one.samples) for one in steps], dtype=np.int64)
        samples = np.concatenate([np.empty(0, np.int16), *(one.samples for one in steps)])
        scale = np.array([one.scale for one in steps], np.float32)
        return cls(samples, np.concatenate([np.zeros(1, np.int64), ends]), scale, rate)

    def __len__(self) -> int:
        return len(self.scale)

    def __getitem__(self, positions: NDArray[np.intp] | NDArray[np.bool_]) -> "Recordings":
        """Return the recordings at positions `(m,)`, in that order, or where a mask `(n,)` is true."""
        chosen = np.arange(len(self))[positions]
        return Recordings.join([self.steps(position) for position in chosen], self.rate)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """`(n,)` samples of each."""
        return np.diff(self.offsets)

    @property
    def durations_s(self) -> NDArray[np.float64]:
        """`(n,)` seconds of each."""
        return self.lengths / self.rate

    def wave(self, position: int) -> Wave:
        """Return one recording."""
        return self.steps(position).wave

    def steps(self, position: int) -> "Steps":
        """Return one recording in its 16 bits."""
        samples = self.samples[self.offsets[position] : self.offsets[position + 1]]
        return Steps(samples, float(self.scale[position]))

    def waves(self) -> Iterator[Wave]:
        """Return one recording after the other."""
        return (self.wave(position) for position in range(len(self)))

    def to_lines(self) -> NDArray[np.float32]:
        """Return the recordings as one plain array, as learners take them, `(n, 2 + samples of the longest)`.

        A line is the rate, the number of samples, the samples, and zeros; `read_lines` reads them.
        """
        lengths = self.lengths
        lines = np.zeros((len(self), _HEAD + int(lengths.max(initial=1))), np.float32)
        lines[:, 0], lines[:, 1] = self.rate, lengths
        for line, length, wave in zip(lines, lengths, self.waves(), strict=True):
            line[_HEAD : _HEAD + length] = wave
        return lines


@dataclass(frozen=True)
class Waves:
    """Recordings side by side.

    Attributes:
        waves: `(n, samples)` zero after the end of each.
        lengths: `(n,)` samples of each.
        rate: Samples a second.
    """

    waves: NDArray[np.float32]
    lengths: NDArray[np.int64]
    rate: int


def read_lines(lines: NDArray[np.float32]) -> Waves:
    """Return what `Recordings.to_lines` has written."""
    return Waves(lines[:, _HEAD:], lines[:, 1].astype(np.int64), int(lines[0, 0]))


@dataclass(frozen=True)
class Steps:
    """One recording in 16 bits.

    Attributes:
        samples: `(samples,)`.
        scale: Of full scale in one step.
    """

    samples: NDArray[np.int16]
    scale: float

    @property
    def wave(self) -> Wave:
        """The recording as shares of full scale."""
        return self.samples.astype(np.float32) * np.float32(self.scale)


def quantise(wave: Wave) -> Steps:
    """Return a wave in 16 bits; one that comes from a file of 16 bits keeps its very values."""
    peak = float(np.abs(wave).max(initial=0.0))
    scale = 1 / _STEPS if peak < _SILENT or _QUIET <= peak <= 1 else peak / (_STEPS - 1)
    return Steps(np.clip(np.rint(wave / scale), -_STEPS, _STEPS - 1).astype(np.int16), float(np.float32(scale)))


def resample_waves(recordings: Waves, rate: int) -> Waves:
    """Return recordings with another rate."""
    if recordings.rate == rate:
        return recordings
    pairs = zip(recordings.waves, recordings.lengths, strict=True)
    waves = [resample(wave[:length], recordings.rate, rate) for wave, length in pairs]
    return read_lines(Recordings.pack(waves, rate).to_lines())


def resample(wave: Wave, rate: int, wanted: int) -> Wave:
    """Return a wave with another rate, without what that rate cannot hold.

    Args:
        wave: `(samples,)`.
        rate: Samples a second.
        wanted: Samples a second of what is returned.
    """
    if rate == wanted:
        return wave
    from scipy.signal import resample_poly

    ratio = Fraction(wanted, rate).limit_denominator(_MAX_DENOMINATOR)
    return np.asarray(resample_poly(wave, ratio.numerator, ratio.denominator), np.float32)
