"""Audits of models of one's own: asked, and others trained beside them."""

import html
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import roc_auc_score
from torch import nn

import mibench
from mibench import code
from mibench.adapters.base import ADAPTERS, Adapter, adapter_of
from mibench.apps import audit_page
from mibench.apps.explorer import explore
from mibench.attacks import ATTACKS
from mibench.errors import MIBenchError
from mibench.outputs import cross_entropy
from mibench.setting import Setting
from mibench.signals.own import Own, _Space
from mibench.signals.perturbations import COPIES
from mibench.store import Store
from mibench.study.audit import AuditReport
from mibench.study.epsilon import bounds, of_guesses
from mibench.study.given import Given, check
from mibench.study.metrics import auc
from mibench.training.recipe import Recipe

FEW = {"references": 6, "distilled": 2}
# They need a training that is stopped at several stages, and a forest's has none.
WITH_STAGES = {name for name, kind in ATTACKS.items() if "trajectory" in kind.needs}
RUN = set(ATTACKS) - WITH_STAGES
LIKE = "like the target"
X, Y = load_digits(return_X_y=True)
ORDER = np.random.default_rng(0).permutation(len(Y))


def part(first: int, last: int) -> tuple[NDArray[Any], NDArray[Any]]:
    return X[ORDER[first:last]], Y[ORDER[first:last]]


MEMBERS, NONMEMBERS, POPULATION = part(0, 200), part(200, 400), part(400, 1000)


def forest(inputs: Any, labels: Any, seed: int, depth: int | None = None) -> Any:
    model = RandomForestClassifier(12, max_depth=depth, random_state=seed)
    return model.fit(inputs, labels)


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.BatchNorm1d(32), nn.Linear(32, 10))


def audited(model: Any, folder: Path, **given: Any) -> AuditReport:
    return mibench.audit_model(
        model, MEMBERS, NONMEMBERS, POPULATION, cache_dir=folder, **FEW | given
    )


@pytest.fixture(scope="module", autouse=True)
def few_copies() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mibench.signals.own.COPIES", {"perturbed": 3, "noisy": 4})
        yield


@pytest.fixture(scope="module")
def full(cache_dir: Path) -> AuditReport:
    return audited(forest(*MEMBERS, 0), cache_dir, train=LIKE)


def test_a_full_forest_is_found_out_more_than_a_flat_one(full: AuditReport, tmp_path: Path) -> None:
    flat = audited(forest(*MEMBERS, 0, depth=2), tmp_path)
    own, other = (r.table.set_index("attack") for r in (full, flat))
    for attack in ("attack_p", "blindmi_diff_wo", "top1_threshold"):
        assert own.loc[attack, "auc_low"] > other.loc[attack, "auc_high"]


def test_every_attack_runs_and_the_answer_comes_first(full: AuditReport) -> None:
    assert set(full.table["attack"]) == RUN and full.left_out.keys() == WITH_STAGES
    assert set(full.table["references"]) == {6} and set(full.table["distilled"]) == {2}
    best = full.table.loc[full.table["tpr_at_fpr_1"].idxmax()]
    said = full.answer
    assert f"finds {best['tpr_at_fpr_1']:.1%} of this model's members at 1% false alarms" in said
    assert best["title"] in said and f"the best of {len(RUN)} attacks" in said
    assert "the best of" not in replace(full, attacked=full.attacked[:1]).answer
    assert str(full).replace("\n", " ").startswith(said)
    assert full._repr_html_().startswith("<p>An attacker with ") and "<table" in full._repr_html_()


def test_the_answers_interval_is_wider_than_the_best_attacks_own(full: AuditReport) -> None:
    best = max(full.attacked, key=lambda a: a.metrics["tpr_at_fpr_1"].value)
    low, high = best.metrics["tpr_at_fpr_1"].low, best.metrics["tpr_at_fpr_1"].high
    assert f"interval {low:.1%} to {high:.1%}" not in full.answer


