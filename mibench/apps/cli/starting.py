"""Commands that lay out the notebooks and parameter files of the package, and begin with them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from mibench.apps.cli.base import PATH, main
from mibench.apps.cli.batch import run_batch
from mibench.errors import MIBenchError
from mibench.look import many

_LAID_OUT = ("notebooks", "parameters")
_folder = click.argument("folder", default=".", type=PATH)


@main.command("init")
@click.argument("folder", type=PATH)
def init(folder: Path) -> None:
    """Write the notebooks and parameter files into FOLDER.

    They are to be run and changed there.
    FOLDER/notebooks and FOLDER/parameters are written, and nothing that is there already is.
    What is run from FOLDER/parameters goes to FOLDER/executed and FOLDER/figures.
    """
    _lay_out(folder)


@main.command("demo")
@_folder
@click.option("--dry-run", is_flag=True, help="Only show what will run.")
@click.pass_context
def demo(context: click.Context, folder: Path, dry_run: bool) -> None:
    """Run the four research questions on embedded data.

    By FOLDER/parameters/demo.yaml.
    Notebooks and parameter files that FOLDER lacks are written there first (mibench init).
    """
    parameters = _begun(folder) / "parameters" / "demo.yaml"
    context.invoke(run_batch, parameters=parameters, dry_run=dry_run)


@main.command("lab")
@_folder
@click.option("--allow-root", is_flag=True, help="Start as root, too, as in a container.")
def lab(folder: Path, allow_root: bool) -> None:
    """Open the explorer of FOLDER in JupyterLab.

    Notebooks and parameter files that FOLDER lacks are written there first (mibench init).
    """
    try:
        from jupyterlab.labapp import LabApp
    except ModuleNotFoundError:
        raise MIBenchError("the explorer needs JupyterLab: pip install 'mibench[lab]'") from None
    # As a page of its own rather than a file to open, so that the address it says leads there, too.
    root = f"--ServerApp.root_dir={_begun(folder) / 'notebooks'}"
    as_root = ["--allow-root"] if allow_root else []
    LabApp.launch_instance([root, "--LabApp.default_url=/lab/tree/explore.ipynb", *as_root])


def _begun(folder: Path) -> Path:
    """Return a folder that has notebooks and parameter files."""
    if not (folder / "parameters" / "demo.yaml").is_file():
        _lay_out(folder)
    return folder


def _lay_out(folder: Path) -> None:
    # A wheel holds them inside the package, a checkout beside it.
    package = Path(__file__).parents[2]
    source = package if (package / _LAID_OUT[0]).is_dir() else package.parent
    if there := [name for name in _LAID_OUT if (folder / name).exists()]:
        raise MIBenchError(
            f"{folder / there[0]} is there already and is left as it is; name another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    hidden = shutil.ignore_patterns(".*")
    with tempfile.TemporaryDirectory(dir=folder) as begun:
        for name in _LAID_OUT:
            shutil.copytree(source / name, Path(begun) / name, ignore=hidden)
        for name in _LAID_OUT:
            made = (Path(begun) / name).rename(folder / name)
            click.echo(f"wrote {made}: {many(len(list(made.iterdir())), 'file')}")
