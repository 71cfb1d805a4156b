import numpy as np
import pytest

from metaflow_hpo.modalities.audio.mel import RANGE, MelFrontEnd, find_filters
from tests.modalities.audio.sounds import sine


def _draw(front_end, *waves):
    lengths = np.array([len(wave) for wave in waves])
    filled = np.zeros((len(waves), lengths.max()), np.float32)
    for row, wave in zip(filled, waves, strict=True):
        row[: len(wave)] = wave
    return front_end.draw(filled, lengths)


def test_filters_are_triangles_between_frequencies_that_are_equally_far_apart_in_mel():
    # 2595 log10(1 + 4000 / 700) = 2146.06; three bands have corners at 0, 536.52, 1073.03, 1609.55, 2146.06 mel,
    # which is 0, 426.8, 1113.9, 2219.9, 4000 Hz
    filters = find_filters(8000, 3, 8192)
    frequencies = np.linspace(0, 4000, 4097)
    assert frequencies[filters.argmax(axis=0)] == pytest.approx([426.8, 1113.9, 2219.9], abs=1)
    assert filters.max(axis=0) == pytest.approx([1, 1, 1], abs=2e-3)
    assert filters[np.searchsorted(frequencies, 770.4), :2] == pytest.approx([0.5, 0.5], abs=2e-3)
    inside = (frequencies > 430) & (frequencies < 2215)
    assert filters[inside].sum(axis=1) == pytest.approx(1, abs=1e-3)


def test_a_sine_is_loudest_in_its_band_and_its_power_is_that_of_its_height():
    front_end = MelFrontEnd.of(16_000, 40, 32, 16)
    pictures = _draw(front_end, sine(1000, height=1.0), sine(1000, height=0.1))
    middle = pictures.powers[:, 10]
    tops = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 42)[1:-1] / 2595) - 1)
    assert middle[0].argmax() == np.abs(tops - 1000).argmin()
    # A tenth of the height is a hundredth of the power.
    assert middle[0].max() - middle[1].max() == pytest.approx(2, abs=1e-3)
    assert -0.3 < middle[0].max() < 0.3


def test_frames_come_every_hop_and_end_with_the_recording():
    front_end = MelFrontEnd(8000, 32, 256, 128)
    pictures = _draw(front_end, np.ones(1280, np.float32), np.ones(1, np.float32), np.ones(300, np.float32))
    assert pictures.is_there.sum(axis=1).tolist() == [11, 1, 3]
    assert pictures.powers.shape == (3, 11, 32)
    assert (pictures.powers[~pictures.is_there] == 0).all()


def test_what_lies_behind_a_recording_changes_nothing():
    front_end = MelFrontEnd.of(8000, 40, 25, 10)
    alone, beside = _draw(front_end, sine(rate=8000)), _draw(front_end, sine(rate=8000), sine(rate=8000, seconds=2))
    np.testing.assert_allclose(alone.powers[0], beside.powers[0, : alone.powers.shape[1]], atol=1e-5)


def test_frames_are_those_of_a_plain_transform():
    wave = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    front_end = MelFrontEnd(8000, 32, 400, 160)
    taper = np.hanning(402)[1:-1] * 2 / np.hanning(402)[1:-1].sum()
    frame = wave[5 * 160 - 200 : 5 * 160 + 200] * taper
    power = np.abs(np.fft.rfft(frame, 512)) ** 2
    expected = np.log10(power @ find_filters(8000, 32, 512) + 1e-10)
    np.testing.assert_allclose(_draw(front_end, wave).powers[0, 5], expected, atol=1e-3)


def test_silence_is_finite_and_far_below_is_cut():
    front_end = MelFrontEnd.of(8000, 40, 25, 10)
    quiet = _draw(front_end, np.zeros(4000, np.float32)).powers
    assert np.unique(quiet).tolist() == pytest.approx([-10])
    half = _draw(front_end, np.concatenate([sine(rate=8000), np.zeros(4000, np.float32)])).powers
    assert half.max() - half.min() == pytest.approx(RANGE, abs=1e-4)


@pytest.mark.parametrize(
    ("rate", "bands", "window_ms"), [(8000, 96, 16), (16_000, 96, 16), (4000, 96, 80), (1000, 32, 16)]
)
def test_every_band_sees_something(rate, bands, window_ms):
    wave = np.random.default_rng(0).normal(size=rate).astype(np.float32)
    powers = _draw(MelFrontEnd.of(rate, bands, window_ms, 8), wave).powers
    assert (powers.std(axis=1) > 0).all()
