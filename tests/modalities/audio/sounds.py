"""Sounds for tests."""

import io

import numpy as np
import soundfile


def sine(hertz=440.0, seconds=0.5, rate=16_000, height=0.5):
    return (height * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def written(wave, rate=16_000, form="WAV", subtype="PCM_16"):
    """Return the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=form, subtype=subtype)
    return file.getvalue()


def pitch_of(wave, rate):
    """Return the frequency with the most power."""
    spectrum = np.abs(np.fft.rfft(wave))
    return spectrum.argmax() * rate / len(wave)
