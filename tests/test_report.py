import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.stats import ttest_1samp

from mibench import figures
from mibench.apps.cli import main
from mibench.apps.site import write
from mibench.attacks import ATTACKS
from mibench.compare import published
from mibench.figures.factors import LEVELS
from mibench.store import safe
from mibench.study import results
from mibench.study.study import Study


class Page(HTMLParser):
    """The page's text, its tags with attributes, and whether they are nested rightly."""

    def __init__(self, text: str):
        super().__init__()
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def executed(digits: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two models, two seeds and two datasets, some infeasible, from a few real ones."""
    folder = tmp_path_factory.mktemp("executed")
    names = ["gap", "loss_threshold", "top1_threshold"]
    table, answers = digits.run(["ES01", "ES29", "ES57"], names)
    one = table[table["attack"] == "gap"]
    every = pd.concat([one.assign(attack=a.name, title=a.title) for a in ATTACKS.values()])
    results.save(folder / "digits" / "a", every, answers)
    other = table.assign(model="<VGG>", seed=1)
    results.save(folder / "digits" / "b", pd.concat([table.assign(model="<VGG>"), other]), answers)
    bad = table.assign(dataset="Location30", status="infeasible", error="distance < 2 & > 1")
    numbers = bad.columns[bad.columns.get_loc("distance_wanted") :]
    results.save(folder / "Location30" / "c", bad.assign(**dict.fromkeys(numbers, np.nan)), answers)
    return folder


def mibench(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_report_is_one_page_that_holds_everything(executed: Path, tmp_path: Path) -> None:
    code, _, err = mibench("report", "--results", str(executed), "--out", str(tmp_path / "a.html"))
    assert code == 0, err
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    page = Page(text)
    shown = " ".join(page.text)
    for kind in ATTACKS.values():
        assert kind.title in shown
    for setting in ("digits, MLP", "digits, <VGG>", "Location30, MLP"):
        assert setting in shown
    assert "distance < 2 & > 1" in shown and "torch_version" in shown and "seeds 0, 1" in shown
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"link", "iframe", "vgg"}
    for tag, attributes in page.tags:
        assert not {"srcset", "data"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")
        assert tag != "script" or not attributes
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/svg+xml;base64,")
            assert attributes["alt"]
    assert "http" not in text and "url(" not in text and "@import" not in text
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    parts = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert links == [f"#{part}" for part in parts] and len(links) > 3
    # Of each of two models what `mibench figures` draws, see below; effects need two seeds here.
    for name in ("img", "figcaption"):
        assert sum(tag == name for tag, _ in page.tags) == 8 + 7


@pytest.fixture(scope="module")
def few(executed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of three attacks alone."""
    folder = tmp_path_factory.mktemp("few")
    table, answers = results.load(executed, "digits")
    results.save(folder / "digits" / "b", table[table["model"] == "<VGG>"], answers)
    return folder


def test_lead_table_is_the_first_and_sorted(few: Path, tmp_path: Path) -> None:
    for name in ("r.html", "again.html"):
        mibench("report", "--results", str(few), "--out", str(tmp_path / name))
    assert (tmp_path / "r.html").read_bytes() == (tmp_path / "again.html").read_bytes()
    shown = [t.strip() for t in Page((tmp_path / "r.html").read_text()).text if t.strip()]
    table, _ = results.load(few)
    ma = table.groupby(["scenario", "title"])["ma"].mean().unstack()
    ranks = ma.round(9).rank(axis=1, ascending=False).mean().sort_values(kind="stable")
    first = shown.index("mean rank") - 1
    assert shown[first : first + 8] == [
        *("attack", "mean rank", "leads in", "MA", "AUC", "TPR at 1% FPR", "models", "queries")
    ]
    rows = [shown[first + 8 * i : first + 8 * (i + 1)] for i in (1, 2, 3)]
    assert [row[0] for row in rows] == list(ranks.index)
    for row in rows:
        assert row[1] == f"{ranks[row[0]]:.1f}"
        assert row[2] == str(int((ma[row[0]] == ma.max(axis=1)).sum()))
        # Both seeds are alike, so that an interval has no width.
        value = f"{ma[row[0]].mean():.3f}"
        assert row[3] == f"{value} [{value}, {value}]"


def test_site_holds_every_number_and_the_command_that_makes_it(
    digits: Study, cache_dir: Path, tmp_path: Path
) -> None:
    tables = [Study(digits.setting.model_copy(update={"seed": s}), digits.place) for s in (0, 1)]
    table = pd.concat([study.run(["ES01", "ES29"], ["gap"])[0] for study in tables])
    results.save(tmp_path / "in" / "digits" / "a", table, pd.DataFrame())
    given = ("report", "--results", str(tmp_path / "in"), "--site", str(tmp_path / "site"))
    code, out, err = mibench(*given)
    assert code == 0 and out == f"the site is {tmp_path / 'site' / 'index.html'}\n", err
    text = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "http" not in text and "src=" not in text
    [data] = re.findall(r'id="data">(.*?)</script>', text, re.S)
    [setting] = json.loads(data)["settings"]
    assert [*setting["scenarios"]] == ["all scenarios", "ES01", "ES29"]
    for at, rows in [*table.groupby("scenario"), ("all scenarios", table)]:
        shown = setting["scenarios"][at]["scores"]["gap"]
        for values, metric in zip(shown, ("ma", "auc", "tpr_at_fpr_1"), strict=True):
            means = rows.groupby("seed")[metric].mean()
            assert values[0] == pytest.approx(means.mean(), abs=1e-4)
        auc = ttest_1samp(rows.groupby("seed")["auc"].mean(), 0).confidence_interval()
        assert shown[1][1:] == pytest.approx(np.clip([*auc], 0, 1), abs=1e-4)
    command = setting["command"].replace("ATTACK", "gap").replace("SCENARIO", "ES29")
    _, *arguments = shlex.split(command.replace("SEED", "1"))
    [row] = json.loads(mibench(*arguments, "--cache-dir", str(cache_dir), "--json")[1])
    [kept] = table[(table["seed"] == 1) & (table["scenario"] == "ES29")].to_dict("records")
    assert row["ma"] == pytest.approx(kept["ma"], abs=1e-9)


def test_site_has_the_published_numbers_and_settings_that_differ(tmp_path: Path) -> None:
    counted = published.theirs().query(
        "dataset == 'Location30' and attack == 'class_modified_entropy'"
    )
    rows = pd.DataFrame({"scenario": counted["scenario"], "label": counted["scenario"]}).assign(
        **{"dataset": "Location30", "model": "MLP", "defence": "none", "seed": 0, "epochs": 7},
        **{"attack": "class_modified_entropy", "title": "C", "status": "ok", "auc": 0.5},
        **{"ma": 0.25, "tpr_at_fpr_1": 0.0, "train_learning_rate": 0.25, "size_members": 900},
    )
    write(rows, tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    [setting] = json.loads(re.findall(r'id="data">(.*?)</script>', text, re.S)[0])["settings"]
    ma = counted.set_index("scenario")["theirs"]
    for at, one in setting["scenarios"].items():
        wanted = ma.mean() if at == "all scenarios" else ma[at]
        assert one["published"]["class_modified_entropy"]["ma"] == pytest.approx(wanted, abs=1e-4)
    for said in ("--epochs 7", "--recipe learning_rate=0.25", "--sizes members=900"):
        assert said in setting["command"]


def test_figures_command(few: Path, tmp_path: Path) -> None:
    arguments = ("--results", str(few), "--dataset", "digits", "--out", str(tmp_path))
    code, out, err = mibench("figures", *arguments)
    assert code == 0, err
    assert "8 figures" in out
    names = ("RQ1", "cost", *(f"{n}_ma" for n in ("heat_map", "ranking", "effects", "ranks")))
    # Of all that are drawn by factor, these scenarios differ in the distribution alone.
    names += ("four_metrics", *(f"{of}_by_{by}" for of, by in LEVELS if by == "distribution"))
    endings = (".png", ".pdf", ".svg", ".txt")
    written = {p.name for p in tmp_path.iterdir() if p.stat().st_size}
    assert written == {
        f"digits_{safe('<VGG>')}_groups_{name}{ending}" for name in names for ending in endings
    }


def test_figures_of_chosen_attacks_need_no_pool_and_a_wrong_metric_draws_nothing(
    few: Path, tmp_path: Path
) -> None:
    arguments = ("--results", str(few), "--format", "png", "--out", str(tmp_path))
    code, out, err = mibench("figures", *arguments, "--metric", "foo")
    assert code == 2 and "no figures of metric 'foo'; use one of" in err
    assert out == "" and not [*tmp_path.iterdir()]
    attack = str(results.load(few)[0]["attack"].iloc[0])
    code, out, err = mibench("figures", *arguments, "--attacks", attack)
    assert code == 0 and " in " in out, err


def album(table: pd.DataFrame, answers: pd.DataFrame) -> set[str]:
    names = set()
    for name, figure in figures.all_figures(table, answers):
        names.add(name)
        plt.close(figure)
    return names


def test_album_draws_conflicts_and_defences_where_there_are_any(executed: Path) -> None:
    table, answers = results.load(executed, "digits")
    table = table[(table["model"] == "<VGG>") & (table["seed"] == 0)].assign(model="MLP")
    drawn = album(table, answers)
    assert not any(name.endswith(("conflicts_ma", "defences")) for name in drawn)
    # Gap is always right in ES01 and never in ES29, which differs in distribution alone.
    right = (answers["attack"] == "gap") == (answers["scenario"] == "ES01")
    flipped = answers.assign(answer=(right == answers["is_member"]).astype(np.int8))
    both = pd.concat([table, table.assign(defence="l2")])
    drawn = album(both, flipped)
    assert {"digits_MLP_groups_conflicts_ma", "digits_MLP_l2_groups_cost"} < drawn
    assert {f"digits_MLP_{i}_seed0_defences" for i in ("ES01", "ES29", "ES57")} < drawn


def test_one_attack_is_neither_ranked_nor_named_twice(executed: Path) -> None:
    table, answers = results.load(executed, "digits")
    one = table[(table["attack"] == "gap") & (table["model"] == "MLP")]
    said = {}
    for name, figure in figures.all_figures(one, answers):
        said[name.removeprefix("digits_MLP_groups_")] = figure.alt
        plt.close(figure)
    assert "heat_map_ma" in said and not any(name.startswith(("rank", "effects")) for name in said)
    for name in ("four_metrics", "fnr_by_distribution"):
        assert said[name].count("Gap attack") == 1 and "Gap attack is at 0." in said[name]


@pytest.mark.parametrize("command", ["figures", "report"])
def test_no_results_is_one_sentence(command: str, tmp_path: Path) -> None:
    code, out, err = mibench(command, "--results", str(tmp_path / "none"))
    assert code == 2 and "no results" in err and len(err.strip().splitlines()) == 1 and not out


@pytest.mark.parametrize("command", ["figures", "report"])
def test_what_cannot_be_written_is_one_sentence_at_once(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "r.html"
    code, out, err = mibench(command, "--results", str(tmp_path), "--out", str(target))
    assert code == 2 and f"{tmp_path / 'file'} is a file where a folder belongs;" in err
    assert len(err.strip().splitlines()) == 1 and not out


def test_a_damaged_table_is_said_once(executed: Path, tmp_path: Path) -> None:
    shutil.copytree(executed / "Location30", tmp_path / "Location30")
    (tmp_path / "Location30" / "bad.parquet").write_bytes(b"")
    arguments = ("--results", str(tmp_path), "--out", str(tmp_path / "r.html"))
    code, _, err = mibench("report", *arguments)
    assert code == 0 and err.count("is damaged") == 1


def test_every_attack_is_explained() -> None:
    file = Path(__file__).parents[1] / "notebooks" / "attacks_explained.ipynb"
    cells = nbformat.read(file, as_version=4).cells
    for kind in ATTACKS.values():
        texts = [c.source for c in cells if f"\n`{kind.name}`, " in c.source]
        assert len(texts) == 1, f"{kind.name} needs one cell in {file.name}"
        [text] = texts
        assert text.startswith(f"## {kind.title}\n") and kind.source in text
        assert "**Idea.**" in text and "$$" in text and "**Where it fails.**" in text
        assert any(c.source == f"show({json.dumps(kind.name)})" for c in cells)
