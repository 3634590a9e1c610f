"""The explorer in JupyterLab, as a person uses it: in a browser."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect

from mibench import scenarios
from mibench.apps import report, site
from mibench.apps.cli import main
from mibench.apps.explorer.panel import SHOWN
from mibench.errors import ScenarioInfeasible
from mibench.setting import Place, Setting
from mibench.study.study import Study
from tests import browsing, installation


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browsing.browser() as page:
        yield page


@pytest.fixture(scope="module")
def lab(
    installed: Path, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path
) -> Iterator[str]:
    """JupyterLab on the notebook with few epochs, of a wheel; its address."""
    folder = tmp_path_factory.mktemp("lab")
    subprocess.run([installed, "init", folder], env=installation.outside(), check=True)
    file = folder / "notebooks" / "explore.ipynb"
    notebook = file.read_text(encoding="utf-8")
    # Clean digits, fewer epochs and a quicker attack.
    changed = (
        (r"\"noisy_digits\"", r"\"digits\""),
        (r"\"epochs\": 200", r"\"epochs\": 5"),
        (r", \"recipe\": {\"learning_rate\": 0.005}", ""),
        ("lira_online", "gap"),
    )
    for value, quick in changed:
        assert value in notebook
        notebook = notebook.replace(value, quick)
    file.write_text(notebook, encoding="utf-8")
    with installation.lab(installed, folder, cache_dir, folder / "jupyter") as address:
        yield address


def numbers(page: Page) -> dict[str, str]:
    """Return the metrics of the first attack as the page shows them."""
    return {name: page.locator(f'td[data-metric="{name}"]').first.inner_text() for name in SHOWN}


def attack(name: str, scenario: str, cache_dir: Path) -> dict[str, str]:
    """Return the same metrics as the command line gives them, with as many decimals."""
    arguments = ("attack", name, "--scenario", scenario, "--epochs", "5", "--json")
    done = CliRunner().invoke(main, [*arguments, "--cache-dir", str(cache_dir)])
    [row] = json.loads(done.stdout)
    return {key: "–" if row[key] is None else f"{row[key]:.4f}" for key in SHOWN}


def test_the_explorer_in_a_browser(page: Page, lab: str, cache_dir: Path, tmp_path: Path) -> None:
    # Who does not know the token is asked for it.
    page.goto(lab.partition("?")[0])
    expect(page.get_by_label("Password or token")).to_be_visible()
    page.goto(lab)
    browsing.run_all_cells(page)
    status = page.locator(".mibench-status")
    expect(status).to_contain_text("digits_Normal + 0.500 + 0.000 + 10%: ")
    assert numbers(page) == attack("loss_threshold", "ES10", cache_dir)

    page.get_by_label("withheld").select_option("20%")
    expect(status).to_contain_text("+ 20%: ")
    expect(page.get_by_label("scenario")).to_have_value("ES11")
    shown = attack("loss_threshold", "ES11", cache_dir)
    expect(page.locator('td[data-metric="precision"]').first).to_have_text(shown["precision"])
    assert numbers(page) == shown

    own = page.get_by_role("button", name="back to the attack's own threshold").first
    expect(own).to_be_disabled()
    picture = page.locator("img.picture").first
    handle = browsing.drag_threshold(page)
    expect(own).to_be_enabled()
    expect(page.locator('td[data-metric="recall"]').first).not_to_have_text(shown["recall"])
    page.screenshot(path=tmp_path / "seen_explorer.png")
    own.click()
    expect(page.locator('td[data-metric="recall"]').first).to_have_text(shown["recall"])
    assert numbers(page) == shown
    handle.focus()
    for _ in range(5):
        before = picture.get_attribute("src")
        page.keyboard.press("ArrowLeft")
        expect(picture).not_to_have_attribute("src", before or "")
    own.click()
    page.locator(".mibench-layers rect").first.hover()
    expect(page.locator(".mibench-layers g:hover > g > text").first).to_contain_text("score ")
    # A click on a sample of the map says what it is.
    page.locator(".mibench-layers circle").first.click(force=True)
    expect(page.locator(".mibench-layers g:focus text")).to_contain_text("p(label)")


# Notes every 15 ms what stands on the page, where it differs from what stood there before.
_WATCH = """() => {
  window.seen = [];
  const text = (root, what) => root.querySelector(what)?.textContent ?? "";
  const lit = (part) => {
    let share = 1;
    for (let node = part; node instanceof Element; node = node.parentElement)
      share *= getComputedStyle(node).opacity;
    return share === 1 && getComputedStyle(part).visibility === "visible";
  };
  window.watch = setInterval(() => {
    const parts = [...document.querySelectorAll(".mibench-of")].filter(
      (part) => part.querySelector("td[data-metric]"));
    const now = {
      status: text(document, ".mibench-status"),
      chosen: ["scenario", "attack", "second_attack"].map(
        (name) => document.querySelector(`.mibench-${name} select`).selectedOptions[0].value),
      parts: parts.map((part) => ({
        lit: lit(part),
        named: text(part, ".mibench-note").split(": threshold")[0],
        numbers: [...part.querySelectorAll("td[data-metric]")].map((cell) => cell.textContent),
      })),
    };
    if (JSON.stringify(now) !== JSON.stringify(window.seen.at(-1))) window.seen.push(now);
  }, 15);
}"""

# The watch, too, has seen an answer.
_SEEN = """(named) => window.seen.some(
  (now) => now.parts.some((part) => part.lit && part.named === named))"""


def _feasible(study: Study, count: int) -> list[str]:
    """Return ids of scenarios that the pool can meet, of unlike levels."""
    found = []
    for scenario in scenarios.catalogue(study.dataset.name)[::7]:
        with suppress(ScenarioInfeasible):
            study.construct(scenario)
            found.append(scenario.id)
    return found[:count]


def test_numbers_are_those_of_the_label_at_every_moment(
    page: Page, lab: str, cache_dir: Path
) -> None:
    """Goes on where the test before stopped."""
    study = Study(Setting(epochs=5), Place(cache_dir=cache_dir))
    ids, attacks = _feasible(study, 4), ("loss_threshold", "gap")
    titles, expected = {}, {}
    for name in attacks:
        for scenario in ids:
            result = study.attack(name, scenario)
            titles[name] = result.attack.full_title
            values = [result.metrics[metric].value for metric in SHOWN]
            expected[f"{titles[name]}, {scenario}"] = [
                "–" if np.isnan(value) else f"{value:.4f}" for value in values
            ]
    controls = {name: page.get_by_label(name, exact=True) for name in ("scenario", "attack")}
    controls["scenario"].select_option(ids[-1])
    controls["attack"].select_option(titles["gap"])
    named = page.locator(".mibench-note", has_text=f"{titles['gap']}, {ids[-1]}: threshold")
    named.first.wait_for()
    page.evaluate(_WATCH)
    rng, scenario, attack = np.random.default_rng(0), ids[-1], "gap"
    for change in range(20):
        if change % 3 == 2:
            attack = attacks[change % 2]
            controls["attack"].select_option(titles[attack])
        else:
            scenario = ids[change % len(ids)]
            controls["scenario"].select_option(scenario)
        if change % 4 == 3:
            # Now and then it is answered, however slow the machine.
            answer = f"{titles[attack]}, {scenario}: threshold"
            page.locator(".mibench-note", has_text=answer).first.wait_for()
            page.wait_for_function(_SEEN, arg=f"{titles[attack]}, {scenario}")
        else:
            # Sometimes before the last change is answered.
            page.wait_for_timeout(float(rng.choice([0, 30, 200, 600])))
    controls["scenario"].select_option(ids[0])
    controls["attack"].select_option(titles["loss_threshold"])
    last = f"{titles['loss_threshold']}, {ids[0]}: threshold"
    page.locator(".mibench-note", has_text=last).first.wait_for()
    page.wait_for_function(
        """() => [...document.querySelectorAll(".mibench-of")].every((part) =>
          [part, part.parentElement.closest(".mibench-part")].every(
            (of) => getComputedStyle(of).opacity === "1"))"""
    )
    page.wait_for_function(_SEEN, arg=f"{titles['loss_threshold']}, {ids[0]}")
    page.wait_for_timeout(100)
    seen = page.evaluate("() => { clearInterval(window.watch); return window.seen; }")
    dimmed = 0
    for moment in seen:
        scenario, *chosen = moment["chosen"]
        for place, part in enumerate(moment["parts"]):
            assert part["numbers"] == expected[part["named"]]
            if not part["lit"]:
                dimmed += 1
                continue
            assert part["named"] == f"{chosen[place]}, {scenario}"
            assert study.scenario(scenario).label in moment["status"]
    assert dimmed > 0 and all(part["lit"] for part in seen[-1]["parts"])
    assert len({part["named"] for moment in seen for part in moment["parts"] if part["lit"]}) > 3


def _faults(page: Page, within: str = "body") -> list[str]:
    """Return what axe-core calls serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core").Axe()
    found = axe.run(page, context=within).response["violations"]
    # What ipywidgets calls its sliders' handles is beyond a widget's reach.
    return [
        f"{fault['id']}: {fault['nodes'][0]['html']}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        and not all("noUi-handle" in node["html"] for node in fault["nodes"])
    ]


