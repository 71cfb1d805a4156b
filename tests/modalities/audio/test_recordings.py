import numpy as np
import pytest

from metaflow_hpo.modalities.audio.recordings import Recordings, read_lines, resample, resample_waves
from tests.modalities.audio.sounds import pitch_of, sine


def test_waves_of_16_bits_come_back_bit_by_bit():
    steps = np.random.default_rng(0).integers(-32768, 32768, 500).astype(np.int16)
    wave = steps / np.float32(32768)
    held = Recordings.pack([wave, wave[:7]], 8000)
    np.testing.assert_array_equal(held.wave(0), wave)
    np.testing.assert_array_equal(held.wave(1), wave[:7])
    assert held.samples.dtype == np.int16


@pytest.mark.parametrize("height", [1e-7, 1e-3, 1.0, 5.0, 1e5])
def test_quiet_and_too_loud_recordings_keep_their_samples(height):
    wave = sine(height=height)
    np.testing.assert_allclose(Recordings.pack([wave], 16_000).wave(0), wave, atol=height * 4e-5)


def test_recordings_are_chosen_by_position_and_by_mask():
    held = Recordings.pack([np.full(n, n / 32, np.float32) for n in (1, 2, 3, 4)], 8000)
    chosen = held[np.array([3, 1, 1])]
    assert chosen.lengths.tolist() == [4, 2, 2]
    assert [float(wave[0]) for wave in chosen.waves()] == [4 / 32, 2 / 32, 2 / 32]
    assert held[np.array([True, False, True, False])].lengths.tolist() == [1, 3]
    assert len(held[np.array([], np.intp)]) == 0


def test_lines_hold_rate_lengths_and_waves():
    waves = [np.array([0.5, -0.5, 0.25], np.float32), np.array([0.125], np.float32)]
    lines = Recordings.pack(waves, 8000).to_lines()
    assert lines.tolist() == [[8000, 3, 0.5, -0.5, 0.25], [8000, 1, 0.125, 0, 0]]
    read = read_lines(lines)
    assert (read.rate, read.lengths.tolist()) == (8000, [3, 1])
    np.testing.assert_array_equal(read.waves[0], waves[0])


def test_durations_are_seconds():
    assert Recordings.pack([np.zeros(4000, np.float32)], 8000).durations_s.tolist() == [0.5]


@pytest.mark.parametrize(("rate", "wanted"), [(8000, 16_000), (16_000, 8000), (11_025, 16_000), (44_101, 16_000)])
def test_resampling_keeps_pitch_loudness_and_duration(rate, wanted):
    wave = resample(sine(500, rate=rate), rate, wanted)
    assert len(wave) / wanted == pytest.approx(0.5, abs=1e-3)
    assert pitch_of(wave, wanted) == pytest.approx(500, abs=4)
    assert np.abs(wave[1000:-1000]).max() == pytest.approx(0.5, abs=0.01)


def test_resampled_lines_keep_what_is_there():
    lines = read_lines(Recordings.pack([sine(rate=8000), sine(rate=8000)[:100]], 8000).to_lines())
    assert resample_waves(lines, 8000) is lines
    other = resample_waves(lines, 16_000)
    assert (other.rate, other.lengths.tolist()) == (16_000, [8000, 200])
