"""What the forms for images find: python benchmarks/images.py.

CNNs of two convolutions on CIFAR-10, read from MIBENCH_DATA; one target model each. LiRA with and
without augmented queries, where models were and were not trained on augmented images; quantile
regression by its network and by trees on the pixels.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from mibench import Study
from mibench.attacks.base import Knowledge, parse
from mibench.attacks.quantile import _by_trees
from mibench.data.base import Dataset
from mibench.outputs import (
    Copies,
    FloatArray,
    IntArray,
    Outputs,
    cross_entropy,
    scaled_logit,
)
from mibench.signals.perturbations import COPIES, augmented_copies

REFERENCES = 8


def augmented(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Return images mirrored and shifted by up to four pixels at random."""
    count = len(images)
    turned = torch.rand(count, generator=random) < 0.5
    images = torch.where(turned[:, None, None, None], images.flip(3), images)
    windows = nn.functional.pad(images, [4] * 4).unfold(2, 32, 1).unfold(3, 32, 1)
    down, across = torch.randint(9, (2, count), generator=random)
    return windows[torch.arange(count), :, down, across]


def cnn(images: FloatArray, labels: IntArray, seed: int, epochs: int, augment: bool) -> nn.Module:
    """Return a trained network."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    made = nn.Sequential(*layers, nn.Linear(2048, 64), nn.ReLU(), nn.Linear(64, 10))
    steps, x, y = torch.optim.Adam(made.parameters()), torch.tensor(images), torch.tensor(labels)
    for _ in range(epochs):
        for batch in torch.randperm(len(y), generator=random).split(64):
            seen = augmented(x[batch], random) if augment else x[batch]
            steps.zero_grad()
            nn.functional.cross_entropy(made(seen), y[batch]).backward()
            steps.step()
    return made.eval()


def ask(made: nn.Module, images: FloatArray) -> FloatArray:
    """Return logits (n, C)."""
    with torch.no_grad():
        parts = [made(part) for part in torch.tensor(images).split(1000)]
    return torch.cat(parts).numpy()


def queries(data: Dataset, chosen: IntArray, augment: bool, epochs: int) -> None:
    """Print the AUC of LiRA by one query and by 18, on 600 members and 600 nonmembers."""
    x, y, rng = data.take(chosen), data.labels[chosen], np.random.default_rng(0)
    is_member = np.arange(1200) < 600
    seen = np.zeros((REFERENCES, 1200), dtype=bool)
    for k in range(0, REFERENCES, 2):
        half = rng.permutation(1200)[:600]
        seen[k, half], seen[k + 1] = True, True
        seen[k + 1, half] = False
    target = cnn(x[is_member], y[is_member], 1000, epochs, augment)
    others = [cnn(x[s], y[s], k, epochs, augment) for k, s in enumerate(seen)]
    copies = list(augmented_copies(x, "image", COPIES["augmented"], rng))

    def losses(made: nn.Module) -> FloatArray:
        return np.stack([cross_entropy(ask(made, copy), y) for copy in copies])

    answers = Copies(losses(target), np.zeros(0), np.stack([losses(made) for made in others]))
    outputs = Outputs(
        ask(target, x),
        y,
        np.stack([ask(made, x) for made in others]),
        seen,
        copies={"augmented": answers},
    )
    right = outputs.predicted == y
    print(f"augmented training: {augment}; right on members {right[is_member].mean():.3f}", end="")
    print(f", nonmembers {right[~is_member].mean():.3f}")
    for attack in parse(
        "lira_online, lira_online[augmented=true], lira_offline, lira_offline[augmented=true]"
    ):
        auc = roc_auc_score(is_member, attack.infer(outputs).scores)
        print(f"  {attack.label:30} AUC {auc:.3f}", flush=True)


def regression(data: Dataset, chosen: IntArray) -> None:
    """Print what quantile regression finds of 4,000 members, regressed on 4,000 nonmembers."""
    x, y = data.take(chosen), data.labels[chosen]
    target = cnn(x[:4000], y[:4000], 5, 25, False)
    logits = ask(target, x)
    pool, own = (Outputs(logits[s], y[s], inputs=x[s]) for s in (slice(8000), slice(8000, None)))
    is_member = np.arange(8000) < 4000
    [attack] = parse("quantile_regression")

    def told(name: str, score: Callable[[], FloatArray], threshold: float) -> None:
        began = time.process_time()
        scores = score()
        seconds, fpr = time.process_time() - began, (scores[~is_member] >= threshold).mean()
        auc = roc_auc_score(is_member, scores)
        print(f"{name:12} AUC {auc:.3f}, FPR {fpr:.3f}, {seconds:.0f} CPU s", flush=True)

    def by_network() -> FloatArray:
        return attack.fit(Knowledge(auxiliary=own)).infer(pool).scores

    def by_trees() -> FloatArray:
        centre, deviation = _by_trees(own, None, 0)(pool)
        return (scaled_logit(pool.logits, pool.labels) - centre) / deviation

    told("confidence", lambda: scaled_logit(pool.logits, pool.labels), np.inf)
    told("network", by_network, 1.2816)
    told("trees", by_trees, 1.2816)


def main() -> None:
    """Print all of it."""
    data = Study.read({"dataset": "CIFAR10"}).dataset
    order = np.random.default_rng(0).permutation(len(data.labels))
    regression(data, order[:12_000])
    queries(data, order[:1200], True, 60)
    queries(data, order[:1200], False, 40)


if __name__ == "__main__":
    main()