def test_the_explorer_has_no_serious_fault_for_those_who_do_not_see_it(
    page: Page, lab: str
) -> None:
    """Goes on where the test before stopped."""
    assert _faults(page, ".mibench-explorer") == []
    page.get_by_role("tab", name="All attacks").click()
    page.locator(".mibench-levels").wait_for()
    assert _faults(page, ".mibench-explorer") == []
    page.get_by_role("tab", name="This scenario").click()


def test_report_and_site_are_readable_by_all(page: Page, digits: Study, tmp_path: Path) -> None:
    table, _ = digits.run(["ES01", "ES29"], ["gap", "loss_threshold", "top1_threshold"])
    # Of one scenario, of which few figures are drawn.
    one = table[table["scenario"] == "ES01"]
    report.write(one, pd.DataFrame(), pd.DataFrame(), tmp_path / "report.html")
    site.write(table, tmp_path)
    assert page.context.browser is not None
    read = page.context.browser.new_page()
    for name, scheme in product(("report.html", "index.html"), ("light", "dark")):
        read.goto((tmp_path / name).as_uri())
        read.emulate_media(color_scheme=scheme)
        assert _faults(read) == []
        for width in (1280, 400):
            read.set_viewport_size({"width": width, "height": 900})
            assert not read.evaluate("document.documentElement.scrollWidth > innerWidth")
            read.screenshot(path=tmp_path / f"seen_{name}_{scheme}_{width}.png", full_page=True)
    read.goto((tmp_path / "report.html").as_uri())
    lead, head = read.locator("tbody").first, read.locator("thead").first
    for place, name in ((2, "mean rank"), (5, "AUC")):
        for reverse in (True, False):
            head.get_by_role("button", name=name).press("Enter")
            texts = lead.locator(f"td:nth-child({place})").all_inner_texts()
            values = [float(text.split()[0]) for text in texts]
            assert len(values) == 3 and values == sorted(values, reverse=reverse)
            expect(head.locator("[aria-sort]")).to_have_text(name)
    read.goto((tmp_path / "index.html").as_uri())
    rows = read.locator("#board tbody tr")
    expect(rows).to_have_count(3)
    best = rows.first.inner_text().split()[0]
    read.get_by_role("button", name="MA", exact=True).click()
    expect(rows.last).to_have_text(re.compile(best))
    read.get_by_label("You can train a shadow model").uncheck()
    expect(rows).to_have_count(2)
    read.get_by_role("button", name="Gap attack").click()
    expect(read.locator("#made")).to_contain_text("mibench attack 'gap' --scenario ES01 --seed 0")
    read.close()


@pytest.mark.parametrize(("width", "columns"), [(900, 1), (1280, 2), (1440, 2)])
def test_controls_fit(page: Page, lab: str, width: int, columns: int, tmp_path: Path) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(300)
    page.screenshot(path=tmp_path / f"seen_explorer_{width}.png")
    body = page.locator(".mibench-body")
    tracks = body.evaluate("body => getComputedStyle(body).gridTemplateColumns.split(' ').length")
    assert tracks == columns
    cut = page.evaluate(
        """() => [...document.querySelectorAll(
          ".mibench-controls select, .mibench-controls label, .mibench-explorer button")]
          .filter((shown) => shown.offsetParent && shown.scrollWidth > shown.clientWidth + 1)
          .map((shown) => shown.innerText)"""
    )
    assert cut == []
