"""Trajectories: what a distilled model answers as it learns, and the attacks that read it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from tqdm.auto import tqdm

from mibench import training
from mibench.attacks import Knowledge
from mibench.attacks.trajectory import LossTrajectory, SeqMIA
from mibench.outputs import Labelled, Outputs
from mibench.study.metrics import auc
from mibench.training import single
from mibench.training.parts import network
from mibench.training.recipe import checkpoints
from tests.conftest import TINY, study


def late(seed: int, n: int = 600) -> Labelled:
    """Outputs that tell nothing at the end; members' loss falls late, and fell slowly before."""
    rng = np.random.default_rng(seed)
    is_member, labels = rng.random(n) < 0.5, rng.integers(0, 3, n)
    hard = rng.normal(0, 1, n)
    confidence = np.stack([hard - is_member, hard, hard + is_member]) + rng.normal(0, 0.3, (3, n))
    path = np.zeros((3, n, 3))
    np.put_along_axis(path, np.tile(labels, (3, 1))[..., None], confidence[..., None], axis=2)
    return Labelled(Outputs(rng.normal(0, 1, (n, 3)), labels, trajectory_logits=path), is_member)


def test_a_loss_trajectory_is_the_losses_and_the_own_one_last() -> None:
    p = np.array([[[0.7, 0.2, 0.1]], [[0.1, 0.6, 0.3]], [[0.2, 0.5, 0.3]]])
    given = Outputs(np.log(p[2]), np.array([1]), trajectory_logits=np.log(p[:2]))
    assert LossTrajectory().features(given) == pytest.approx(-np.log([[0.2, 0.6, 0.5]]))
    entropy = -(p[:, 0] * np.log(p[:, 0])).sum(axis=1)
    q = p[:, 0]
    modified = (
        -(1 - q[:, 1]) * np.log(q[:, 1])
        - q[:, 0] * np.log(1 - q[:, 0])
        - q[:, 2] * np.log(1 - q[:, 2])
    )
    expected = [-np.log(q[:, 1]), q.max(axis=1), q.std(axis=1), entropy, modified]
    assert SeqMIA().sequences(given) == pytest.approx(np.transpose(expected)[None])


@pytest.mark.parametrize("kind", [LossTrajectory, SeqMIA])
def test_what_only_the_way_tells_is_learnt(kind: type[LossTrajectory] | type[SeqMIA]) -> None:
    known, target = Knowledge(seed=1, shadows=(late(0), late(1))), late(2)
    found = kind().fit(known).infer(target.outputs)
    assert auc(found.scores, target.is_member).low > 0.9
    assert auc(-target.outputs.loss, target.is_member).high < 0.6
    assert (kind().fit(known).infer(target.outputs).scores == found.scores).all()
    assert (kind().fit(replace(known, seed=2)).infer(target.outputs).scores != found.scores).any()


def test_seqmia_is_its_recurrence_and_its_attention() -> None:
    target = late(3, 20).outputs
    attack = SeqMIA(hidden=4, epochs=1).fit(Knowledge(seed=1, shadows=(late(0),)))
    weights = {n: w.numpy() for n, w in attack.network_.state_dict().items()}
    x = (attack.sequences(target) - attack.mean_) / attack.deviation_
    state, cell, states = np.zeros((20, 4)), np.zeros((20, 4)), []
    for t in range(x.shape[1]):
        gates = x[:, t] @ weights["read.weight_ih_l0"].T + weights["read.bias_ih_l0"]
        gates = gates + state @ weights["read.weight_hh_l0"].T + weights["read.bias_hh_l0"]
        let_in, keep, new, give_out = np.split(gates, 4, axis=1)
        cell = expit(keep) * cell + expit(let_in) * np.tanh(new)
        state = expit(give_out) * np.tanh(cell)
        states.append(state)
    attention = softmax([(s * state).sum(axis=1) for s in states], axis=0)
    context = sum(a[:, None] * s for a, s in zip(attention, states, strict=True))
    both = np.concatenate([state, context], axis=1)
    expected = expit(both @ weights["answer.weight"][0] + weights["answer.bias"])
    assert attack.infer(target).scores == pytest.approx(expected, abs=1e-12)


def test_after_how_many_epochs_a_distilled_model_is_asked() -> None:
    assert checkpoints(50) == [1, 2, 4, 8, 16, 32, 50]
    assert [checkpoints(n) for n in (1, 2, 3, 4)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4]]


@pytest.mark.parametrize("model", ["MLP", "StandDNN"])
def test_a_trajectory_is_one_training_as_it_stood(tmp_path: Path, model: str) -> None:
    """The students of target and shadow, step by step from the auxiliary samples alone."""
    made = study("digits", tmp_path, epochs=3, model=model, sizes=TINY).signals
    own, seen = made.roles["auxiliary"], made.pool
    path = made.outputs(seen, {"trajectory"}).trajectory_logits
    [shadow] = made.shadow_outputs({"trajectory"})
    assert path is not None and shadow.outputs.trajectory_logits is not None
    assert path.shape == (3, 80, 10) and shadow.outputs.trajectory_logits.shape == (3, 80, 10)
    seed, recipe = made.streams.seed("training student", 0), replace(made.recipe, epochs=3)
    inputs = torch.from_numpy(made.dataset.take(own))
    asked = torch.from_numpy(made.dataset.take(seen))
    posteriors = torch.from_numpy(softmax(made.target.logits(own)[0], axis=1))
    torch.manual_seed(seed)
    built, device = network(recipe, inputs.shape[1:], 10), training.find("cpu")
    run = single._Run(recipe, built, seed, device, inputs, posteriors)
    for stage in path:
        run.pass_over(torch.arange(30), tqdm(disable=True))
        run.close_epoch(None)
        with torch.no_grad():
            answers: Any = run.network.eval()(asked).numpy()
        np.testing.assert_allclose(answers, stage, atol=1e-4)
