import numpy as np
import pytest
import torch

from metaflow_hpo.learners.audio_cnn import SPACE, AudioCNN, Mels, plan_channels
from metaflow_hpo.learners.networks.kept import TrainedItemNetwork, fit_on_fold
from metaflow_hpo.learners.networks.sounds import SoundNetwork, augment_pictures, find_frames
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.modalities.audio.mel import MelFrontEnd
from metaflow_hpo.modalities.audio.recordings import Recordings, read_lines, resample
from metaflow_hpo.modalities.modality import Fold
from tests.modalities.audio.sounds import sine

RATE = 8000
SMALL = SPACE.default | {"depth": 2, "width": 8, "hop_ms": 25.0, "n_mels": 32}


def make_waves(count, seed=0, rate=RATE):
    """Return sounds of two classes, told by whether they rise or fall, of unequal length."""
    rng = np.random.default_rng(seed)
    classes = np.arange(count) % 2
    waves = []
    for label in classes:
        low, high = sorted(rng.uniform(300, 2500, 2))
        at = np.arange(int(rng.uniform(0.2, 0.5) * rate)) / rate
        ends = (low, high) if label else (high, low)
        pitch = np.linspace(*ends, len(at))
        waves.append((0.5 * np.sin(2 * np.pi * np.cumsum(pitch) / rate)).astype(np.float32))
    return waves, classes.astype(np.int64)


def make_fold(train=40, valid=20):
    (a, y), (b, z) = make_waves(train), make_waves(valid, 1)
    return Fold(Recordings.pack(a, RATE).to_lines(), y, Recordings.pack(b, RATE).to_lines(), z, 2)


def fit_encoder(lines):
    return AudioCNN().fit_encoder(lines, SMALL)


def test_the_space_has_the_front_end_and_the_learner_is_found_by_name():
    learner = get_learner("audio_cnn")
    assert (learner.modalities, learner.fidelity.unit) == (("audio",), "epochs")
    assert {"n_mels", "window_ms", "hop_ms", "augmentation", "depth", "width"} <= set(SPACE.names)
    assert len(SPACE.names) == 12


def test_it_learns_to_tell_sounds_apart():
    [(_, [outcome])] = AudioCNN(workers=1).train_folds([make_fold(120, 60)], [SMALL], seed=0, epochs=20)
    assert outcome.reason == ""
    assert outcome.learning_curve[-1] > 0.9


class TestEncoder:
    def test_bands_are_standard_over_the_frames_that_are_there(self):
        lines = make_fold().x_train
        pictures = fit_encoder(lines).encode(lines)
        there = find_frames(pictures)
        frames = 1 + read_lines(lines).lengths // 200
        assert there.sum(dim=1).tolist() == frames.tolist()
        values = pictures[:, 0].transpose(1, 2)[there]
        assert values.mean(dim=0).numpy() == pytest.approx(0, abs=1e-4)
        assert values.std(dim=0).numpy() == pytest.approx(1, abs=0.02)

    def test_window_hop_and_bands_are_those_of_the_configuration(self):
        front_end = AudioCNN().fit_encoder(make_fold().x_train, SMALL | {"window_ms": 20.0, "hop_ms": 10.0}).front_end
        assert front_end == MelFrontEnd(RATE, 32, 160, 80)

    def test_nothing_is_learned_from_other_items(self):
        fold = make_fold()
        encoder = fit_encoder(fold.x_train)
        encoder.encode(fold.x_valid * 1)
        np.testing.assert_array_equal(encoder.mean, fit_encoder(fold.x_train).mean)

    def test_recordings_of_another_rate_are_brought_to_that_of_the_training(self):
        waves, _ = make_waves(10)
        encoder = fit_encoder(Recordings.pack(waves, RATE).to_lines())
        other = Recordings.pack([resample(wave, RATE, 16_000) for wave in waves], 16_000).to_lines()
        one = encoder.encode(Recordings.pack(waves, RATE).to_lines())
        assert (encoder.encode(other)[:, :, :28] - one[:, :, :28]).abs().mean() < 0.1

    def test_comes_back_from_its_state(self):
        lines = make_fold().x_train
        encoder = fit_encoder(lines)
        again = AudioCNN().read_encoder(*encoder.to_state())
        assert isinstance(again, Mels)
        assert torch.equal(again.encode(lines), encoder.encode(lines))


