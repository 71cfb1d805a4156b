import numpy as np
import pytest

from metaflow_hpo.modalities.audio.decoding import decode
from metaflow_hpo.modalities.audio.features import describe_sounds, find_alike
from metaflow_hpo.modalities.audio.recordings import Recordings, resample
from tests.modalities.audio.sounds import sine, written


def _noises(count, seconds=0.5, rate=8000):
    """Return noises that swell and fade differently."""
    rng = np.random.default_rng(0)
    at = np.linspace(0, 1, int(seconds * rate))
    shapes = [np.interp(at, np.linspace(0, 1, 6), 10 ** rng.uniform(-2, 0, 6)) for _ in range(count)]
    dull = [np.convolve(rng.normal(size=len(at)), np.hanning(9), "same") for _ in shapes]
    return [(0.1 * shape * noise).astype(np.float32) for shape, noise in zip(shapes, dull, strict=True)]


def test_features_are_means_deviations_changes_and_the_duration():
    features = describe_sounds(Recordings.pack([*_noises(300), sine(rate=8000, seconds=2)], 8000))
    assert features.shape == (301, 121)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert features[-1, -1] == pytest.approx(np.log(2.001), abs=1e-5)
    assert features[0, 80:120].mean() > 3 * features[-1, 80:120].mean()  # a noise changes, a tone does not


def test_features_of_one_do_not_depend_on_the_others():
    waves = [*_noises(3), sine(rate=8000, seconds=1), sine(rate=8000)[:10]]
    together = describe_sounds(Recordings.pack(waves, 8000))
    alone = np.concatenate([describe_sounds(Recordings.pack([wave], 8000)) for wave in waves])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_same_sound_is_found_whatever_its_loudness_and_format():
    waves = _noises(12)
    quieter = [wave * 0.3 for wave in waves[:4]]
    coded = [decode(written(wave, 8000, "OGG", "VORBIS"), "a", 5).steps.wave[: len(wave)] for wave in waves[4:8]]
    sampled = [resample(resample(wave, 8000, 16_000), 16_000, 8000) for wave in waves[8:]]
    alike = find_alike(Recordings.pack([*waves, *quieter, *coded, *sampled], 8000))
    assert alike[:12].tolist() == alike[12:].tolist()
    assert len(set(alike.tolist())) == 12


def test_silent_recordings_are_one_sound():
    silent = [np.zeros(n, np.float32) for n in range(1, 400)]
    assert len(set(find_alike(Recordings.pack(silent, 8000)).tolist())) == 1