def test_each_samples_risk_is_the_false_alarms_that_find_it(full: AuditReport) -> None:
    best, risk = full.ranked[0], full.risk
    scores, truth = best.inference.scores, best.is_member
    assert best.metrics["tpr_at_fpr_1"].value == full.table["tpr_at_fpr_1"].max()
    brute = [np.mean(scores[~truth] >= score) for score in scores]
    assert risk["false_alarms"].to_numpy() == pytest.approx(brute)
    assert np.array_equal(risk["label"], [*MEMBERS[1], *NONMEMBERS[1]])
    assert risk["is_member"].sum() == 200 and risk["found_by"].max() <= len(ATTACKS)
    # All samples as one slice are found as often as the metric says; parts add up to it.
    [whole] = full.slices(np.zeros(400)).to_dict("records")
    assert whole["found"] == best.metrics["tpr_at_fpr_1"].value and whole["called"] <= 0.01
    assert whole["auc"] == pytest.approx(best.metrics["auc"].value)
    classes = full.slices()
    assert (classes["found"] * classes["members"]).sum() == pytest.approx(whole["found"] * 200)
    with pytest.raises(MIBenchError, match="give one value for each of 400"):
        full.slices(np.zeros(3))


def test_epsilon_is_that_of_all_attacks_at_once(full: AuditReport) -> None:
    together = 1 - 0.05 / len(ATTACKS)
    for a in full.attacked[:3]:
        assert a.epsilon == bounds(a.inference.scores, a.is_member, 1e-5, together)
    # Which guesses are counted depends on the confidence, too; of the same ones the bound is lower.
    assert 0 < of_guesses(60, 80, 400, 1e-5, together) < of_guesses(60, 80, 400, 1e-5)
    proven = full.table["epsilon_one_run"].max()
    assert proven > 0.3 and f"epsilon is at least {proven:.2f} (delta 1e-5" in full.answer


def test_an_audits_page_begins_with_the_answer_and_loads_nothing(
    full: AuditReport, tmp_path: Path
) -> None:
    doubtful = replace(full, notes=("caution: <doubt>",))
    audit_page.write(doubtful, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    said = re.findall("<p>(.*?)</p>", page)
    assert html.unescape(said[0]) == full.answer and said[1] == "caution: &lt;doubt&gt;"
    assert page.count('src="data:image/svg+xml') == page.count("src=") == 2
    assert {*re.findall('href="(.)', page)} == {"#"}
    assert page.count("<table") == 4 and full.ranked[0].attack.full_title in page


def test_without_training_what_needs_none_is_run(tmp_path: Path) -> None:
    model = forest(*MEMBERS, 0)
    alone = mibench.audit_model(model, MEMBERS, NONMEMBERS, cache_dir=tmp_path)
    blind = {"blindmi_diff_wo", "blindmi_diff_wo_single"}
    assert {"gap", "top1_threshold"} | blind == set(alone.table["attack"])
    owning = audited(model.predict_proba, tmp_path)
    assert {"attack_p", "quantile_regression", "blindmi_1class"} <= set(owning.table["attack"])
    assert not any(attack.startswith(("lira", "rmia", "nn")) for attack in owning.table["attack"])
    assert not list(tmp_path.rglob("*.npz"))
    # A function and the classifier it is of answer alike.
    again = audited(model, tmp_path)
    assert owning.table["auc"].equals(again.table["auc"])


def test_a_torch_module_is_trained_anew_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mibench.adapters.torch_module._FIT", Recipe(epochs=20))
    inputs = {
        n: (x.astype(np.float32) / 16, y)
        for n, (x, y) in {
            "members": MEMBERS,
            "nonmembers": NONMEMBERS,
            "population": POPULATION,
        }.items()
    }
    model = adapter_of(small_network()).like(small_network(), *inputs["members"], 0)
    before = {n: v.clone() for n, v in model.state_dict().items()}
    report = mibench.audit_model(model, **inputs, train=LIKE, cache_dir=tmp_path, **FEW)
    # A torch module's training has stages.
    assert set(report.table["attack"]) == set(ATTACKS)
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert report.table.set_index("attack").loc["lira_offline", "auc_low"] > 0.5
    other = adapter_of(model).like(model, *inputs["members"], 1)
    assert not torch.equal(other[0].weight, model[0].weight)
    same = adapter_of(model).like(model, *inputs["members"], 1)
    assert all(
        torch.equal(a, b) for a, b in zip(other.parameters(), same.parameters(), strict=True)
    )


def test_nothing_that_a_module_learnt_stays_in_one_like_it() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.layer = nn.Parameter(torch.ones(64)), nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x * self.scale)

    with pytest.raises(MIBenchError, match="Scaled has parameters but no reset_parameters"):
        adapter_of(Scaled()).like(Scaled(), *MEMBERS, 0)


