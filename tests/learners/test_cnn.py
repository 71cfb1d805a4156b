import numpy as np
import pytest
import torch

from metaflow_hpo.learners.cnn import CNN, SPACE, Pixels, plan_layers
from metaflow_hpo.learners.networks.images import augment_images
from metaflow_hpo.learners.networks.kept import fit_item_network
from metaflow_hpo.modalities.image.modality import IMAGE_MODALITY
from metaflow_hpo.testing import check_learner
from tests.learners.networks.pictures import make_fold, read_digits


def show(layers):
    return [(layer.inputs, layer.outputs, layer.stride, layer.halves, layer.pixels) for layer in layers]


class TestPlans:
    def test_channels_double_with_each_halving(self):
        layers, pixels = plan_layers(4, 16, (1, 28, 28))
        assert show(layers) == [
            (1, 16, 1, True, 784),
            (16, 32, 1, True, 196),
            (32, 64, 1, False, 49),
            (64, 64, 1, False, 49),
        ]
        assert pixels == 49

    def test_large_images_are_halved_once_more_by_the_first_convolution(self):
        layers, pixels = plan_layers(3, 8, (3, 64, 64))
        assert show(layers) == [(3, 8, 2, True, 1024), (8, 16, 1, True, 256), (16, 32, 1, True, 64)]
        assert pixels == 16

    def test_a_wide_network_has_128_channels_at_most(self):
        assert [layer.outputs for layer in plan_layers(5, 64, (3, 32, 32))[0]] == [64, 128, 128, 128, 128]

    @pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 5), (3, 8, 8), (4, 9, 17), (3, 64, 64), (1, 200, 30)])
    @pytest.mark.parametrize("depth", [2, 6])
    @pytest.mark.parametrize("head", ["average", "flatten"])
    def test_images_of_every_shape_fit(self, shape, depth, head):
        configuration = SPACE.default | {"depth": depth, "width": 8, "head": head}
        x = np.random.default_rng(0).random((4, *shape)).astype(np.float32)
        learner, pixels = CNN(), Pixels.fit(x)
        network = learner.draw_network(configuration, pixels, 3)
        assert network(pixels.encode(x)).shape == (4, 3)
        assert learner.measure_cost(configuration, shape, 3) > 0


class TestPixels:
    def test_are_standardised_by_the_training_items_channel_by_channel(self):
        x = np.array([[[[0.0, 1.0]], [[5.0, 5.0]]], [[[1.0, 2.0]], [[5.0, 5.0]]]], np.float32)  # (2, 2, 1, 2)
        pixels = Pixels.fit(x)
        assert pixels.mean.tolist() == [1, 5]
        assert pixels.scale.tolist() == pytest.approx([0.5**0.5, 1])
        encoded = pixels.encode(x + 1)
        assert encoded[0, 0].flatten().tolist() == pytest.approx([0, 2**0.5])
        assert encoded[0, 1].flatten().tolist() == [1, 1]

    def test_have_their_channels_last_in_memory(self):
        x = np.zeros((2, 3, 4, 4), np.float32)
        assert Pixels.fit(x).encode(x).is_contiguous(memory_format=torch.channels_last)


class TestAugmentation:
    def draw(self, x, strength=0.0, flip=False, seed=0):
        return augment_images(x.clone(), strength, flip, torch.Generator().manual_seed(seed))

    def make_images(self, count=200, channels=1, side=9):
        x = torch.zeros(count, channels, side, side)
        x[:, :, 2, 1] = 1
        return x

    def test_of_no_strength_changes_nothing(self):
        x = self.make_images()
        assert torch.equal(self.draw(x), x)

    def test_mirrors_half_of_the_images_left_and_right(self):
        x = self.make_images()
        flipped = self.draw(x, flip=True)
        mirrored = torch.isclose(flipped, x.flip(3), atol=1e-5).flatten(1).all(dim=1)
        same = torch.isclose(flipped, x, atol=1e-5).flatten(1).all(dim=1)
        assert (mirrored ^ same).all()
        assert 70 < int(mirrored.sum()) < 130

    def test_moves_each_image_in_its_own_way_and_no_farther_than_its_strength(self):
        x = torch.zeros(500, 1, 41, 41)
        x[:, :, 20, 20] = 1
        at = torch.arange(41.0) - 20
        moved = self.draw(x, 1.0)
        mass = moved.sum(dim=(1, 2, 3))
        right = (moved.sum(dim=(1, 2)) * at).sum(dim=1) / mass
        down = (moved.sum(dim=(1, 3)) * at).sum(dim=1) / mass
        farthest = 0.15 * 41 * np.exp(0.25) * 2**0.5
        assert float(torch.hypot(right, down).max()) < farthest
        assert float(right.std()) > 2
        assert float(down.std()) > 2
        gentle = self.draw(x, 0.1)
        assert float(((gentle.sum(dim=(1, 2)) * at).sum(dim=1)).abs().max()) < farthest / 8

    def test_turns_an_oblong_image_without_shearing_it(self):
        """A bar across the middle keeps its length whatever the sides of the image are."""
        x = torch.zeros(300, 1, 33, 65)
        x[:, :, 16, 22:43] = 1
        turned = self.draw(x, 1.0)
        assert float(turned.sum(dim=(1, 2, 3)).mean()) == pytest.approx(21, rel=0.1)

    def test_recolours_coloured_images_only(self):
        grey, coloured = torch.ones(8, 1, 6, 6), torch.ones(8, 3, 6, 6)
        assert torch.allclose(self.draw(grey, 1.0), grey, atol=1e-5)
        assert float((self.draw(coloured, 1.0) - coloured).abs().max()) > 0.1

    def test_is_that_of_its_generator(self):
        x = torch.rand(5, 3, 8, 8)
        assert torch.equal(self.draw(x, 0.5, flip=True, seed=1), self.draw(x, 0.5, flip=True, seed=1))
        assert not torch.equal(self.draw(x, 0.5, seed=1), self.draw(x, 0.5, seed=2))


def test_the_default_learns_digits():
    fold = make_fold(600, 300)
    [(_, [outcome])] = CNN().train_folds([fold], [SPACE.default], seed=0, epochs=CNN.fidelity.maximum)
    assert outcome.learning_curve[-1] >= 0.95
    assert len(outcome.learning_curve) == CNN.fidelity.maximum


def test_the_space_is_that_of_a_practitioner():
    assert 8 <= len(SPACE.names) <= 14


def test_keeps_the_contract_of_learners(tmp_path):
    check_learner(CNN(workers=1), read_digits(tmp_path, 80), configurations=2, fidelity=2)


def test_its_refit_is_the_network_that_is_kept(tmp_path):
    data, configuration = read_digits(tmp_path, 80), SPACE.default | {"depth": 2, "width": 8}
    refit = CNN().refit(data, configuration, fidelity=3, seed=2)
    network = fit_item_network(CNN(), data, configuration, seed=2, epochs=3)
    predicted = network.predict(IMAGE_MODALITY.prepare_arrays(data.test_items, data.train_items))
    named = np.array(data.class_names)[data.test_target]
    assert (predicted["prediction"].to_numpy() == named).mean() == pytest.approx(refit.scores["test_accuracy"])
