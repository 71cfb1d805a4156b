"""Log-mel pictures of recordings: how much there is in each band of frequencies, frame by frame."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

RANGE = 8.0
"""Powers of ten below a recording's loudest band that are told apart; all that is lower counts as silence."""

_SILENCE = 1e-10
_BLOCK = 4096
"""Frames that are transformed at once: a block fits into the cache."""


@dataclass(frozen=True)
class Pictures:
    """Recordings frame by frame.

    Attributes:
        powers: `(n, frames, bands)` decimal logarithms; zero where nothing is there.
        is_there: `(n, frames)` True up to the last frame of each.
    """

    powers: NDArray[np.float32]
    is_there: NDArray[np.bool_]


@dataclass(frozen=True)
class MelFrontEnd:
    """What makes a picture of a recording.

    Attributes:
        rate: Samples a second.
        bands: How many bands.
        window: Samples of a frame.
        hop: Samples from one frame to the next.
    """

    rate: int
    bands: int
    window: int
    hop: int

    @classmethod
    def of(cls, rate: int, bands: int, window_ms: float, hop_ms: float) -> "MelFrontEnd":
        """Return one whose window and hop are given in milliseconds."""
        return cls(rate, bands, max(round(rate * window_ms / 1000), 8), max(round(rate * hop_ms / 1000), 1))

    def draw(self, waves: NDArray[np.float32], lengths: NDArray[np.int64]) -> Pictures:
        """Return pictures of recordings.

        Args:
            waves: `(n, samples)` with zeros after the end of each.
            lengths: `(n,)` samples of each.
        """
        frames = 1 + lengths // self.hop  # each begins and ends in the middle of one
        is_there = np.arange(int(frames.max(initial=1))) < frames[:, None]
        powers = np.zeros((*is_there.shape, self.bands), np.float32)
        powers[is_there] = np.concatenate([np.empty((0, self.bands), np.float32), *self._transform(waves, is_there)])
        loudest = powers.max(axis=(1, 2), where=is_there[:, :, None], initial=np.log10(_SILENCE))
        np.maximum(powers, (loudest - RANGE)[:, None, None], out=powers, where=is_there[:, :, None])
        return Pictures(powers, is_there)

    def _transform(self, waves: NDArray[np.float32], is_there: NDArray[np.bool_]) -> Iterator[NDArray[np.float32]]:
        """Return `(f, bands)` of all frames that are there, block by block."""
        before = self.window // 2
        after = max(is_there.shape[1] * self.hop + self.window - before - waves.shape[1], 0)
        around = np.pad(waves, ((0, 0), (before, after)))
        framed = np.lib.stride_tricks.sliding_window_view(around, self.window, axis=1)[:, :: self.hop]
        items, places = np.nonzero(is_there)
        for start in range(0, len(items), _BLOCK):
            block = slice(start, start + _BLOCK)
            spectrum = np.fft.rfft(framed[items[block], places[block]] * self._taper, self._points, axis=1)
            power = np.square(spectrum.real) + np.square(spectrum.imag)
            yield np.log10(power @ self._filters + np.float32(_SILENCE))

    @cached_property
    def _taper(self) -> NDArray[np.float32]:
        """`(window,)` Hann's, scaled so that a sine of full scale has power 1 where it is."""
        taper = np.hanning(self.window + 2)[1:-1]
        return np.asarray(2 * taper / taper.sum(), np.float32)

    @cached_property
    def _points(self) -> int:
        """Points of the transform: so many that every band has some, though the lowest are narrow."""
        points = 1 << (self.window - 1).bit_length()
        while not find_filters(self.rate, self.bands, points).any(axis=0).all():
            points *= 2
        return points

    @cached_property
    def _filters(self) -> NDArray[np.float32]:
        return find_filters(self.rate, self.bands, self._points)


def find_filters(rate: int, bands: int, points: int) -> NDArray[np.float32]:
    """Return overlapping triangles of height 1 that are equally wide in mel, `2595 log10(1 + f / 700)`.

    Args:
        rate: Samples a second.
        bands: How many, from 0 to half the rate.
        points: Points of the Fourier transform.

    Returns:
        `(points // 2 + 1, bands)` weight of each frequency in each band.
    """
    highest = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, highest, bands + 2) / 2595) - 1)  # (bands + 2,) Hz
    frequencies = np.linspace(0, rate / 2, points // 2 + 1)[:, None]
    left, top, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (frequencies - left) / (top - left), (right - frequencies) / (right - top)
    return np.maximum(np.minimum(rising, falling), 0).astype(np.float32)