def test_a_gradient_boosting_runs_and_is_trained_anew(tmp_path: Path) -> None:
    model = HistGradientBoostingClassifier(max_iter=3, max_leaf_nodes=4, random_state=0)
    report = audited(model.fit(*MEMBERS), tmp_path)
    assert {"attack_p", "quantile_regression"} <= set(report.table["attack"])
    some = MEMBERS[1] < 9  # a class that it has not seen has a posterior of 0
    other = adapter_of(model).like(model, MEMBERS[0][some], MEMBERS[1][some], 5)
    posteriors = adapter_of(other).answer(other, NONMEMBERS[0], 10)
    assert other.random_state == 5 and posteriors.shape == (200, 10)
    assert (posteriors[:, 9] == 0).all() and posteriors.sum(axis=1) == pytest.approx(np.ones(200))


def own(train: Any, folder: Path, population: Any = POPULATION, **numbers: int) -> Own:
    samples = {"members": MEMBERS, "nonmembers": NONMEMBERS, "population": population}
    needs = {need for kind in ATTACKS.values() for need in kind.needs}
    return Own(forest(*MEMBERS, 0), samples, train, Setting(**FEW | numbers), Store(folder), needs)


def test_a_training_that_yields_its_model_has_trajectories(tmp_path: Path) -> None:
    asked = []

    def train(inputs: Any, labels: Any, seed: int) -> Iterator[Any]:
        asked.append(len(labels))
        yield from (forest(inputs, labels, seed, depth) for depth in (1, 3, None))

    made = own(train, tmp_path, shadows=2).arrays()
    assert made["trajectory_logits"].shape == (3, 400, 10)
    assert made["shadow_trajectory_logits"].shape == (2, 3, 400, 10)
    # What it yields last is the model: the others are trained as they are without stages.
    whole = own(forest, tmp_path / "whole", shadows=2).arrays()
    assert set(made) - set(whole) == {"trajectory_logits", "shadow_trajectory_logits"}
    assert all(np.array_equal(made[name], whole[name]) for name in whole)
    # Two shadows, six references, two distilled models; the target's student and the shadows',
    # which learn from samples that no shadow was trained on.
    assert len(asked) == 13 and asked[10:] == [len(made["auxiliary_labels"])] * 3
    stages = [cross_entropy(stage, made["target_labels"]) for stage in made["trajectory_logits"]]
    # Of posteriors of zero the loss is large.
    assert np.median(stages[0]) > np.median(stages[2])


def test_stages_that_differ_or_diverge_and_trainings_of_nothing_are_told(tmp_path: Path) -> None:
    calls = []

    def differing(inputs: Any, labels: Any, seed: int) -> Iterator[Any]:
        calls.append(seed)
        yield from (forest(inputs, labels, seed) for _ in range(len(calls)))

    def diverging(inputs: Any, labels: Any, seed: int) -> Iterator[Any]:
        yield lambda inputs: np.full((len(inputs), 10), np.nan)
        yield forest(inputs, labels, seed)

    def nothing(inputs: Any, labels: Any, seed: int) -> Iterator[Any]:
        yield from ()

    given: dict[str, Any] = {"attacks": "loss_trajectory, gap", "shadows": 2}
    with pytest.raises(MIBenchError, match="let it yield as many each time"):
        audited(forest(*MEMBERS, 0), tmp_path, train=differing, **given)
    with pytest.raises(MIBenchError, match="gave nothing for shadow 0"):
        audited(forest(*MEMBERS, 0), tmp_path, train=nothing, **given)
    report = audited(forest(*MEMBERS, 0), tmp_path, train=diverging, **given)
    assert list(report.left_out) == ["loss_trajectory"]
    assert any(note.startswith("trajectories were left out") for note in report.notes)


def test_equal_posteriors_of_the_label_tie_whatever_the_others_are(tmp_path: Path) -> None:
    probs, labels = np.zeros((200, 4)), np.zeros(200, dtype=int)
    probs[:, :2], probs[:100, 1:3] = 0.5, 0.25
    target = {"probs": probs, "labels": labels, "is_member": np.arange(200) < 100}
    own: dict[str, Any] = {"auxiliary_probs": probs, "auxiliary_labels": labels}
    assert mibench.audit(target, attacks="attack_p", **own).table["auc"].item() == 0.5
    model = forest(*MEMBERS, 0)
    report = audited(model, tmp_path, attacks="attack_p")
    sides = [model.predict_proba(x)[np.arange(200), y] for x, y in (MEMBERS, NONMEMBERS)]
    alike = roc_auc_score(report.is_member, np.concatenate(sides).round(9))
    assert report.table["auc"].item() == pytest.approx(alike, abs=1e-12)


