"""A wheel is the whole product: what it lays out and runs in a virtual environment of its own."""

import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("mibench", "notebooks", "parameters", "pyproject.toml", "setup.py", "MANIFEST.in")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, and the libraries of the one that runs."""
    source, own = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("own")
    for name in (*PARTS, "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    built = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(own), "."]
    subprocess.run(built, cwd=source, check=True)
    venv.create(own, symlinks=True)
    [libraries] = own.glob("lib/python*/site-packages")
    [wheel] = own.glob("*.whl")
    at = ["--no-deps", "--no-index", "--target", str(libraries), str(wheel)]
    subprocess.run([*pip, "install", *at], check=True)
    # Lines alone, not their .pth files: an editable installation of this package stays out.
    (libraries / "others.pth").write_text("\n".join(site.getsitepackages()))
    return own / "bin" / "python"


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    hidden = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment = {**hidden, "MIBENCH_CACHE": str(folder / "cache")}
    command = [str(python), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_an_empty_folder_and_a_wheel_are_all_it_takes(installed: Path, tmp_path: Path) -> None:
    where = "import mibench; print(mibench.__file__)"
    home = run(installed, tmp_path, "-c", where).stdout
    assert Path(home).is_relative_to(installed.parents[1])
    done = run(installed, tmp_path, "-m", "mibench", "demo", "--dry-run")
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
    refused = run(installed, tmp_path, "-m", "mibench", "init", ".")
    assert refused.returncode == 2 and "notebooks is there already" in refused.stderr
    done = run(installed, tmp_path, "-m", "mibench", "demo")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "executed" / "digits" / "rq1_distribution.parquet").is_file()
