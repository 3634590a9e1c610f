"""Attacks on how a model's answers came about, as a model distilled from it learns them again."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from mibench.attacks.base import Count, Knowledge, register
from mibench.attacks.class_threshold import modified_entropy
from mibench.attacks.nn import AttackNetwork
from mibench.attacks.shadow import ShadowAttack
from mibench.errors import MIBenchError
from mibench.outputs import FloatArray, Outputs


@register
@dataclass
class LossTrajectory(AttackNetwork):
    """Attack network on the losses of a model as it is distilled from the target, and the target's.

    It learns from the shadow models' samples and the losses of models distilled from those.

    References
    ----------
    Liu et al. 2022, "Membership Inference Attacks by Exploiting Loss Trajectory".
    """

    name = "loss_trajectory"
    title = "Loss trajectory"
    source = "Liu et al. 2022"
    needs = frozenset({"shadow", "trajectory"})

    def features(self, outputs: Outputs) -> FloatArray:
        """Return the loss after each number of epochs and, last, the model's own, (n, E + 1)."""
        return np.stack([stage.loss for stage in stages(self.title, outputs)], axis=1)


@register
@dataclass
class SeqMIA(ShadowAttack):
    """Recurrent network on the sequence of several metrics along the same way.

    The metrics are loss, max p, the deviation of p, its entropy and its modified entropy. An LSTM
    reads them stage by stage, and a linear layer gives the probability of member from its last
    state and the mean of all, weighed by their products with the last. Threshold: 0.5.

    References
    ----------
    Li et al. 2024, "SeqMIA: Sequential-Metric Based Membership Inference Attack".
    """

    name = "seqmia"
    title = "SeqMIA"
    source = "Li et al. 2024"
    needs = frozenset({"shadow", "trajectory"})

    hidden: Count = 16
    epochs: Count = 10

    def learn(self, knowledge: Knowledge) -> float:
        """Train the network on the shadow models' sequences."""
        shadow = knowledge.shadow
        found = self.sequences(shadow.outputs)
        self.mean_, self.deviation_ = found.mean(axis=0), found.std(axis=0) + 1e-12
        scaled, is_member = self._scaled(found), shadow.is_member.astype(np.float64)
        self.network_ = _trained(scaled, is_member, self.hidden, self.epochs, knowledge.seed)
        return 0.5

    def score(self, outputs: Outputs) -> FloatArray:
        """Return the network's probability of member."""
        logits = self.network_(self._scaled(self.sequences(outputs)))
        probability: FloatArray = scipy.special.expit(logits.numpy())
        return probability

    def sequences(self, outputs: Outputs) -> FloatArray:
        """Return the metrics at each stage, the model itself last, (n, E + 1, 5)."""
        return np.stack([_metrics(stage) for stage in stages(self.title, outputs)], axis=1)

    def _scaled(self, sequences: FloatArray) -> FloatArray:
        return (sequences - self.mean_) / self.deviation_


def stages(title: str, outputs: Outputs) -> list[Outputs]:
    """Return the outputs after each number of epochs and, last, the model's own."""
    if outputs.trajectory_logits is None:
        raise MIBenchError(f"{title} needs a distilled model's trajectory, which was not given")
    return [*(Outputs(logits, outputs.labels) for logits in outputs.trajectory_logits), outputs]


def _metrics(stage: Outputs) -> FloatArray:
    probs = stage.probs
    return np.stack(
        [
            *(stage.loss, probs.max(axis=1), probs.std(axis=1)),
            *(scipy.special.entr(probs).sum(axis=1), modified_entropy(stage)),
        ],
        axis=1,
    )


def _trained(
    sequences: FloatArray, is_member: FloatArray, hidden: int, epochs: int, seed: int
) -> Any:
    """Return a network from sequences (n, t, d) to the logits (n,) of member."""
    import torch  # which only few attacks need, and which takes long to load
    from torch.nn.functional import binary_cross_entropy_with_logits

    from mibench.attacks import networks

    class Recurrent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read = torch.nn.LSTM(sequences.shape[2], hidden, batch_first=True)
            self.answer = torch.nn.Linear(2 * hidden, 1)

        def forward(self, x: FloatArray) -> torch.Tensor:
            states, (last, _) = self.read(torch.from_numpy(x))
            weights = (states * last[0, :, None]).sum(dim=2, keepdim=True).softmax(dim=1)
            logits: torch.Tensor = self.answer(torch.cat([last[0], (weights * states).sum(1)], 1))
            return logits[:, 0]

    def loss(network: Recurrent, batch: torch.Tensor) -> torch.Tensor:
        wanted = torch.from_numpy(is_member[batch])
        return binary_cross_entropy_with_logits(network(sequences[batch]), wanted)

    return networks.trained(
        lambda: Recurrent().double(), loss, len(sequences), epochs, rate=0.01, seed=seed
    )