def test_inputs_of_another_shape_are_other_samples(tmp_path: Path) -> None:
    trained = []

    def train(inputs: Any, labels: Any, seed: int) -> Any:
        trained.append(inputs.shape)
        model = forest(inputs.reshape(len(inputs), -1), labels, seed)
        return lambda x: model.predict_proba(x.reshape(len(x), -1))

    model = train(*MEMBERS, 0)
    for shape in ((64,), (1, 8, 8)):
        parts = [(x.reshape(-1, *shape), y) for x, y in (MEMBERS, NONMEMBERS, POPULATION)]
        mibench.audit_model(model, *parts, train, tmp_path, attacks="base", references=6)
    assert len(trained) == 13 and {shape[1:] for shape in trained} == {(64,), (1, 8, 8)}


def test_what_no_attack_needs_is_not_trained(tmp_path: Path) -> None:
    def train(inputs: Any, labels: Any, seed: int) -> Any:
        raise AssertionError("trained")

    report = audited(forest(*MEMBERS, 0), tmp_path, train=train, attacks="gap, attack_p[fpr=0.2]")
    assert set(report.table["attack"]) == {"gap", "attack_p[fpr=0.2]"} and not report.left_out


def test_augmented_queries_are_those_of_the_definition(tmp_path: Path) -> None:
    images = X.reshape(-1, 8, 8, 1).astype(np.float32) / 16
    pairs = [(images[ORDER[a:b]], Y[ORDER[a:b]]) for a, b in ((0, 200), (200, 400), (400, 1000))]
    trained = []

    def soft(model: Any, inputs: Any) -> Any:
        return 0.9 * model.predict_proba(inputs.reshape(len(inputs), -1)) + 0.01

    def train(inputs: Any, labels: Any, seed: int) -> Any:
        model = forest(inputs.reshape(len(inputs), -1), labels, seed)
        trained.append((model, {row.tobytes() for row in inputs}))
        return partial(soft, model)

    spec = "lira_online[augmented=true]"
    target = forest(MEMBERS[0] / 16, MEMBERS[1], 0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mibench.signals.own.COPIES", COPIES)
        report = mibench.audit_model(
            partial(soft, target), *pairs, train, tmp_path, references=8, attacks=spec
        )
    [audited] = report.attacked
    assert audited.attack.label == spec and len(trained) == 8  # and no shadow

    pool, labels = np.concatenate([pairs[0][0], pairs[1][0]]), report.labels
    wide = np.pad(pool[..., 0], ((0, 0), (1, 1), (1, 1)), mode="reflect")
    queries = [wide[:, d : d + 8, a : a + 8] for d in range(3) for a in range(3)]
    queries += [np.flip(query, axis=2) for query in queries]

    def confidence(model: Any) -> Any:
        p = np.stack([soft(model, query)[np.arange(400), labels] for query in queries])
        return np.log(p) - np.log(1 - p)

    own, others = confidence(target), np.stack([confidence(model) for model, _ in trained])
    seen = np.stack([[row.tobytes() in rows for row in pool] for _, rows in trained])
    ratio = np.zeros((18, 400))
    for sign, side in ((1, seen), (-1, ~seen)):
        for q in range(18):
            of = [others[side[:, i], q, i] for i in range(400)]
            spread = sum(c.var() * len(c) for c in of) / side.sum()
            for i, c in enumerate(of):
                # Eight further models deviate as all do.
                deviation = np.sqrt((c.var() * len(c) + 8 * spread) / (len(c) + 8))
                ratio[q, i] += sign * norm.logpdf(own[q, i], c.mean(), deviation)
    assert audited.inference.scores == pytest.approx(ratio.mean(axis=0), rel=1e-4, abs=1e-4)


def test_a_killed_audit_continues_and_trains_only_what_is_missing(tmp_path: Path) -> None:
    trained: list[int] = []
    last = [4]

    def train(inputs: Any, labels: Any, seed: int) -> Any:
        if len(trained) == last[0]:
            raise KeyboardInterrupt
        trained.append(seed)
        return forest(inputs, labels, seed)

    with pytest.raises(KeyboardInterrupt):
        own(train, tmp_path).arrays()
    assert len(trained) == 4
    last[0] = 99
    continued = own(train, tmp_path).arrays()
    # A shadow, six references, two distilled models.
    assert len(trained) == len(set(trained)) == 9
    assert trained[:4] and own(train, tmp_path).arrays() and len(trained) == 9
    anew = own(train, tmp_path / "other").arrays()
    assert all(np.array_equal(continued[name], anew[name]) for name in anew)


def test_each_sample_is_in_half_of_the_references_and_none_of_the_population_is(
    tmp_path: Path,
) -> None:
    seen = []

    def train(inputs: Any, labels: Any, seed: int) -> Any:
        seen.append({row.tobytes() for row in inputs})
        return forest(inputs, labels, seed)

    given = own(train, tmp_path)
    made = given.arrays()
    assert (made["reference_in"].sum(axis=0) == 3).all()
    pool = [row.tobytes() for row in given.pool.inputs]
    for mask, rows in zip(made["reference_in"], seen[1:7], strict=True):
        assert {row for row, inside in zip(pool, mask, strict=True) if inside} == rows
    auxiliary = {row.tobytes() for row in made["auxiliary_inputs"]}
    assert len(auxiliary) == 200 and not any(auxiliary & rows for rows in seen[:7])
    shadow = made["shadow_is_member"][0]
    assert shadow.sum() == len(seen[0]) == 200 and len(shadow) == 400


def test_another_training_is_not_taken_for_the_one_before() -> None:
    def made(epochs: int) -> Any:
        def train(inputs: Any, labels: Any, seed: int) -> Any:
            return inputs, epochs

        return train

    assert code.of(made(1)) == code.of(made(1)) != code.of(made(2))
    assert code.of(forest) != code.of(part)


def test_a_model_of_ones_own_is_studied_in_scenarios(full: AuditReport, cache_dir: Path) -> None:
    samples = {"members": MEMBERS, "nonmembers": NONMEMBERS, "population": POPULATION}
    given: dict[str, Any] = samples | {"train": LIKE, "cache_dir": cache_dir} | FEW
    study = mibench.study_model(forest(*MEMBERS, 0), **given)
    rows, answers = study.run([*study.panel("RQ2"), "pool"], ["rmia", "attack_p", "gap"])
    assert set(rows["model"]) == {"RandomForestClassifier"} and (rows["status"] == "ok").sum() > 6
    assert not [c for c in rows if c.startswith("train_")] and set(rows["references"]) == {6}
    # The whole pool is what an audit attacks.
    pool = rows[rows["scenario"] == "pool"].set_index("attack")["auc"]
    audited_alike = full.table.set_index("attack").loc[pool.index, "auc"]
    assert pool.to_numpy() == pytest.approx(audited_alike.to_numpy())
    # Members are given first.
    assert np.array_equal(answers["is_member"], answers["sample"] < 200)
    chosen = rows[(rows["attack"] == "gap") & (rows["status"] == "ok")][:-1]
    assert chosen["distance_measured"].to_numpy() == pytest.approx(
        chosen["distance_wanted"].to_numpy(), rel=0.02
    )
    shown = explore(scenario="ES01", attack="gap", study=study)
    assert shown.shown and shown.status.startswith("own_Normal + 0.200") and not shown.again.of
    assert [len(shown.controls[n].options) for n in ("dataset", "seed", "model")] == [1, 1, 1]
    shown.controls["attack"].value = "loss_trajectory"
    assert not shown.shown and "lacks outputs of a model distilled" in shown.status
    shown.close()
    with tempfile.TemporaryDirectory() as empty:
        few = mibench.study_model(forest(*MEMBERS, 0), **samples, cache_dir=empty)
        every, _ = few.run(["pool"])
        assert {"attack_p", "label_only"} & set(every["attack"]) == {"attack_p"}
        with pytest.raises(MIBenchError, match="RMIA lacks outputs of reference models"):
            few.run(["pool"], ["rmia"])
        of_texts = {n: (x.astype(str), y) for n, (x, y) in samples.items()}
        texts = mibench.study_model(posteriors, **of_texts, cache_dir=empty)
        with pytest.raises(MIBenchError, match=r"scenarios need .* generated nonmembers"):
            texts.run(["ES01"], ["gap"])


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_boosting_libraries_are_asked_and_trained_anew(library: str, tmp_path: Path) -> None:
    # Their wheels are large, so that the development environment is without them.
    made = pytest.importorskip(library, reason=f"{library} is not installed")
    kind = made.XGBClassifier if library == "xgboost" else made.LGBMClassifier
    model = kind(n_estimators=3, max_depth=2, random_state=0, n_jobs=1, subsample=0.5)
    model.fit(*MEMBERS)
    adapter = adapter_of(model)
    assert adapter.name == "scikit-learn"
    answered = adapter.answer(model, NONMEMBERS[0], None)
    assert answered == pytest.approx(model.predict_proba(NONMEMBERS[0]))
    other = adapter.like(model, *POPULATION, 5)
    assert other.random_state == 5
    same = kind(n_estimators=3, max_depth=2, random_state=5, n_jobs=1, subsample=0.5)
    wanted = same.fit(*POPULATION).predict_proba(NONMEMBERS[0])
    assert adapter.answer(other, NONMEMBERS[0], 10) == pytest.approx(wanted)
    assert len(audited(model, tmp_path).attacked) >= 8


def test_a_keras_model_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="keras is not installed")
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, "softmax")])
    kernel, bias = (np.asarray(w.detach().cpu()) for w in (v.value for v in model.weights))
    answered = adapter_of(model).answer(model, X[:50], None)
    assert adapter_of(model).name == "keras"
    assert answered == pytest.approx(softmax(X[:50] @ kernel + bias, axis=1), abs=1e-5)
    assert len(audited(model, tmp_path).attacked) >= 8


