"""A wheel is the whole product: what it lays out and runs in a virtual environment of its own.

What ``mibench lab`` opens there is tested in the browser (``test_browser.py``).
"""

import os
import subprocess
import time
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import browsing, installation
from tests.installation import ROOT, outside


def run(program: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = outside(MIBENCH_CACHE=folder / "cache")
    command = [program, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_an_empty_folder_and_a_wheel_are_all_it_takes(installed: Path, tmp_path: Path) -> None:
    where = "import mibench; print(mibench.__file__)"
    home = run(installed.with_name("python"), tmp_path, "-c", where).stdout
    assert Path(home).is_relative_to(installed.parents[1])
    done = run(installed, tmp_path, "demo", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "wrote notebooks: " in done.stdout
    assert "waiting noisy_digits/rq1_distribution\n" in done.stdout
    for name in ("notebooks", "parameters"):
        laid = {f.name: f.read_bytes() for f in (tmp_path / name).iterdir()}
        endings = (".ipynb", ".yaml")
        own = {f.name: f.read_bytes() for f in (ROOT / name).iterdir() if f.suffix in endings}
        assert laid == own
    # What a user has changed stays.
    changed = tmp_path / "parameters" / "demo.yaml"
    quick = "{dataset: digits, attacks: [gap], epochs: 1, references: 6, distilled: 2}"
    changed.write_text(f"defaults: {quick}\nnotebooks: [rq1_distribution]")
    refused = run(installed, tmp_path, "init", ".")
    assert refused.returncode == 2 and "notebooks is there already" in refused.stderr
    done = run(installed, tmp_path, "demo")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "executed" / "digits" / "rq1_distribution.parquet").is_file()


def stopwatch() -> Callable[[str], None]:
    """Return what prints the seconds since now."""
    began = time.monotonic()
    return lambda what: print(f"{what}: {time.monotonic() - began:.0f} s", flush=True)


@pytest.mark.install
def test_everything_is_installed_from_a_registry(tmp_path: Path) -> None:
    """``make install-check``: nothing is borrowed; it takes minutes, and prints how many."""
    wheel = installation.wheel(tmp_path)
    home, folder = tmp_path / "environment", tmp_path / "empty"
    folder.mkdir()
    venv.create(home, with_pip=True)
    print()
    for wanted in (os.environ.get("TORCH", "torch"), f"{wheel}[lab]"):
        watch = stopwatch()
        pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", wanted]
        subprocess.run(pip, cwd=folder, env=outside(), check=True)
        watch(f"pip install {Path(wanted).name}")
    used = subprocess.run(["du", "-sm", home], capture_output=True, text=True, check=True).stdout
    print(f"environment: {used.split()[0]} MB")
    mibench, cache = installation.program(tmp_path), folder / "cache"
    watch = stopwatch()
    environment = outside(MIBENCH_CACHE=cache)
    demo = subprocess.Popen([mibench, "demo"], cwd=folder, env=environment)
    while demo.poll() is None and not [*folder.glob("executed/*/[!.]*.ipynb")]:
        time.sleep(0.1)
    watch("mibench demo, first notebook with a figure")
    assert demo.wait() == 0
    watch("mibench demo, end")
    assert [*folder.glob("figures/*.png")]
    watch = stopwatch()
    with (
        installation.lab(mibench, folder, cache, tmp_path / "jupyter") as address,
        browsing.browser() as page,
    ):
        page.goto(address)
        browsing.run_all_cells(page)
        browsing.drag_threshold(page)
        watch("mibench lab, first moved slider")
