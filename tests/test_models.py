import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mibench import models, training
from mibench.catalogue import load_plugins
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
    samples = 2 if kind in ("32 x 32", "64 x 64") else 6
    x, y = torch.rand(samples, *shape).double(), torch.tensor([0, 1, 2, 3, 4, 0])[:samples]
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


def test_names_are_listed_without_pytorch() -> None:
    listed = (
        "import sys; from mibench.models import MODELS; "
        "from mibench.training import DEFENCES, recipe; "
        "print(*MODELS, *DEFENCES, recipe('VGG16').optimizer, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [*models.MODELS, *training.DEFENCES, "sgd", "False"]


OWN = """
from torch import nn
from mibench.models import register_model

@register_model("Own", recipe={"optimizer": "sgd", "batch_size": 20}, takes_records=True)
def own(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, num_classes), nn.Tanh())
"""


def test_a_network_of_ones_own_is_trained_and_its_file_is_part_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models.MODELS, "_things", dict(models.MODELS))
    file = tmp_path / "own.py"
    file.write_text(OWN.replace("WIDTH", "12"))
    load_plugins([file])
    made = training.recipe("own", 1)
    assert (made.model, made.optimizer, made.batch_size) == ("Own", "sgd", 20)
    training.check(made, (12,), 3)
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 12), np.float32), rng.integers(3, size=40)
    weights = training.train(made, x, y, np.arange(40)[None], 3, [0])
    logits = training.predict(made, weights, x, 3)
    expected = np.tanh(x @ weights["1.weight"][0].T + weights["1.bias"][0])
    np.testing.assert_allclose(logits[0], expected, atol=1e-6)
    with pytest.raises(MIBenchError, match=r"VGG16 takes images.*use MLP or StandDNN or Own"):
        models.build("VGG16", (12,), 3)

    before, other = training.source(made), training.source(training.recipe("MLP"))
    file.write_text(OWN.replace("WIDTH", "12  # as wide as the data"))
    os.utime(file, (1, 1))
    assert training.source(made) == before
    file.write_text(OWN.replace("WIDTH", "13"))
    os.utime(file, (2, 2))
    load_plugins([file])
    assert training.source(made) != before and training.source(training.recipe("MLP")) == other
    with pytest.raises(MIBenchError, match=r"Own cannot be used on 2 samples of shape \(12,\)"):
        training.check(made, (12,), 3)
    models.MODELS.add("Own", models.Network(lambda *_: nn.Flatten(), takes_records=True))
    with pytest.raises(MIBenchError, match=r"it answers \(2, 12\), not \(2, 3\)"):
        training.check(made, (12,), 3)