def test_a_transformer_is_asked_for_tokens_without_their_padding(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape = {"vocab_size": 30, "intermediate_size": 16, "num_labels": 2, "pad_token_id": 0}
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**small | shape))
    assert adapter_of(model).name == "hugging-face"
    tokens = np.random.default_rng(0).integers(1, 30, (90, 8))
    padded = np.pad(tokens, ((0, 0), (0, 4)))
    with torch.no_grad():
        wanted = model.eval()(torch.from_numpy(tokens)).logits.numpy()
    model.train()
    answered = adapter_of(model).answer(model, padded, None)
    assert answered == pytest.approx(wanted, abs=1e-5) and model.training
    sides = [(padded[i : i + 30], Y[i : i + 30] % 2) for i in (0, 30, 60)]
    report = mibench.audit_model(model, *sides, cache_dir=tmp_path)
    assert {"attack_p", "gap"} <= set(report.table["attack"])


def test_nonmembers_posing_as_members_are_not_told_from_others(cache_dir: Path) -> None:
    model = forest(*part(1000, 1200), 0)
    report = audited(model, cache_dir, train=LIKE)
    assert set(report.table["attack"]) == RUN
    for a in report.attacked:
        # 29 attacks, most of which agree: beyond 3.5 standard errors none is by chance.
        assert abs(auc(a.inference.scores, a.is_member).value - 0.5) < 3.5 * np.sqrt(1 / 600), a


