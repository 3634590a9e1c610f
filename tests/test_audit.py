import json
import zipfile
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

import mibench
from mibench import figures
from mibench.apps.cli import main
from mibench.attacks import ATTACKS, Attack, Inference
from mibench.errors import MIBenchError
from mibench.outputs import Outputs, check_numbering
from mibench.study import metrics
from mibench.study.audit import AuditReport, audit_file
from mibench.study.study import Study


@pytest.fixture(scope="module")
def peer(shared_data: Path) -> Path:
    return shared_data / "location30_peer_predictions.npz"


@pytest.fixture(scope="module")
def natural(peer: Path) -> AuditReport:
    return audit_file(peer)


@pytest.fixture(scope="module")
def defended(peer: Path) -> AuditReport:
    return audit_file(peer, "target_probs_memguard")


def small(seed: int = 0, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    arrays: dict[str, Any] = {}
    for owner, n in (("target", 60), ("shadow", 80)):
        arrays[f"{owner}_probs"] = rng.dirichlet(np.ones(5), n)
        arrays[f"{owner}_labels"] = rng.integers(0, 5, n)
        arrays[f"{owner}_is_member"] = np.arange(n) % 2
    return {k: v for k, v in (arrays | changes).items() if v is not None}


def same(a: pd.DataFrame, b: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(a.drop(columns="seconds"), b.drop(columns="seconds"))


def test_the_natural_model_is_at_higher_risk_than_the_defended(
    natural: AuditReport, defended: AuditReport
) -> None:
    table, other = (report.table.set_index("attack") for report in (natural, defended))
    assert len(table) >= 10
    assert table["ma"].max() > other["ma"].max() + 0.15
    for attack in ("loss_threshold", "class_confidence", "risk_score"):
        assert table.loc[attack, "auc_low"] > other.loc[attack, "auc_high"]
    # MemGuard changes no label, so it cannot defend against the gap attack.
    assert table.loc["gap", "ma"] == other.loc["gap", "ma"]


def test_accuracies_are_those_that_song_and_mittal_found(
    natural: AuditReport, defended: AuditReport
) -> None:
    found = natural.table.set_index("attack")["accuracy"].round(3)
    named = ["class_confidence", "class_entropy", "class_modified_entropy", "gap"]
    assert list(found[named]) == [0.763, 0.616, 0.781, 0.687]
    found = defended.table.set_index("attack")["accuracy"]
    assert list(found[named[:3]]) == pytest.approx([0.691, 0.521, 0.688], abs=6e-4)


def test_numbers_are_those_of_the_file(peer: Path, natural: AuditReport) -> None:
    with np.load(peer) as file:
        probs, labels = file["target_probs"], file["target_labels"]
        is_member = file["target_is_member"].astype(bool)
    confidence = probs[np.arange(len(labels)), labels]
    loss = -np.log(np.maximum(confidence, 1e-7))
    row = natural.table.set_index("attack").loc["loss_threshold"]
    assert row["auc"] == pytest.approx(roc_auc_score(is_member, -loss), abs=2e-4)
    right = probs.argmax(axis=1) == labels
    gap = natural.table.set_index("attack").loc["gap"]
    assert gap["ma"] == pytest.approx(right[is_member].mean() - right[~is_member].mean())


def test_what_was_left_out_is_told(natural: AuditReport) -> None:
    assert set(natural.left_out) | set(natural.table["attack"]) == set(ATTACKS)
    assert "reference models" in natural.left_out["lira_online"]
    assert "left out: label_only (lacks the target's answers on perturbed copies)" in str(natural)
    assert len(figures.roc(natural.attacked).axes) == 1


def test_json_and_parquet(peer: Path, natural: AuditReport, tmp_path: Path) -> None:
    written = ["--out", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html")]
    result = CliRunner().invoke(main, ["audit", str(peer), *written])
    assert result.exit_code == 0 and "Loss-Threshold" in result.stdout
    assert f"<p>{natural.answer}</p>" in unescape((tmp_path / "a.html").read_text())
    natural.save(tmp_path / "a.parquet")
    rows = json.loads((tmp_path / "a.json").read_text())
    table = pd.read_parquet(tmp_path / "a.parquet")
    assert [r["attack"] for r in rows] == list(table["attack"])
    assert rows[0]["auc"] == pytest.approx(table["auc"][0])
    assert {"attack", "precision", "recall", "f1", "fpr", "fnr", "ma", "accuracy"} <= rows[0].keys()
    assert len(list(tmp_path.iterdir())) == 3


def test_without_shadow_and_with_references(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    mask = np.repeat([[True], [False]], 8, axis=0) & np.ones(60, dtype=bool)
    references = {"reference_logits": rng.normal(size=(16, 60, 5)), "reference_in": mask}
    alone = {k: v for k, v in small().items() if k.startswith("target")}
    np.savez(tmp_path / "f.npz", **alone, **references)
    report = audit_file(tmp_path / "f.npz")
    assert {"lira_online", "calibrated", "attack_r", "gap"} <= set(report.table["attack"])
    assert "loss_threshold" in report.left_out
    few = {k: v[6:10] for k, v in references.items()}
    np.savez(tmp_path / "g.npz", **alone, **few)
    assert "three reference models" in audit_file(tmp_path / "g.npz").left_out["lira_online"]


def test_from_python_and_logits(tmp_path: Path) -> None:
    arrays = small()
    target = {k.removeprefix("target_"): v for k, v in arrays.items() if k.startswith("target")}
    shadow = {k.removeprefix("shadow_"): v for k, v in arrays.items() if k.startswith("shadow")}
    report = mibench.audit(target=target, shadow=shadow)
    np.savez(tmp_path / "f.npz", **arrays)
    same(report.table, audit_file(tmp_path / "f.npz").table)
    target["logits"] = np.log(target.pop("probs"))
    shadow["logits"] = np.log(shadow.pop("probs"))
    table = mibench.audit(target=target, shadow=shadow).table
    assert table["auc"].to_numpy() == pytest.approx(report.table["auc"].to_numpy())


def test_no_attack_sees_the_targets_membership(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Outputs] = []

    class Spy(Attack):
        name, title, source = "spy", "Spy", "this test"
        needs = frozenset[str]()

        def infer(self, target: Outputs) -> Inference:
            seen.append(target)
            return Inference(np.zeros(len(target)), 0.5)

    monkeypatch.setitem(ATTACKS._things, "spy", Spy)
    arrays = small()
    target = {k.removeprefix("target_"): v for k, v in arrays.items() if "target" in k}
    mibench.audit(target)
    flipped = mibench.audit(target | {"is_member": 1 - target["is_member"]})
    assert "spy" in set(flipped.table["attack"])
    a, b = (vars(s) for s in seen)
    assert a.keys() == b.keys() and not any("member" in k for k in a)
    # The order they come in is random, and another one each time.
    assert (np.sort(a["logits"], axis=0) == np.sort(b["logits"], axis=0)).all()


BROKEN = [
    (
        {"target_probs": np.full((60, 5), np.nan)},
        r"target_probs holds NaN or infinity \(300 of 300\)",
    ),
    ({"target_probs": np.ones((60, 5))}, "are not probabilities: row 0 sums to 5"),
    ({"target_probs": np.tile([1.5, -0.5, 0, 0, 0], (60, 1))}, "smallest value is -0.5"),
    ({"target_labels": np.full(60, 5)}, "whole numbers from 0 to 4"),
    ({"target_labels": np.arange(60) % 5 + 1}, "1 to 5; they count from 1: subtract 1"),
    ({"target_labels": np.full(60, 0.5)}, "whole numbers from 0 to 4"),
    ({"target_labels": np.zeros(59, dtype=int)}, r"has shape \(59,\); expected \(60,\)"),
    ({"target_is_member": np.ones(60)}, "marks no nonmembers"),
    ({"shadow_is_member": np.zeros(80)}, "marks no members"),
    ({"target_is_member": np.full(60, 2)}, "only 0 and 1"),
    ({"target_is_member": np.ones(61)}, r"has shape \(61,\)"),
    ({"target_probs": np.ones(60)}, "target_labels must be whole numbers from 0 to 1"),
    ({"target_probs": np.ones((60, 5, 2))}, r"expected \(samples, classes\)"),
    ({"target_labels": np.array(["a"] * 60)}, "expected numbers"),
    ({"shadow_probs": np.full((80, 4), 0.25), "shadow_labels": np.zeros(80)}, r"\(samples, 5\)"),
    ({"target_labels": None}, "has no array 'target_labels'; it holds target_probs"),
    ({"shadow_probs": None}, "has no array 'shadow_probs'"),
    ({"reference_logits": np.zeros((4, 60, 5))}, "has no array 'reference_in'"),
    (
        {"reference_logits": np.zeros((4, 60, 3)), "reference_in": np.zeros((4, 60))},
        r"expected \(models, 60, 5\)",
    ),
    ({"target_probs": np.zeros((0, 5)), "target_labels": np.zeros(0)}, "target_probs is empty"),
    ({"target_labels": np.array([{}] * 60, dtype=object)}, "holds Python objects"),
]


@pytest.mark.parametrize(("changes", "says"), BROKEN)
def test_broken_arrays_are_named(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", **small(**changes))
    with pytest.raises(MIBenchError, match=says):
        audit_file(tmp_path / "f.npz")
    result = CliRunner().invoke(
        main, ["audit", str(tmp_path / "f.npz"), "--out", str(tmp_path / "o.json")]
    )
    assert result.exit_code == 2 and len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "o.json").exists()


def test_what_an_audit_does_not_use_does_not_matter(tmp_path: Path) -> None:
    names = np.array([{"class": "cat"}], dtype=object)
    np.savez(tmp_path / "f.npz", **small(class_names=names, target_names=names))
    np.savez(tmp_path / "g.npz", **small())
    found, wanted = (audit_file(tmp_path / f"{n}.npz").table for n in "fg")
    same(found, wanted)


def test_broken_files_are_named(tmp_path: Path) -> None:
    good = tmp_path / "good.npz"
    np.savez_compressed(good, **small())
    content = good.read_bytes()
    bad = tmp_path / "bad.npz"
    for cut in (len(content) // 2, 10, 0):
        bad.write_bytes(content[:cut])
        with pytest.raises(MIBenchError, match=r"bad\.npz"):
            audit_file(bad)
    bad.write_bytes(content[:400] + bytes(200) + content[600:])
    with pytest.raises(MIBenchError, match=r"bad\.npz"):
        audit_file(bad)
    bad.write_text("no numbers at all")
    with pytest.raises(MIBenchError, match=r"bad\.npz is not a complete NPZ file"):
        audit_file(bad)
    for path in (tmp_path, tmp_path / "none.npz"):
        with pytest.raises(MIBenchError, match="cannot be read"):
            audit_file(path)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(MIBenchError, match="single array"):
        audit_file(tmp_path / "one.npy")
    with pytest.raises(MIBenchError, match="has no array 'target_probs_x'; it holds"):
        audit_file(good, "target_probs_x")


def test_logits_and_their_probabilities_are_audited_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels, is_member = rng.integers(0, 5, 200), np.arange(200) % 2
    mask = np.argsort(rng.random((16, 200)), axis=0) < 8
    one_hot = 18.0 * np.eye(5)[labels]
    references = one_hot + rng.normal(0, 1, (16, 200, 5)) + 3 * mask[..., None] * np.eye(5)[labels]
    logits = one_hot + rng.normal(0, 1, (200, 5)) + 3 * is_member[:, None] * np.eye(5)[labels]
    given = {"labels": labels, "is_member": is_member}
    others = {"logits": references, "in": mask}
    a = mibench.audit({"logits": logits, **given}, references=others).table
    b = mibench.audit({"probs": softmax(logits, axis=1), **given}, references=others).table
    assert b["auc"].to_numpy() == pytest.approx(a["auc"].to_numpy(), abs=1e-3)
    assert b.set_index("attack").loc["lira_online", "auc"] > 0.8


def test_the_order_of_samples_tells_nothing() -> None:
    labels = np.arange(200) % 5
    for first in (True, False):
        given = {"labels": labels, "is_member": (np.arange(200) < 100) == first}
        table = mibench.audit({"probs": np.eye(5)[labels], **given}).table
        assert (table["auc_low"] <= 0.5).all() and (table["auc_high"] >= 0.5).all()


def test_outputs_of_another_name(tmp_path: Path) -> None:
    arrays = small()
    defended = {"defended": arrays["target_probs"]}
    np.savez(tmp_path / "f.npz", **arrays, **defended)
    with pytest.raises(MIBenchError, match="no 'target' in it: rename the array"):
        audit_file(tmp_path / "f.npz", "defended")
    alone = {k: v for k, v in arrays.items() if k.startswith("target")}
    np.savez(tmp_path / "g.npz", **alone, **defended)
    same(
        audit_file(tmp_path / "g.npz", "defended").table,
        audit_file(tmp_path / "g.npz").table,
    )
    broken = {"target_probs_x": np.full((60, 5), np.nan), "shadow_probs_x": arrays["shadow_probs"]}
    np.savez(tmp_path / "h.npz", **arrays, **broken)
    with pytest.raises(MIBenchError, match="target_probs_x holds NaN or infinity"):
        audit_file(tmp_path / "h.npz", "target_probs_x")
    # Logits are taken where there are some; but what was asked for goes first.
    np.savez(tmp_path / "i.npz", **arrays, target_logits=np.full((60, 5), np.nan))
    same(
        audit_file(tmp_path / "i.npz", "target_probs").table,
        audit_file(tmp_path / "f.npz").table,
    )
    mixed = small(target_probs=None, target_logits=np.log(arrays["target_probs"]))
    np.savez(tmp_path / "j.npz", **mixed)
    found = audit_file(tmp_path / "j.npz").table["auc"]
    assert found.to_numpy() == pytest.approx(audit_file(tmp_path / "f.npz").table["auc"].to_numpy())


@pytest.mark.parametrize(
    "arguments", [["--seed", "-1"], ["--seed", str(2**40)], ["--out", "{file}/x.json"]]
)
def test_what_cannot_be_used_is_one_sentence(arguments: list[str], tmp_path: Path) -> None:
    file = tmp_path / "f.npz"
    np.savez(file, **small())
    given = [argument.format(file=file) for argument in arguments]
    result = CliRunner().invoke(main, ["audit", str(file), *given])
    assert result.exit_code == 2 and result.stderr.strip().splitlines()[-1].startswith("mibench: ")
    (tmp_path / "a.json").mkdir()
    with pytest.raises(MIBenchError, match="is a folder"):
        audit_file(file).save(tmp_path / "a.json")


@pytest.mark.parametrize("probs", [[[0.5, 0.5], [1.0]], "torch"])
def test_what_is_no_array_is_named(probs: Any) -> None:
    values = torch.full((2, 2), 0.5, requires_grad=True) if probs == "torch" else probs
    with pytest.raises(MIBenchError, match="target_probs is no array of numbers"):
        mibench.audit({"probs": values, "labels": [0, 1], "is_member": [0, 1]})


def npy(header: str, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + body


HEADERS = [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000), }\n",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 9), }\n",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 5), }\n",
    "{'descr': [('a', '<f8'), ('b', '<i4', (2,))], 'fortran_order': False, 'shape': (3,), }\n",
    "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }\n",
    "{'descr': 'nothing', 'fortran_order': False, 'shape': (3,), }\n",
    "{'shape': (3,)}\n",
    "((((((",
    "",
]


@pytest.mark.parametrize("header", HEADERS)
def test_forged_headers_are_named(header: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.npz"
    np.savez(bad, **small(target_probs=None))
    with zipfile.ZipFile(bad, "a") as file:
        file.writestr("target_probs.npy", npy(header, bytes(48)))
    with pytest.raises(MIBenchError, match=r"bad\.npz|target_probs holds"):
        audit_file(bad)


def test_a_file_that_unpacks_to_more_than_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = tmp_path / "bomb.npz"
    np.savez_compressed(bomb, **small(), padding=np.zeros(1_000_000))
    monkeypatch.setattr("mibench.data.npz.memory", lambda: 1_000_000)
    with pytest.raises(MIBenchError, match="unpacks to"):
        audit_file(bomb)


def test_random_damage_never_ends_in_a_traceback(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "good.npz", **small())
    content = np.frombuffer((tmp_path / "good.npz").read_bytes(), dtype=np.uint8)
    rng = np.random.default_rng(0)
    bad = tmp_path / "bad.npz"
    refused = 0
    for _ in range(150):
        damaged = content.copy()
        where = rng.integers(0, len(damaged), rng.integers(1, 30))
        damaged[where] = rng.integers(0, 256, len(where))
        bad.write_bytes(damaged[: rng.integers(1, 2 * len(damaged))].tobytes())
        try:
            audit_file(bad)
        except MIBenchError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1
    assert refused > 100


def test_layout_and_precision_of_arrays_change_nothing(tmp_path: Path) -> None:
    arrays = small()
    expected = audited(tmp_path, arrays)
    swapped = {k: v.astype(v.dtype.newbyteorder(">")) for k, v in arrays.items()}
    swapped["target_probs"] = np.asfortranarray(swapped["target_probs"])
    swapped["target_is_member"] = arrays["target_is_member"].astype(bool)
    swapped["target_labels"] = arrays["target_labels"].astype(np.float32)
    same(audited(tmp_path, swapped), expected)
    for kind in (np.float32, np.float16):
        rough = {k: v.astype(kind) if k.endswith("probs") else v for k, v in arrays.items()}
        table = audited(tmp_path, rough)
        assert table["attack"].equals(expected["attack"])
        assert np.abs(table["auc"] - expected["auc"]).median() < 0.01


def audited(folder: Path, arrays: dict[str, Any]) -> pd.DataFrame:
    np.savez(folder / "f.npz", **arrays)
    return audit_file(folder / "f.npz").table


def test_rows_have_the_keys_of_an_experiments(digits: Study, natural: AuditReport) -> None:
    row, _ = digits.run(["ES10"], ["loss_threshold"])
    of_scenarios = set(row.columns) - set(natural.table.columns)
    further = {"samples_left_out", "epsilon_rates", "epsilon_one_run"}
    assert set(natural.table.columns) - further < set(row.columns)
    assert {"code", "seed", "references", "shadows", "target_test_accuracy"} <= set(natural.table)
    assert not {c for c in of_scenarios if c.startswith(tuple(metrics.METRICS))}


def test_an_unknown_ending_is_refused_before_any_work(tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    result = CliRunner().invoke(main, ["audit", str(tmp_path / "none.npz"), "--out", str(out)])
    assert result.exit_code == 2 and "does not end in .json or .parquet" in result.stderr


CLASSES, BOOST = 5, np.eye(5)


def answers(rng: Any, labels: Any, seen: Any) -> Any:
    """Return simulated logits (..., n, C), surer of the label where a model saw the sample."""
    seen = np.asarray(seen)
    noise = rng.normal(size=(*seen.shape, CLASSES))
    return (noise + (1 + 2 * seen[..., None]) * BOOST[labels]).astype(np.float32)


def everything(shadows: int = 2, references: int = 16, n: int = 120, a: int = 90) -> dict[str, Any]:
    """Return every array that an audit takes, of simulated models."""
    rng = np.random.default_rng(3)
    labels, own = rng.integers(0, CLASSES, n), rng.integers(0, CLASSES, a)
    is_member = rng.permutation(n) % 2
    inside = np.argsort(rng.random((references, n)), axis=0) < references // 2
    shadow_in = np.stack([rng.permutation(n) % 2 for _ in range(shadows)])
    nobody, mixed = np.zeros(a, dtype=int), np.broadcast_to(is_member, (6, n))
    return {
        "target_logits": answers(rng, labels, is_member),
        "target_labels": labels,
        "target_is_member": is_member,
        "shadow_logits": answers(rng, labels, shadow_in),
        "shadow_labels": labels,
        "shadow_is_member": shadow_in,
        "shadow_auxiliary_logits": answers(rng, own, np.tile(nobody, (shadows, 1))),
        "shadow_perturbed_logits": answers(rng, labels, np.repeat(shadow_in[:, None], 6, axis=1)),
        "shadow_noisy_loss": rng.exponential(size=(shadows, 6, n)),
        "shadow_noisy_predicted": rng.integers(0, CLASSES, (shadows, 6, n)),
        "reference_probs": softmax(answers(rng, labels, inside), axis=-1),
        "reference_in": inside,
        "distilled_logits": answers(rng, labels, np.repeat(is_member[None], 4, axis=0) / 2),
        "trajectory_logits": answers(rng, labels, mixed),
        "shadow_trajectory_logits": answers(rng, labels, np.repeat(shadow_in[:, None], 6, axis=1)),
        "auxiliary_logits": answers(rng, own, nobody),
        "auxiliary_labels": own,
        "auxiliary_reference_logits": answers(rng, own, np.tile(nobody, (references, 1))),
        "auxiliary_inputs": rng.random((a, 3, 4)),
        "inputs": rng.random((n, 3, 4)),
        "generated_logits": answers(rng, own, nobody),
        "generated_labels": own,
        "random_logits": answers(rng, own, nobody),
        "perturbed_probs": softmax(answers(rng, labels, mixed), axis=-1),
        "noisy_loss": rng.exponential(size=(6, n)),
        "noisy_predicted": rng.integers(0, CLASSES, (6, n)),
        "augmented_logits": answers(rng, labels, mixed),
        "reference_augmented_logits": answers(rng, labels, np.repeat(inside[:, None], 6, axis=1)),
    }


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> AuditReport:
    path = tmp_path_factory.mktemp("all") / "all.npz"
    np.savez(path, **everything(), class_names=np.array(["a"]), logits_of_target=np.zeros(3))
    return audit_file(path)


@pytest.mark.parametrize("attack", list(ATTACKS))
def test_a_file_with_every_array_runs_every_attack(complete: AuditReport, attack: str) -> None:
    assert attack not in complete.left_out
    row = complete.table.set_index("attack").loc[attack]
    assert row["samples"] == 120 and 0 <= row["auc"] <= 1


def test_what_was_not_read_and_the_targets_accuracy_are_told(complete: AuditReport) -> None:
    text = str(complete)
    assert "not read: class_names, logits_of_target" in text
    arrays = everything()
    right = arrays["target_logits"].argmax(axis=1) == arrays["target_labels"]
    members = arrays["target_is_member"].astype(bool)
    said = f"{right[members].mean():.1%} of its members rightly and {right[~members].mean():.1%}"
    assert said in text.replace("\n", " ")
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", sorted(everything()))
def test_an_attack_runs_or_says_what_it_lacks(name: str) -> None:
    arrays = everything()
    del arrays[name]
    augmented = "lira_online[augmented=true]"
    try:
        report = mibench.audit({}, attacks=["all", augmented], **arrays)
    except MIBenchError as error:
        # Not whole: of outputs their labels, of references what they were trained on.
        assert f"no array {name.replace('logits', 'probs')!r}" in str(error)
    else:
        assert set(report.left_out) | set(report.table["attack"]) == {*ATTACKS, augmented}
        assert all(reason.startswith("lacks ") for reason in report.left_out.values())
        assert report.left_out


def test_labels_of_copies_are_enough_for_an_attack_that_reads_no_more() -> None:
    arrays = {k: v for k, v in everything().items() if not k.endswith("_loss")}
    report = mibench.audit({}, **arrays)
    assert {"merlin", "morgan"} == set(report.left_out)
    assert report.left_out["merlin"] == "lacks noisy_loss, shadow_noisy_loss"
    arrays["perturbed_predicted"] = arrays.pop("perturbed_probs").argmax(axis=-1)
    arrays["shadow_perturbed_predicted"] = arrays.pop("shadow_perturbed_logits").argmax(axis=-1)
    again = mibench.audit({}, **arrays).table.set_index("attack")
    label_only = report.table.set_index("attack").loc["label_only"]
    assert again.loc["label_only", "auc"] == label_only["auc"]


def test_augmented_queries_are_read_from_a_file_by_logits_or_losses() -> None:
    arrays, spec = everything(), ["lira_online", "lira_offline[augmented=true]"]
    report = mibench.audit({}, attacks=spec, **arrays)
    assert [a.attack.label for a in report.attacked] == spec
    for stem in ("augmented", "reference_augmented"):
        logits, labels = arrays.pop(f"{stem}_logits"), arrays["target_labels"]
        losses = -np.log(softmax(logits, axis=-1))
        arrays[f"{stem}_loss"] = losses[..., np.arange(len(labels)), labels]
        arrays[f"{stem}_predicted"] = logits.argmax(axis=-1)
    again = mibench.audit({}, attacks=spec, **arrays)
    for a, b in zip(report.attacked, again.attacked, strict=True):
        assert a.inference.scores == pytest.approx(b.inference.scores, abs=1e-6)
    few = {**arrays, "augmented_loss": arrays["augmented_loss"][:5]}
    few["augmented_predicted"] = arrays["augmented_predicted"][:5]
    with pytest.raises(MIBenchError, match="asked for 6 augmented copies and the target for 5"):
        mibench.audit({}, **few)
    del arrays["reference_augmented_loss"], arrays["reference_augmented_predicted"]
    left = mibench.audit({}, attacks=spec, **arrays).left_out
    assert list(left) == [spec[1]] and "lacks reference_augmented_*" in left[spec[1]]


def core(**changes: Any) -> dict[str, Any]:
    """Return the target's and the reference models' arrays."""
    named = ("target_", "reference_probs", "reference_in")
    return {k: v for k, v in everything().items() if k.startswith(named)} | changes


def audited_core(**changes: Any) -> AuditReport:
    return mibench.audit({}, **core(**changes))


def test_one_column_is_the_posterior_of_class_one() -> None:
    rng = np.random.default_rng(0)
    labels, is_member = rng.integers(0, 2, 200), np.arange(200) % 2
    inside = np.argsort(rng.random((8, 200)), axis=0) < 4
    one = (rng.normal(size=200) + (labels * 2 - 1) * (1 + is_member)) * 2
    others = (rng.normal(size=(8, 200)) + (labels * 2 - 1) * (1 + inside)) * 2
    given = {"labels": labels, "is_member": is_member}
    p, q = 1 / (1 + np.exp(-one)), 1 / (1 + np.exp(-others))
    whole = mibench.audit(
        {"probs": np.stack([1 - p, p], axis=1), **given},
        references={"probs": np.stack([1 - q, q], axis=-1), "in": inside},
    ).table
    for target, references in (
        ({"probs": p}, {"probs": q}),
        ({"probs": p[:, None]}, {"logits": others[..., None]}),
        ({"logits": one}, {"probs": q}),
    ):
        report = mibench.audit(target | given, references=references | {"in": inside})
        assert report.table["auc"].to_numpy() == pytest.approx(whole["auc"].to_numpy(), abs=1e-3)
        assert sum("is one column" in note for note in report.notes) == 2
    with pytest.raises(MIBenchError, match=r"target_logits holds posteriors.*target_probs"):
        mibench.audit({"logits": p, **given})


@pytest.mark.parametrize("digits", [2, 3])
def test_rounded_posteriors_are_divided_by_their_sums(digits: int) -> None:
    exact = softmax(core()["target_logits"].astype(float), axis=1)
    rounded = np.round(exact, digits)
    assert np.abs(rounded.sum(axis=1) - 1).max() > 0.9 * 10**-digits
    owned = {k: v for k, v in core(target_probs=rounded).items() if k != "target_logits"}
    report = mibench.audit({}, **owned)
    assert any(f"target_probs is rounded to {digits} digits" in note for note in report.notes)
    table, wanted = (r.table.set_index("attack")["auc"] for r in (report, audited_core()))
    assert table["calibrated"] == pytest.approx(wanted["calibrated"], abs=0.01)
    for wrong in (np.round(exact, 1), rounded * 1.05):
        with pytest.raises(MIBenchError, match="are not probabilities"):
            mibench.audit({}, **owned | {"target_probs": wrong})


def test_labels_off_by_one_and_inverted_membership_are_doubted() -> None:
    assert not audited_core().notes
    arrays = core()
    with pytest.raises(MIBenchError, match=r"its answer is the label less 1 for 91\.7% of the"):
        audited_core(target_labels=(arrays["target_labels"] + 1) % CLASSES)
    inverted = audited_core(target_is_member=1 - arrays["target_is_member"])
    outside = audited_core(reference_in=~arrays["reference_in"])
    labels = arrays["target_labels"].copy()
    labels[(labels == 2) & (arrays["target_is_member"] == 0)] = 0
    said = f"caution: class 2, {(labels == 2).sum()} of {len(labels)} samples, has members alone or"
    assert any(note.startswith(said) for note in audited_core(target_labels=labels).notes)
    for report, name in (
        (inverted, "target_is_member"),
        (outside, "reference_in"),
    ):
        assert any(
            note.startswith(f"caution: the loss is lower outside {name}") for note in report.notes
        )


def test_labels_that_name_other_things_than_classes_are_doubted() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 400)
    logits = np.eye(10)[labels] * 3 + rng.normal(size=(400, 10)) / 2
    assert check_numbering(logits, labels) == ""
    # Even or odd: right where the class is 0 or 1, which is more than by chance.
    said = check_numbering(logits, labels % 2)
    assert "is the label for 19.2% of its members, while the answer tells it for 100.0%" in said
    # A model that learnt little, and one of few samples, is no reason for doubt.
    assert check_numbering(logits + rng.normal(size=(400, 10)) * 2, labels) == ""
    assert check_numbering(logits[:50], labels[:50] % 2) == ""


def test_a_sample_without_reference_models_costs_that_sample_only() -> None:
    arrays = core()
    inside = arrays["reference_in"].copy()
    inside[:, 5], inside[:, [7, 9]] = True, False
    report = audited_core(reference_in=inside)
    table = report.table.set_index("attack")
    assert not [name for name in report.left_out if name.startswith(("lira", "calib", "attack_r"))]
    assert table.loc["lira_online", "samples"] == 117
    assert table.loc["lira_online", "samples_left_out"] == 3
    assert table.loc["calibrated", "samples"] == table.loc["attack_r", "samples"] == 119
    assert table.loc["gap", "samples_left_out"] == 0
    assert "lira_online: on 117 of 120 samples" in str(report)
    kept = np.delete(np.arange(120), [5, 7, 9])
    of = {k: v[kept] if k.startswith("target") else v[:, kept] for k, v in arrays.items()}
    wanted = mibench.audit({}, **of).table.set_index("attack")
    # Ties and the order of sums aside, as if the samples had never been there.
    assert table.loc["lira_online", "auc"] == pytest.approx(wanted.loc["lira_online", "auc"])
    assert table.loc["lira_online", "ma"] == pytest.approx(wanted.loc["lira_online", "ma"])


def test_a_diverged_model_is_left_out_of_all_arrays() -> None:
    arrays = everything()
    arrays["auxiliary_reference_logits"][4, 8, 2] = np.nan
    arrays["distilled_logits"][1] = np.inf
    report = mibench.audit({}, **arrays)
    assert set(report.table["attack"]) == set(ATTACKS)
    assert set(report.table["references"]) == {15} and set(report.table["distilled"]) == {3}
    assert any("in 1 of 16 models, left out" in note for note in report.notes)
    arrays["distilled_logits"][:] = np.nan
    left_out = mibench.audit({}, **arrays).left_out
    assert set(left_out) == {a for a in ATTACKS if "distilled" in ATTACKS[a].needs}


def test_references_that_are_something_else_are_refused() -> None:
    arrays = core()
    probs = arrays.pop("reference_probs")
    with pytest.raises(MIBenchError, match=r"holds posteriors.*name the array reference_probs"):
        mibench.audit({}, **arrays, reference_logits=probs)
    logits = np.log(probs)
    logits[3] = arrays["target_logits"]
    with pytest.raises(MIBenchError, match="reference model 3 answers just as the target does"):
        mibench.audit({}, **arrays, reference_logits=logits)


def test_references_that_answer_alike_are_told() -> None:
    arrays = everything(n=60, a=30)
    same = np.broadcast_to(arrays["reference_probs"][:1], arrays["reference_probs"].shape)
    said = mibench.audit({}, **arrays | {"reference_probs": same}).notes
    assert any("all reference models answer alike" in note for note in said)
    assert not any("answer alike" in note for note in mibench.audit({}, **arrays).notes)


def test_single_precision_is_kept_and_changes_no_answer() -> None:
    seen: list[Outputs] = []

    class Spy(Attack):
        name, title, source = "spy", "Spy", "this test"
        needs = frozenset({"references"})

        def infer(self, target: Outputs) -> Inference:
            seen.append(target)
            return Inference(-target.loss, 0.0)

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(ATTACKS._things, "spy", Spy)
        single = audited_core().table.set_index("attack")["auc"]
        arrays = core()
        exact = {k: v.astype(float) for k, v in arrays.items() if v.dtype == np.float32}
        double = mibench.audit({}, **arrays | exact).table.set_index("attack")["auc"]
    assert seen[0].reference_logits.dtype == seen[0].logits.dtype == np.float32
    assert seen[1].reference_logits.dtype == np.float64
    assert single.to_numpy() == pytest.approx(double.to_numpy(), abs=1e-3)


@pytest.mark.parametrize("name", sorted(everything()))
def test_whatever_is_wrong_with_an_array_is_one_sentence_that_names_it(name: str) -> None:
    arrays, given = everything(), everything()[name]
    wrong: dict[str, Any] = {
        "scalar": 3.0,
        "words": np.full(given.shape, "a"),
        "an axis more": given[..., None, None],
        "an axis less": given[..., 0, 0] if given.ndim > 1 else given.sum(),
        "too short": given[..., :-1],
        "nothing": given[:0],
        "ragged": [[1.0], [1.0, 2.0]],
        "None": None,
    }
    for kind, values in wrong.items():
        if (kind, name) == ("too short", "inputs"):
            continue  # then the auxiliary inputs are too long
        with pytest.raises(MIBenchError) as caught:
            mibench.audit({}, **arrays | {name: values})
        assert len(str(caught.value).splitlines()) == 1
        assert name in str(caught.value) or kind in ("nothing", "too short", "an axis less"), kind


def test_too_few_samples_for_an_attack_leave_it_out() -> None:
    report = mibench.audit({}, **everything(a=3))
    assert "n_splits=5" in report.left_out["quantile_regression"]
    assert {"attack_p", "rmia"} <= set(report.table["attack"])
