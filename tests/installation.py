"""A wheel in an environment of its own, and the programs that tests start there."""

import json
import os
import re
import shutil
import site
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("mibench", "notebooks", "parameters", "pyproject.toml", "setup.py", "MANIFEST.in")


def wheel(folder: Path) -> Path:
    """Return the wheel that is built from a copy of the sources in a folder."""
    for name in (*PARTS, "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), "."], cwd=folder / "source", check=True)
    [made] = folder.glob("*.whl")
    return made


def borrowing(folder: Path) -> Path:
    """Return the program of a wheel whose environment borrows the libraries of this one."""
    home = folder / "environment"
    venv.create(home, symlinks=True)
    for name in ("etc", "share"):
        (home / name).symlink_to(Path(sys.prefix) / name)
    # Lines alone, not their .pth files: an editable installation of this package stays out.
    [libraries] = home.glob("lib/python*/site-packages")
    (libraries / "others.pth").write_text("\n".join(site.getsitepackages()))
    pip = [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "--quiet"]
    at = ["install", "--no-deps", "--no-index", "--ignore-installed"]
    subprocess.run([*pip, *at, wheel(folder)], check=True)
    return program(folder)


def program(folder: Path) -> Path:
    """Return the program of the environment that was made in a folder."""
    return folder / "environment" / "bin" / "mibench"


def outside(**own: Any) -> dict[str, str]:
    """Return the environment of a program that must not find this checkout."""
    hidden = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return hidden | {name: str(value) for name, value in own.items()}


@contextmanager
def lab(mibench: Path, folder: Path, cache: Path, own: Path) -> Iterator[str]:
    """Run ``mibench lab`` in a folder, and give the address that it says.

    Parameters
    ----------
    mibench : Path
        The program.
    folder, cache : Path
    own : Path
        JupyterLab's settings go there, and not among the user's.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kinds = {f"JUPYTER_{kind}_DIR": own / kind for kind in ("CONFIG", "DATA", "RUNTIME")}
    kinds |= {f"JUPYTERLAB_{kind}_DIR": own / kind for kind in ("SETTINGS", "WORKSPACES")}
    served = {"port": port, "port_retries": 0, "open_browser": False, "allow_root": True}
    config = own / "CONFIG" / "jupyter_server_config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"ServerApp": served}))
    server = subprocess.Popen(
        [mibench, "lab"],
        cwd=folder,
        env=outside(MIBENCH_CACHE=cache, **kinds),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    said = ""
    while not (found := re.search(rf"http://127\.0\.0\.1:{port}/lab\S+", said)):
        line = server.stderr.readline()
        assert line, f"JupyterLab did not start: {said}"
        said += line
    # Read on, so that the server never waits for a full pipe.
    drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
    # It says its address a little before it listens there.
    for _ in range(100):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.1)
    yield found[0]
    server.terminate()
    server.wait()
    drain.wait()
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port)):
        pass
