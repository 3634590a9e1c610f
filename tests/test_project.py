"""What stands beside the code: versions, dependencies, notebooks, and nobody's own paths."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from IPython.core.interactiveshell import InteractiveShell
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mibench
from mibench.attacks import ATTACKS

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch"}


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def wanted() -> dict[str, Requirement]:
    """Return what ``pip install -e '.[dev]'`` asks for, by name."""
    extras = project()["optional-dependencies"]
    del extras["docs"]  # of the documentation's site alone
    lines = [*project()["dependencies"], *(line for extra in extras.values() for line in extra)]
    found = {canonicalize_name(r.name): r for r in map(Requirement, lines)}
    mine = found.pop(canonicalize_name("mibench"))
    assert mine.extras == set(extras) - {"dev"}
    return {str(name): requirement for name, requirement in found.items()}


def locked() -> list[Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if not line.lstrip().startswith("#")]


def test_conda_installs_what_pip_installs() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    # What a channel may lack stands in the list of pip, beside its options.
    listed = [*environment, *environment[-1]["pip"]]
    lines = [Requirement(line) for line in listed if isinstance(line, str) and line[0] != "-"]
    conda = {r.name: str(r.specifier) for r in lines if r.name != "pip"}
    pip = {CONDA_NAMES.get(name, name): str(r.specifier) for name, r in wanted().items()}
    assert conda == {"python": project()["requires-python"], **pip}


def test_the_lock_holds_every_dependency_at_a_version_that_it_allows() -> None:
    for name, requirement in wanted().items():
        pins = [pin for pin in locked() if canonicalize_name(pin.name) == name]
        assert pins, f"{name} is not in requirements.lock; run make lock"
        for pin in pins:
            (exactly,) = pin.specifier
            assert exactly.operator == "=="
            assert exactly.version in requirement.specifier, f"{pin}; run make lock"


def test_the_lock_names_versions_and_no_place() -> None:
    assert all(pin.url is None for pin in locked())
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_the_version_is_the_same_everywhere() -> None:
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    newest = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert said == newest[1] == mibench.__version__


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "mibench", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip().endswith(mibench.__version__)


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: there is no telling which files are the project's")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    files = [ROOT / name for name in listed.split("\0") if (ROOT / name).is_file()]
    assert len(files) > 100
    own = re.compile(rb"file:/{3}|/(work|opt/pypi|opt/wheels)\b")
    found = {str(f.relative_to(ROOT)): own.findall(f.read_bytes()) for f in files}
    assert {name for name, places in found.items() if places} == set()


def test_notebooks_are_kept_without_outputs() -> None:
    run = {
        file.name
        for file in (ROOT / "notebooks").glob("*.ipynb")
        for cell in json.loads(file.read_text())["cells"]
        if cell.get("outputs") or cell.get("execution_count") is not None
    }
    assert run == set(), "run nbstripout --keep-id on them"


def test_the_gallery_is_of_all_attacks_that_there_are() -> None:
    """`make gallery` writes it, and its six panels are the first picture of the README."""
    of = f"of {len(ATTACKS)} attacks"
    pages = (ROOT / "docs" / "gallery").glob("*.md")
    assert all(of in page.read_text() for page in pages if page.name != "index.md")
    assert f"MA {of} at four withheld ratios](docs/pictures" in (ROOT / "README.md").read_text()


def test_the_reference_names_modules_that_exist() -> None:
    named = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE)
    assert "mibench.setting" in named
    files = [ROOT / name.replace(".", "/") for name in named]
    assert [f for f in files if not (f.with_suffix(".py").is_file() or f.is_dir())] == []


def test_a_notebook_shows_an_error_as_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    shell = InteractiveShell()
    shell.run_cell("import mibench; mibench.Setting.read({'colour': 'red'})")
    [line] = capsys.readouterr().out.strip().splitlines()
    assert line.startswith("MIBenchError: there is no setting 'colour'")