def test_copies_lie_where_inputs_do() -> None:
    rng = np.random.default_rng(0)
    records = rng.normal(3, [1, 10, 0], (50, 3))
    images = rng.normal(0, 2, (20, 8, 8, 3)).astype(np.float32)
    for inputs, kind in ((records, "real"), (images, "image"), (records > 3, "binary")):
        space = _Space.of(inputs)
        assert space is not None and space.kind == kind
        unit = space.unit(inputs)
        assert unit.min() >= 0 and unit.max() <= 1
        assert space.back(unit) == pytest.approx(inputs.astype(np.float32), abs=1e-5)
    assert unit.shape == (50, 3) and _Space.of(images).unit(images).shape == (20, 3, 8, 8)
    for other in (np.arange(12).reshape(3, 4), rng.normal(size=(3, 4, 5)), np.array(["a", "b"])):
        assert _Space.of(other) is None


def test_texts_are_audited_without_what_copies_are_for(tmp_path: Path) -> None:
    texts = np.array([" ".join(map(str, row.astype(int))) for row in X[:90]])

    def model(inputs: Any) -> Any:
        values = np.array([len(text) for text in inputs])
        return np.stack([values / 200, 1 - values / 200], axis=1)

    sides = [(texts[i : i + 30], Y[i : i + 30] % 2) for i in (0, 30, 60)]
    report = mibench.audit_model(model, *sides, cache_dir=tmp_path)
    assert any("no perturbed, noisy, generated and random inputs" in n for n in report.notes)
    some = {"gap": [], "label_only,blindmi_diff_w,gap": ["no perturbed and generated"]}
    for attacks, said in {**some, "gap,top1_threshold": ["no random"]}.items():
        notes = mibench.audit_model(model, *sides, cache_dir=tmp_path, attacks=attacks).notes
        assert [note.split(" inputs were made")[0] for note in notes if "made" in note] == said
    assert report.left_out["top1_threshold"].startswith("lacks ")
    assert {"attack_p", "gap"} <= set(report.table["attack"])
    assert "at least 100 nonmembers" in report.answer