class TestNetwork:
    @pytest.mark.parametrize("depth", [2, 5])
    def test_what_follows_the_last_frame_changes_nothing(self, depth):
        torch.manual_seed(0)
        network = SoundNetwork([8] * depth, 33, 3, dropout=0.5).eval()
        x = torch.randn(4, 1, 33, 64)
        longer = torch.cat([x, torch.zeros(4, 1, 33, 64)], dim=3)
        assert network(x).shape == (4, 3)
        assert torch.allclose(network(longer), network(x), atol=1e-5)

    @pytest.mark.parametrize("frames", [1, 2, 3, 31])
    def test_short_recordings_pass(self, frames):
        network = SoundNetwork([8, 16, 32, 64, 64], 32, 2, dropout=0.0)
        assert network(torch.randn(5, 1, 32, frames)).isfinite().all()

    def test_silence_passes(self):
        network = SoundNetwork([8, 8], 32, 2, dropout=0.0).eval()
        assert network(torch.zeros(2, 1, 32, 9)).isfinite().all()

    def test_channels_double_up_to_eight_times_the_first(self):
        assert plan_channels(SPACE.default | {"width": 8, "depth": 5}) == [8, 16, 32, 64, 64]


class TestAugmentation:
    @staticmethod
    def change(x, strength):
        return augment_pictures(x.clone(), strength, torch.Generator().manual_seed(0))

    def test_of_no_strength_changes_nothing(self):
        x = torch.randn(6, 1, 32, 40)
        assert torch.equal(self.change(x, 0.0), x)

    def test_puts_nothing_where_nothing_was(self):
        x = torch.randn(50, 1, 32, 40)
        x[:, :, :, 20:] = 0
        assert (self.change(x, 1.0)[:, :, :, 20:] == 0).all()

    def test_cuts_and_masks_up_to_their_shares_of_the_frames(self):
        there = find_frames(self.change(torch.ones(1000, 1, 8, 100), 1.0))
        first = there.float().argmax(dim=1)
        assert 19 <= first.max() <= 20 + 25 + 25  # masks may follow what is cut
        # A tenth is cut at either end on average, and each of two masks hides an eighth, which partly overlap.
        assert 0.55 < float(there.float().mean()) < 0.7

    def test_masks_up_to_half_of_the_bands(self):
        x = self.change(torch.ones(1000, 1, 50, 20), 1.0)
        hidden = 1 - (x != 0).any(dim=3)[:, 0].float().mean(dim=1)
        assert 0.4 < hidden.max() <= 0.53
        assert 0.2 < hidden.mean() < 0.27

    def test_noise_keeps_the_mean(self):
        x = self.change(torch.ones(4000, 1, 8, 10), 0.5)
        inside = x[x != 0]
        assert float(inside.mean()) == pytest.approx(1, abs=0.02)
        assert float(inside.std()) == pytest.approx(0.2 * 2**0.5, abs=0.02)

    def test_leaves_a_recording_of_one_frame_there(self):
        assert find_frames(self.change(torch.ones(500, 1, 8, 1), 1.0)).all()


def test_costs_grow_with_what_is_computed():
    learner, shape, usual = AudioCNN(), (8002,), SPACE.default | {"batch_size": 32}
    base = learner.measure_cost(usual, shape, 10)
    for more in ({"width": 32}, {"hop_ms": 8.0}, {"n_mels": 96}, {"batch_size": 16}):
        assert learner.measure_cost(usual | more, shape, 10) > base


def test_a_kept_network_predicts_new_recordings_of_any_length_and_rate(tmp_path):
    fold = make_fold()
    network = fit_on_fold(AudioCNN(), fold, SMALL, "audio", ("falls", "rises"), seed=0, epochs=2)
    network.save(tmp_path)
    loaded = TrainedItemNetwork.load(tmp_path)
    assert loaded.predict(fold.x_valid).equals(network.predict(fold.x_valid))
    other = Recordings.pack([sine(500, 1.5, 16_000)], 16_000).to_lines()
    assert loaded.predict(other)["prediction"].isin(["falls", "rises"]).all()
