import pytest
import torch
from torch import nn

from mibench import models
from mibench.errors import MIBenchError

PUBLISHED = {
    "VGG16": 138_357_544,
    "VGG19": 143_667_240,
    "ResNet50": 25_557_032,
    "ResNet101": 44_549_160,
    "DenseNet121": 7_978_856,
}
SHAPES = {"record": (446,), "8 x 8": (1, 8, 8), "32 x 32": (3, 32, 32), "64 x 64": (3, 64, 64)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_those_published(name: str) -> None:
    with torch.device("meta"):
        network = models.build(name, (3, 224, 224), 1000, imagenet_stem=True)
        assert network(torch.empty(2, 3, 224, 224)).shape == (2, 1000)
    assert sum(p.numel() for p in network.parameters()) == PUBLISHED[name]


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("kind", SHAPES)
def test_a_step_lowers_the_loss_or_one_sentence_says_why_not(name: str, kind: str) -> None:
    shape = SHAPES[kind]
    if kind == "record" and name not in ("MLP", "StandDNN"):
        with pytest.raises(MIBenchError, match=f"{name} takes images.*use MLP or StandDNN"):
            models.build(name, shape, 5)
        return
    torch.manual_seed(0)
    # Outputs that batch normalisation draws from a handful of pixels need double precision.
    network = models.build(name, shape, 5).double()
    x, y = torch.rand(6, *shape).double(), torch.tensor([0, 1, 2, 3, 4, 0])
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    before = nn.functional.cross_entropy(network(x), y)
    before.backward()
    # A step of known length, since the slope at the start differs widely among networks.
    nn.utils.clip_grad_norm_(network.parameters(), 1e-4)
    optimizer.step()
    with torch.no_grad():
        assert nn.functional.cross_entropy(network(x), y) < before


def test_images_too_small_are_refused() -> None:
    with pytest.raises(MIBenchError, match="8 x 8 pixels and more, but these have 4 x 4"):
        models.build("VGG16", (1, 4, 4), 2)


def test_what_a_perceptron_is() -> None:
    assert models.is_perceptron(models.build("MLP", (3, 8, 8), 2))
    assert models.is_perceptron(models.build("StandDNN", (20,), 2))
    assert not models.is_perceptron(models.build("StandDNN", (1, 8, 8), 2))
    assert not models.is_perceptron(nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)))
