"""Decode the bytes of a recording: WAV, FLAC, OGG, MP3 and what else libsndfile knows, whatever the file is called."""

import io
import math
import wave as plain_wave
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.audio.recordings import Steps, Wave, quantise, resample

SUFFIXES = (".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".snd", ".caf", ".w64")
MAX_RATE = 16_000
"""Samples a second that are kept; speech and most other sounds are told apart by what is below 8 kHz."""

RATES = (1_000, 768_000)
"""Samples a second that recordings may have."""
_MAX_CHANNELS = 64
_CANCELLED = 1e-4
_EXTRA = "pip install 'metaflow-hpo[audio]'"


@dataclass(frozen=True)
class Decoded:
    """A recording as one channel.

    Attributes:
        steps: The recording; all of it finite.
        rate: Samples a second, at most `MAX_RATE`.
        is_cut: Whether it goes on in the file.
        mended: How many samples were no finite numbers and are zero now.
    """

    steps: Steps
    rate: int
    is_cut: bool = False
    mended: int = 0


def decode(content: bytes, name: str, seconds: float) -> Decoded:
    """Return a recording with its channels averaged.

    Args:
        content: The bytes of the file.
        name: Its name, for messages.
        seconds: What is read of it, from its beginning.

    Raises:
        InvalidTaskError: If it cannot be decoded, is empty, or holds nothing but NaN.
    """
    if not content:
        raise InvalidTaskError(f"Expected a recording in {name}; the file is empty. Replace or remove it.")
    soundfile = _import_soundfile()
    read = _read_plain if soundfile is None else _read_with_soundfile
    channels, rate, is_cut = read(content, name, seconds)  # (samples, channels)
    if not len(channels):
        raise InvalidTaskError(f"Expected a recording in {name}; it holds no samples. Replace or remove it.")
    finite = np.isfinite(channels)
    if not finite.any():
        raise InvalidTaskError(f"Expected samples in {name}; none is a finite number. Replace or remove it.")
    mended = int(finite.size - np.count_nonzero(finite))
    wave = _average(np.where(finite, channels, np.float32(0)) if mended else channels)
    kept = min(rate, MAX_RATE)
    return Decoded(quantise(resample(wave, rate, kept)), kept, is_cut, mended)


def _average(channels: NDArray[np.float32]) -> Wave:
    """Return the mean of channels `(samples, channels)`; the loudest one where they cancel each other out."""
    mean = np.ascontiguousarray(channels.mean(axis=1, dtype=np.float32))
    power = np.square(channels, dtype=np.float64).sum(axis=0)
    if channels.shape[1] > 1 and np.square(mean, dtype=np.float64).sum() < _CANCELLED * power.max():
        return np.ascontiguousarray(channels[:, int(power.argmax())])
    return mean


def _import_soundfile() -> ModuleType | None:
    """Return the library; None where it, or the libsndfile that it calls, is not installed."""
    try:
        import soundfile
    except (ImportError, OSError):
        return None
    found: ModuleType = soundfile
    return found


class _Bytes(io.BytesIO):
    """The bytes of a file; a head that is damaged may ask for places before its beginning."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, or to the beginning where it lies before that."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self.getbuffer().nbytes}[whence]
        return super().seek(max(0, base + offset))


def _read_with_soundfile(content: bytes, name: str, seconds: float) -> tuple[NDArray[np.float32], int, bool]:
    import soundfile

    try:
        with soundfile.SoundFile(_Bytes(content)) as file:
            rate, count = file.samplerate, file.channels
            frames = _count_frames(name, rate, count, seconds)
            # One frame more than is kept tells whether there are more: what the header says is not always so.
            channels = file.read(frames + 1, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        found = str(error).rpartition(": ")[2].rstrip(".")
        raise InvalidTaskError(
            f"Expected a recording (WAV, FLAC, OGG, MP3) in {name}; it cannot be decoded: {found}. Replace or remove "
            "it, or convert it to WAV."
        ) from error
    return channels[:frames], rate, len(channels) > frames


def _read_plain(content: bytes, name: str, seconds: float) -> tuple[NDArray[np.float32], int, bool]:
    """Read a WAV of whole numbers with the standard library."""
    try:
        with plain_wave.open(io.BytesIO(content)) as file:
            frames = _count_frames(name, file.getframerate(), file.getnchannels(), seconds)
            width, count, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            is_cut, raw = file.getnframes() > frames, file.readframes(frames)
    except (plain_wave.Error, EOFError) as error:
        raise InvalidTaskError(
            f"Expected a WAV file of whole numbers in {name}, all that can be read without soundfile; found: "
            f"{error or 'an early end'}. Install what reads the others: {_EXTRA}"
        ) from error
    whole = raw[: len(raw) - len(raw) % (width * count)]
    return _to_full_scale(whole, width).reshape(-1, count), rate, is_cut


def _to_full_scale(raw: bytes, width: int) -> NDArray[np.float32]:
    """Return whole numbers of 1 to 4 bytes as shares of full scale, `(values,)`; those of one byte have no sign."""
    if width == 1:
        return ((np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128).astype(np.float32)
    padded = np.zeros((len(raw) // width, 4), np.uint8)
    padded[:, 4 - width :] = np.frombuffer(raw, np.uint8).reshape(-1, width)
    return (padded.view("<i4")[:, 0] / 2.0**31).astype(np.float32)


def _count_frames(name: str, rate: int, channels: int, seconds: float) -> int:
    lowest, highest = RATES
    if not lowest <= rate <= highest or not 1 <= channels <= _MAX_CHANNELS:
        raise InvalidTaskError(
            f"Expected {lowest} to {highest} samples a second and 1 to {_MAX_CHANNELS} channels in {name}; its header "
            f"says {rate} and {channels}. Replace or remove it."
        )
    return math.ceil(seconds * rate)