def posteriors(inputs: Any) -> Any:
    return np.full((len(inputs), 10), 0.1)


LABEL = {row.tobytes(): label for row, label in zip(X, Y, strict=True)}


def one_hot(inputs: Any, shift: int) -> Any:
    return np.eye(10)[[(LABEL[row.tobytes()] + shift) % 10 for row in inputs]]


def divided(inputs: Any, labels: Any, seed: int) -> Any:
    return seed / 0


class Wrapped(nn.Module):
    """Answers in a container, as models of other libraries do."""

    def __init__(self, wrap: Any):
        super().__init__()
        self.layers, self.wrap = small_network(), wrap

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap(self.layers(x.float()))


def test_logits_are_found_in_what_a_module_wraps_them_in() -> None:
    plain = adapter_of(small_network()).answer(small_network(), X[:9].astype(np.float32), None)
    for wrap in (lambda x: {"logits": x}, lambda x: SimpleNamespace(logits=x)):
        model = Wrapped(wrap)
        model.layers[2].eval()
        answered = adapter_of(model).answer(model, X[:9], None)
        assert answered == pytest.approx(plain, rel=1e-5)
        assert model.training and not model.layers[2].training
        other = adapter_of(model).like(model, X[:50].astype(np.float32), Y[:50], 0)
        assert isinstance(other, Wrapped) and not torch.equal(
            other.layers[0].weight, model.layers[0].weight
        )


def test_models_whose_training_diverged_are_left_out_and_counted(tmp_path: Path) -> None:
    def diverging(*diverged: int) -> Any:
        count = iter(range(99))

        def train(inputs: Any, labels: Any, seed: int) -> Any:
            bad = next(count) in diverged
            return (lambda x: posteriors(x) * np.nan) if bad else forest(inputs, labels, seed)

        return train

    def checked(folder: str, train: Any, **numbers: int) -> Given:
        return check(own(train, tmp_path / folder, **numbers).arrays())

    # A shadow of two, a reference of eight, both distilled models.
    numbers = {"shadows": 2, "references": 8, "distilled": 2}
    given = checked("several", diverging(1, 4, 10, 11), **numbers)
    assert {
        f"{name}_logits has NaN or infinity in {count} models, left out"
        for name, count in (("shadow", "1 of 2"), ("reference", "1 of 8"), ("distilled", "2 of 2"))
    } <= set(given.notes)
    outputs, auxiliary = given.target.outputs, given.knowledge.auxiliary
    assert outputs.reference_logits is not None and len(outputs.reference_logits) == 7
    assert auxiliary is not None and auxiliary.reference_logits is not None
    assert len(auxiliary.reference_logits) == 7 and outputs.distilled_logits is None
    assert len(given.knowledge.shadows) == len(given.knowledge.shadow_auxiliary) == 1
    alone = checked("alone", diverging(0))
    assert "shadow_logits has NaN or infinity in 1 of 1 models, left out" in alone.notes
    lacking = {name for name, kind in ATTACKS.items() if alone.lacking(kind())}
    assert lacking == {name for name, kind in ATTACKS.items() if "shadow" in kind.needs}


def test_what_makes_an_audit_doubtful_is_said(tmp_path: Path) -> None:
    model = forest(*MEMBERS, 0)
    some = X[:, :1] * np.nan
    cases: list[tuple[str, dict[str, Any]]] = [
        ("200 inputs of population are inputs of nonmembers", {"population": NONMEMBERS}),
        ("50 inputs of nonmembers are inputs of members", {"nonmembers": part(150, 350)}),
        ("no more than by chance", {"model": posteriors}),
        ("none of them NaN or infinite", {"members": (MEMBERS[0] + some[:200], MEMBERS[1])}),
    ]
    for says, changes in cases:
        given = {"model": model, "members": MEMBERS, "nonmembers": NONMEMBERS} | changes
        report = mibench.audit_model(**given, cache_dir=tmp_path)
        assert any(says in note for note in report.notes), says
        assert len(report.attacked) >= 3
    few = Y[ORDER[400:1000]] < 3
    lacking = own(forest, tmp_path, (POPULATION[0][few], POPULATION[1][few])).notes
    assert any("no sample of 7 of the classes (3, 4, 5, 6, 7, ...)" in note for note in lacking)


