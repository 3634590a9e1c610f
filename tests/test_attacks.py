"""The seven attacks of the first comparison against independent truth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from mibench import attacks
from mibench.attacks import Knowledge
from mibench.attacks.label_only import Gap, LabelOnly
from mibench.attacks.lira import OfflineLiRA, OnlineLiRA
from mibench.attacks.loss_threshold import LossThreshold
from mibench.attacks.nn import AttackNetwork, NNAttack, Top2True, Top3NN
from mibench.attacks.top1_threshold import Top1Threshold
from mibench.errors import MIBenchError
from mibench.outputs import Copies, Labelled, Outputs
from mibench.store import Store
from mibench.study.study import Study

SEVEN = (
    "loss_threshold",
    "top1_threshold",
    "nn_attack",
    "top3_nn",
    "top2_true",
    "label_only",
    "lira_online",
    "lira_offline",
)
NETWORKS = (NNAttack, Top3NN, Top2True)


def drawn(
    seed: int, n: int = 400, classes: int = 5, pull: float = 6.0
) -> tuple[Outputs, np.ndarray]:
    """Outputs of which the first half, the members, are surer of their label by `pull`."""
    rng = np.random.default_rng(seed)
    is_member, labels = np.arange(n) < n // 2, rng.integers(0, classes, n)
    logits = rng.normal(0, 1, (n, classes))
    logits[np.arange(n), labels] += np.where(is_member, pull, 0.5)
    return Outputs(logits, labels), is_member


def known(seed: int = 0) -> Knowledge:
    shadow, is_member = drawn(seed)
    return Knowledge(shadows=(Labelled(shadow, is_member),))


def test_loss_threshold_is_the_shadow_members_mean() -> None:
    knowledge, (target, _) = known(), drawn(1)
    found = LossThreshold().fit(knowledge).infer(target)
    posteriors = softmax(knowledge.shadow.outputs.logits, axis=1)
    losses = [-np.log(posteriors[i, knowledge.shadow.outputs.labels[i]]) for i in range(200)]
    assert found.threshold == pytest.approx(-np.mean(losses))
    own = softmax(target.logits, axis=1)[np.arange(400), target.labels]
    assert found.scores == pytest.approx(np.log(own))


def test_loss_is_not_clipped_where_the_posterior_rounds_to_zero() -> None:
    target = Outputs(np.array([[0.0, 200.0], [0.0, 900.0]]), np.array([0, 0]))
    assert LossThreshold().fit(known()).infer(target).scores == pytest.approx([-200, -900])


def test_top1_is_its_definition() -> None:
    target, _ = drawn(2)
    random, _ = drawn(3, n=1000, pull=2)
    found = Top1Threshold().fit(Knowledge(random=random)).infer(target)
    assert found.scores == pytest.approx(softmax(target.logits, axis=1).max(axis=1))
    confidence = np.sort(softmax(random.logits, axis=1).max(axis=1))
    # Nine tenths of the way along 1,000 sorted values, as NumPy's linear interpolation has it.
    expected = confidence[899] + 0.1 * (confidence[900] - confidence[899])
    assert found.threshold == pytest.approx(expected)
    assert (confidence > found.threshold).mean() == pytest.approx(0.1)


def test_what_attack_networks_see() -> None:
    logits = np.log([[0.1, 0.2, 0.4, 0.3], [0.7, 0.1, 0.15, 0.05]])
    outputs = Outputs(logits, np.array([3, 1]))
    seen = {kind: kind().features(outputs) for kind in NETWORKS}
    assert seen[NNAttack] == pytest.approx(np.array([[0.4, 0.3, 0.2, 0.1], [0.7, 0.15, 0.1, 0.05]]))
    assert NNAttack().own_features(outputs)[:, 0] == pytest.approx([0.3, 0.1])
    assert NNAttack().own_features(outputs)[:, 1:] == pytest.approx(seen[NNAttack])
    assert seen[Top3NN] == pytest.approx(np.array([[0.4, 0.3, 0.2], [0.7, 0.15, 0.1]]))
    assert seen[Top2True] == pytest.approx(np.array([[0.3, 0.4, 0.3], [0.1, 0.7, 0.15]]))


@pytest.mark.parametrize("kind", NETWORKS)
def test_attack_networks_learn_what_can_be_told(kind: type[AttackNetwork]) -> None:
    target, is_member = drawn(4)
    found = kind().fit(replace(known(), seed=1)).infer(target)
    assert found.threshold == 0.5 and ((found.scores >= 0) & (found.scores <= 1)).all()
    best = roc_auc_score(is_member, target.true_probs)
    assert roc_auc_score(is_member, found.scores) > best - 0.05 > 0.9
    assert ((found.scores >= 0.5) == is_member).mean() > 0.85
    again = kind().fit(replace(known(), seed=1)).infer(target)
    assert (again.scores == found.scores).all()
    assert (kind().fit(replace(known(), seed=2)).infer(target).scores != found.scores).any()


@pytest.mark.parametrize("kind", NETWORKS)
def test_attack_networks_learn_nothing_from_noise(kind: type[AttackNetwork]) -> None:
    shadow, is_member = drawn(5, pull=0.5)
    target, truth = drawn(6, pull=0.5)
    found = kind().fit(Knowledge(shadows=(Labelled(shadow, is_member),))).infer(target)
    # The standard error of an AUC of 200 and 200 is 0.029.
    assert roc_auc_score(truth, found.scores) == pytest.approx(0.5, abs=0.1)


def test_a_class_with_enough_samples_has_a_network_of_its_own() -> None:
    """Members of class 0 are surer than nonmembers, those of class 1 less sure."""

    def mixed(seed: int) -> tuple[Outputs, np.ndarray]:
        rng = np.random.default_rng(seed)
        labels, is_member = rng.integers(0, 2, 1200), rng.random(1200) < 0.5
        sure = rng.normal(np.where(is_member == (labels == 0), 4, 1), 0.5)
        logits = np.zeros((1200, 3))
        logits[np.arange(1200), labels] = sure
        return Outputs(logits, labels), is_member

    (shadow, known), (target, truth) = mixed(0), mixed(1)
    # Halves of the samples under two shadow models: neither alone has 200 of a class and side.
    halves = [np.arange(0, 1200, 2), np.arange(1, 1200, 2)]
    shadows = tuple(Labelled(shadow.take(half), known[half]) for half in halves)
    areas = {
        (count, needed): roc_auc_score(
            truth,
            NNAttack(own_network_from=needed)
            .fit(Knowledge(shadows=shadows[:count]))
            .infer(target)
            .scores,
        )
        for count in (1, 2)
        for needed in (200, 1000)
    }
    assert areas[2, 200] > 0.97
    # One network cannot know which class a sorted posterior vector belongs to.
    assert max(areas[1, 200], areas[1, 1000], areas[2, 1000]) < 0.6


def test_attack_networks_of_two_classes() -> None:
    shadow, is_member = drawn(7, classes=2)
    for kind in NETWORKS:
        fitted = kind().fit(Knowledge(shadows=(Labelled(shadow, is_member),)))
        assert len(fitted.infer(drawn(8, classes=2)[0]).scores) == 400


def test_label_only_shares_by_hand() -> None:
    logits = np.eye(3)[[0, 1, 2, 0]] * 4
    labels = np.array([0, 1, 0, 1])
    answers = np.array([[0, 1, 2, 1], [0, 2, 2, 1], [1, 1, 0, 0], [0, 1, 1, 2]])
    copies = {"perturbed": Copies(np.zeros((4, 4)), answers)}
    outputs = Outputs(logits, labels, copies=copies)
    is_member = np.array([True, True, False, False])
    fitted = LabelOnly().fit(Knowledge(shadows=(Labelled(outputs, is_member),)))
    found = fitted.infer(outputs)
    # Copies given the label, of four, and the sample itself, of one: (3+1, 3+1, 1+0, 2+0) of 5.
    assert found.scores == pytest.approx([0.8, 0.8, 0.2, 0.4])
    assert found.threshold == pytest.approx(0.8)
    assert Gap().infer(outputs).scores.tolist() == [1, 1, 0, 0]


def confident(values: np.ndarray) -> np.ndarray:
    """Two-class logits whose log(p_1 / p_0) is given."""
    return np.stack([np.zeros_like(values), values], axis=-1)


def test_lira_by_hand() -> None:
    """Confidences 2, 4, 2, 4 with the sample and -1, 1, -1, 1 without; the target's is 3.

    Means 3 and 0, deviations 1: log N(3; 3, 1) - log N(3; 0, 1) = 9 / 2.
    """
    values = np.array([2.0, -1, 4, 1, 2, -1, 4, 1])[:, None]
    trained_on = np.array([True, False] * 4)[:, None]
    target = Outputs(confident(np.array([3.0])), np.array([1]), confident(values), trained_on)
    assert OnlineLiRA().infer(target).scores == pytest.approx([4.5])
    assert OfflineLiRA().infer(target).scores == pytest.approx([3.0])


@pytest.mark.parametrize("kind", [OnlineLiRA, OfflineLiRA])
def test_lira_reaches_the_ideal_likelihood_ratio(kind: type[OnlineLiRA]) -> None:
    """Confidences N(m + 1.5, 1) of members and N(m, 1) of nonmembers, each sample its own m.

    By Neyman and Pearson no attack exceeds the likelihood ratio's AUC, Phi(1.5 / sqrt 2); one
    threshold for all samples without calibration is far from it.
    """
    rng = np.random.default_rng(0)
    n, models = 2000, 128
    own_mean, is_member = rng.normal(0, 3, n), rng.random(n) < 0.5
    trained_on = np.argsort(rng.random((models, n)), axis=0) < models // 2
    references = rng.normal(own_mean + 1.5 * trained_on, 1)
    own = rng.normal(own_mean + 1.5 * is_member, 1)
    target = Outputs(confident(own), np.ones(n, dtype=int), confident(references), trained_on)
    found = kind().infer(target)
    ideal = norm.cdf(1.5 / np.sqrt(2))
    assert roc_auc_score(is_member, found.scores) == pytest.approx(ideal, abs=0.025)
    assert roc_auc_score(is_member, own) < ideal - 0.15
    called = found.scores >= found.threshold
    advantage = called[is_member].mean() - called[~is_member].mean()
    assert advantage == pytest.approx(2 * norm.cdf(0.75) - 1, abs=0.05)


@pytest.mark.parametrize("pooled", [0.0, 8.0, 1e12])
def test_variances_are_shrunk_to_the_pooled_one(pooled: float) -> None:
    rng = np.random.default_rng(1)
    values, own = rng.normal(0, 1, (16, 50)) * np.linspace(0.2, 3, 50), rng.normal(0, 1, 50)
    trained_on = np.argsort(rng.random((16, 50)), axis=0) < 8
    target = Outputs(confident(own), np.ones(50, dtype=int), confident(values), trained_on)
    columns = [values[~trained_on[:, i], i] for i in range(50)]
    shared = np.mean([(c - c.mean()) ** 2 for c in columns])
    # As if `pooled` further models deviated by the shared deviation; 1e12 leaves nothing else.
    variances = [
        (((c - c.mean()) ** 2).sum() + pooled * shared) / (8 + pooled) if pooled < 1e12 else shared
        for c in columns
    ]
    expected = [(own[i] - columns[i].mean()) / np.sqrt(variances[i]) for i in range(50)]
    assert OfflineLiRA(pooled=pooled).infer(target).scores == pytest.approx(expected)


def test_more_references_never_weaken_lira() -> None:
    """Deviations that differ twofold; whatever the number, as good as the better of the two ends.

    A standard error of the AUC of 2,000 samples is 0.01.
    """
    rng = np.random.default_rng(3)
    n, found = 2000, []
    mean, deviation, is_member = rng.normal(0, 3, n), rng.uniform(0.7, 1.4, n), rng.random(n) < 0.5
    own = rng.normal(mean + 1.5 * is_member, deviation)
    for models in (16, 32, 64, 128):
        trained_on = np.argsort(rng.random((models, n)), axis=0) < models // 2
        values = rng.normal(mean + 1.5 * trained_on, deviation)
        target = Outputs(confident(own), np.ones(n, dtype=int), confident(values), trained_on)
        areas = {
            pooled: roc_auc_score(is_member, OnlineLiRA(pooled=pooled).infer(target).scores)
            for pooled in (0.0, 8.0, 1e9)
        }
        assert areas[8.0] > max(areas.values()) - 0.005, (models, areas)
        found.append(areas[8.0])
    assert (np.diff(found) > -0.005).all(), found


@pytest.mark.parametrize("kind", [OnlineLiRA, OfflineLiRA])
def test_a_wanted_fpr_is_met_by_stand_ins(kind: type[OnlineLiRA]) -> None:
    rng = np.random.default_rng(0)
    n, models = 4000, 32
    mean, is_member = rng.normal(0, 3, n), rng.random(n) < 0.5
    trained_on = np.argsort(rng.random((models, n)), axis=0) < models // 2
    references = confident(rng.normal(mean + 1.5 * trained_on, 1))
    own = confident(rng.normal(mean + 1.5 * is_member, 1))
    target = Outputs(own, np.ones(n, dtype=int), references, trained_on)
    for wanted in (0.01, 0.1):
        found = kind(fpr=wanted).infer(target)
        reached = (found.scores >= found.threshold)[~is_member].mean()
        # Three binomial errors of 2,000 nonmembers, and that a stand-in has one model less.
        assert abs(reached - wanted) < 3 * np.sqrt(wanted / 2000) + 0.1 * wanted


def test_lira_needs_models_on_both_sides() -> None:
    target, _ = drawn(0, n=4)
    references = np.zeros((8, 4, 5))
    for mask in (np.ones((8, 4), dtype=bool), np.zeros((8, 4), dtype=bool)):
        with pytest.raises(MIBenchError, match="three reference models"):
            OnlineLiRA().infer(Outputs(target.logits, target.labels, references, mask))


@pytest.mark.parametrize("name", SEVEN)
def test_the_truth_about_the_target_changes_no_inference(
    digits: Study, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    right = digits.attack(name, "ES14")
    flipped = replace(right.target, is_member=~right.target.is_member)
    monkeypatch.setattr(digits, "construct", lambda scenario: flipped)
    monkeypatch.setattr(digits, "scores", Store(tmp_path))
    digits._fitted.clear()
    digits._scored.clear()
    wrong = digits.attack(name, "ES14")
    assert (wrong.inference.scores == right.inference.scores).all()
    assert wrong.inference.threshold == right.inference.threshold
    assert wrong.metrics["auc"].value == pytest.approx(1 - right.metrics["auc"].value)


@pytest.mark.parametrize("name", [n for n in SEVEN if not n.startswith("lira")])
def test_the_truth_is_not_among_the_shadows(digits: Study, name: str) -> None:
    """A threshold does not depend on which samples are attacked."""
    thresholds = {digits.attack(name, i).inference.threshold for i in ("ES01", "ES14", "ES84")}
    assert len(thresholds) == 1


def test_attacks_are_found_by_name_and_title() -> None:
    for typed in ("Top1-Threshold", "top1_threshold", "TOP1 threshold"):
        assert isinstance(attacks.named(typed), Top1Threshold)
    with pytest.raises(MIBenchError, match="did you mean loss_threshold"):
        attacks.named("loss_treshold")
    listed = [attack.label for attack in attacks.parse("gap,rmia[gamma=3,temperature=1],base")]
    assert listed == ["gap", "rmia[gamma=3,temperature=1]", "base"]
