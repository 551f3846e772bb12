import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from diffusion.data import load_public
from diffusion.evaluation import convolutional, encoder
from diffusion.evaluation.features import extractor
from diffusion.readers.image_set import DataShape, PublicImages
from privplan.errors import DataError, ParameterError

TINY = DataShape(records=1, channels=1, height=8, width=8, classes=10)


@pytest.fixture
def quick(monkeypatch):
    """An encoder that is trained for a moment only."""
    monkeypatch.setattr(encoder, "_IMAGES_PER_KIND", 40)
    encoder.encoder.cache_clear()
    yield
    encoder.encoder.cache_clear()


@pytest.mark.usefixtures("quick")
def test_the_encoder_is_the_same_for_everyone_and_names_its_weights():
    """Two distances on encoders that differ must not look comparable."""
    first = extractor("encoder", TINY)
    encoder.encoder.cache_clear()
    torch.manual_seed(123)
    again = extractor("encoder", TINY)
    assert first.digest == again.digest
    assert first.label == f"encoder-1-{first.digest[:8]}"
    changed = encoder.encoder(1, 8, 8)
    with torch.no_grad():
        changed.hidden.bias[0] += 1e-3
    assert encoder.digest(changed) != first.digest


@pytest.mark.usefixtures("quick")
def test_training_the_encoder_leaves_the_global_random_state_alone():
    before = torch.random.get_rng_state()
    encoder.encoder(1, 8, 8)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.usefixtures("quick")
def test_features_of_the_encoder_have_unit_size_on_what_it_learned_from(monkeypatch):
    """And the scale changes no answer of the network."""
    seen = []
    monkeypatch.setattr(
        encoder, "_unit_scaled", lambda net, images: seen.append(images) or net
    )
    plain = encoder.encoder(1, 8, 8)
    monkeypatch.undo()
    (images,) = seen
    before = plain(images)
    scaled = encoder._unit_scaled(plain, images)
    assert scaled.features(images).square().mean().item() == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(scaled(images), before, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("quick")
def test_large_images_are_shrunk_before_the_encoder_sees_them():
    large = torch.zeros(2, 1, 40, 70)
    assert encoder.as_seen(large).shape == (2, 1, 32, 32)
    small = torch.rand(2, 1, 9, 8)
    assert torch.equal(encoder.as_seen(small), small)


def test_pooled_pixels_are_means_of_blocks():
    pixels = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    pixels[0, 0, :2, :2] = torch.tensor([[255, 255], [0, 0]], dtype=torch.uint8)
    found = extractor("pixels", TINY).of(PublicImages(pixels, torch.tensor([0]), 1))
    assert found.shape == (1, 64)
    assert found[0, 0] == pytest.approx(0)
    assert (found[0, 1:] == -1).all()


class Fake(nn.Module):
    """As the Inception file is called: bytes in, 2048 numbers out."""

    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:  # noqa: FBT001, FBT002
        assert img.dtype == torch.uint8
        assert img.shape[1] == 3
        size = 2048 if return_features else 1008
        level = img.to(torch.float32).mean(dim=[1, 2, 3])
        return level[:, None] * torch.ones(1, size)


class Narrow(Fake):
    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:  # noqa: FBT001, FBT002
        return functional.one_hot(img[:, 0, 0, 0].long(), 256).float()


class Plain(nn.Module):
    def forward(self, img: Tensor) -> Tensor:
        return img.float().flatten(1)


def saved(module, path):
    torch.jit.save(torch.jit.script(module), str(path))
    return f"inception={path}"


pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def test_inception_gets_bytes_in_three_colours_and_gives_its_features(tmp_path):
    """Floats in [-1, 1], or one channel, would silently give other numbers."""
    found = extractor(saved(Fake(), tmp_path / "net.pt"), TINY)
    digits = load_public("digits", split="test")
    computed = found.of(digits)
    assert computed.shape == (360, 2048)
    means = digits.images.double().mean(dim=(1, 2, 3)).numpy()
    np.testing.assert_allclose(computed[:, 7], means, rtol=1e-5)
    assert found.label.startswith("inception-")
    assert len(found.digest) == 64


@pytest.mark.parametrize("module", [Narrow(), Plain()], ids=["narrow", "plain"])
def test_another_network_than_inception_is_refused(tmp_path, module):
    found = extractor(saved(module, tmp_path / "net.pt"), TINY)
    with pytest.raises(DataError, match=r"2048|return_features"):
        found.of(load_public("digits", split="test"))


@pytest.mark.parametrize("content", [None, b"", b"not a network", b"PK\x03\x04"])
def test_a_file_that_is_no_network_is_refused(tmp_path, content):
    path = tmp_path / "net.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="TorchScript"):
        extractor(f"inception={path}", TINY)


@pytest.mark.parametrize("text", ["", "vgg", "inception", "inception=", "encoder=x"])
def test_features_that_do_not_exist_are_refused(text):
    with pytest.raises(ParameterError):
        extractor(text, TINY)


def test_the_epoch_is_chosen_on_images_held_back_from_the_samples(monkeypatch):
    """Weights of the best epoch are kept, not those of the last one."""
    losses = iter([3.0, 1.0, 2.0])
    kept = []
    monkeypatch.setattr(
        convolutional,
        "_loss",
        lambda net, x, y: kept.append(net.out.bias.clone()) or next(losses),
    )
    x, y = torch.rand(40, 1, 8, 8), torch.arange(40) % 2
    training = convolutional.Training(epochs=3)
    network = convolutional.fit(x, y, classes=2, training=training)
    assert torch.equal(network.out.bias, kept[1])
    assert not torch.equal(network.out.bias, kept[2])
    assert [len(kept), next(losses, None)] == [3, None]


def test_a_classifier_of_one_image_is_refused():
    with pytest.raises(DataError, match="fewer than two"):
        convolutional.fit(
            torch.zeros(1, 1, 8, 8),
            torch.tensor([0]),
            classes=2,
            training=convolutional.Training(),
        )