X0, Y0 = MEMBERS
WRONG: list[tuple[str, dict[str, Any]]] = [
    (r"members' labels has shape \(199,\); expected \(200,\)", {"members": (X0, Y0[1:])}),
    ("population' labels must be whole numbers from 0 to 9", {"population": (X0, Y0 + 5)}),
    ("they count from 1: subtract 1", {"nonmembers": (X0, Y0 + 1)}),
    ("expected numbers", {"nonmembers": (X0, Y0.astype(str))}),
    ("members must be a pair", {"members": X0}),
    ("the inputs of members are no array", {"members": ([[1.0], [1.0, 2.0]], [0, 1])}),
    ("the inputs of nonmembers are of float64 and shape", {"nonmembers": (X0[:0], Y0[:0])}),
    ("all inputs must be alike", {"nonmembers": (X0[:, 1:], Y0)}),
    ("posteriors are not probabilities: row 0 sums to 2", {"model": lambda x: posteriors(x) * 2}),
    ("posteriors has shape", {"model": lambda x: posteriors(x)[1:]}),
    ("the model is of type int, which no adapter takes", {"model": 5}),
    ("the model is the class RandomForestClassifier; give", {"model": RandomForestClassifier}),
    ("has no classes_: fit it first", {"model": RandomForestClassifier()}),
    (r"cannot be asked for inputs .* \(400, 64\).*: IndexError", {"model": lambda x: x[999]}),
    (
        "answers NaN or infinity for 200 of 400 inputs; some inputs hold NaN or infinity; give",
        {"members": (X0 * np.nan, Y0), "model": lambda x: posteriors(x) + 0 * x[:, :1]},
    ),
    ("RuntimeError", {"model": Wrapped(lambda x: x @ x), "population": None}),
    ("returns a tuple without logits; wrap it", {"model": Wrapped(lambda x: (x, x))}),
    ("its answer is the label less 1 for 100.0%", {"model": lambda x: one_hot(x, -1)}),
    ("20 samples are too few for population", {"train": forest, "population": part(400, 420)}),
    ("train cannot be called with inputs, labels and seed", {"train": lambda x, y: 0}),
    ("train gave nothing for shadow 0; let it return", {"train": lambda x, y, seed: None}),
    ("train fails for shadow 0, of 200 samples of 10 classes: Zero", {"train": divided}),
    ("/proc/none cannot be written", {"train": forest, "cache_dir": "/proc/none"}),
    ("train needs population", {"train": posteriors, "population": None}),
    ("train is 'likewise'; give a function", {"train": "likewise"}),
    ("no telling how this function was trained", {"train": LIKE}),
    ("train returned the audited model", {"train": lambda x, y, seed: posteriors}),
    ("references is 5; it must be even", {"references": 5}),
]


@pytest.mark.parametrize(("says", "changes"), WRONG)
def test_what_is_wrong_is_one_sentence(says: str, changes: dict[str, Any], tmp_path: Path) -> None:
    right = {"model": posteriors, "members": MEMBERS, "nonmembers": NONMEMBERS}
    given: dict[str, Any] = right | {"population": POPULATION} | changes
    with pytest.raises(MIBenchError, match=says) as caught:
        mibench.audit_model(**{"cache_dir": tmp_path} | given)
    assert len(str(caught.value).splitlines()) == 1


def test_an_adapter_of_ones_own_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    class Constant(Adapter):
        name = "constant"

        def takes(self, model: Any) -> bool:
            return isinstance(model, RandomForestClassifier)

        def answer(self, model: Any, inputs: Any, classes: int | None) -> Any:
            return posteriors(inputs)

    monkeypatch.setitem(ADAPTERS._things, "constant", Constant())
    assert adapter_of(RandomForestClassifier()).name == "constant"
    assert adapter_of(small_network()).name == "torch"
