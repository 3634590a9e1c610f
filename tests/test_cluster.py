import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from mibench import batch, cluster, results
from mibench.errors import MIBenchError

ROOT = Path(__file__).parents[1]
FILE = """
defaults: {dataset: digits, attacks: [loss_threshold, gap], epochs: 3}
notebooks:
  - notebook: scenario
    grid: {scenario: [ES01, ES10, ES29]}
  - rq1_distribution
  - results
"""


def project(folder: Path, text: str = FILE) -> Path:
    folder.joinpath("parameters").mkdir(parents=True)
    folder.joinpath("notebooks").symlink_to(ROOT / "notebooks")
    file = folder / "parameters" / "p.yaml"
    file.write_text(text)
    return file


def command(*arguments: object) -> list[str]:
    start = "import sys; from mibench.cli import main; main()"
    return [sys.executable, "-c", start, *map(str, arguments)]


def table(file: Path) -> pd.DataFrame:
    found, _ = results.load(file.parent.parent / "executed")
    return found.sort_values(["scenario", "attack"], ignore_index=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("undisturbed")
    file = project(folder / "project")
    environment = os.environ | {"MIBENCH_CACHE": str(folder / "cache")}
    subprocess.run(command("run", file, "--workers", 2), check=True, env=environment)
    return table(file)


def test_a_batch_killed_again_and_again_ends_with_the_same_results(
    undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    file = project(tmp_path / "project")
    environment = os.environ | {"MIBENCH_CACHE": str(tmp_path / "cache")}
    for seconds in (2.0, 5.0, 8.0):
        batch_process = subprocess.Popen(command("run", file), env=environment)
        time.sleep(seconds)
        batch_process.send_signal(signal.SIGKILL)
        batch_process.wait()
    subprocess.run(command("run", file), check=True, env=environment)
    pd.testing.assert_frame_equal(table(file), undisturbed)
    left = [f for f in (tmp_path / "project" / "executed").rglob(".*") if f.suffix != ".lock"]
    assert left == []


def test_two_batches_at_once_do_everything_once(undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    file = project(tmp_path / "project")
    environment = os.environ | {"MIBENCH_CACHE": str(tmp_path / "cache")}
    both = [
        subprocess.Popen(command("run", file), env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    for name in ("scenario-ES01", "scenario-ES10", "scenario-ES29", "rq1_distribution"):
        assert sum(out.count(f"done    digits/{name}") for out in printed) == 1
    pd.testing.assert_frame_equal(table(file), undisturbed)


def test_a_scheduler_of_ones_own(undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    file = project(tmp_path / "project")
    address = tmp_path / "scheduler.json"
    environment = os.environ | {
        "MIBENCH_CACHE": str(tmp_path / "cache"),
        "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
    }
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    scheduler = subprocess.Popen(
        [
            *dask,
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            address,
        ],
        env=environment,
    )
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1"]
    workers = [
        subprocess.Popen([*worker, "--no-dashboard", "--scheduler-file", address], env=environment)
        for _ in range(2)
    ]
    try:
        while not address.exists():
            time.sleep(0.1)
        where = pd.read_json(address, typ="series")["address"]
        run = subprocess.Popen(command("run", file, "--scheduler", where), env=environment)
        time.sleep(8)
        workers[0].kill()
        assert run.wait() == 0
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()
    pd.testing.assert_frame_equal(table(file), undisturbed)


def test_a_scheduler_that_is_not_there(tmp_path: Path) -> None:
    tasks = batch.plan(project(tmp_path / "project"))
    with pytest.raises(MIBenchError, match="no Dask scheduler answers"):
        list(cluster.run(tasks, scheduler="nowhere"))


def test_interrupting_ends_within_seconds(tmp_path: Path) -> None:
    file = project(tmp_path / "project")
    environment = os.environ | {"MIBENCH_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        command("run", file), env=environment, stderr=subprocess.PIPE, text=True
    )
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and time.monotonic() - began < 5
    assert "the same command continues" in err and "Traceback" not in err


def test_a_cell_past_its_time_limit_is_reported(tmp_path: Path) -> None:
    text = "time_limit: 1\nnotebooks: [sleeps]"
    file = tmp_path / "parameters" / "p.yaml"
    file.parent.mkdir()
    file.write_text(text)
    from tests.test_batch import notebook

    notebook(tmp_path, "sleeps", "dataset = 'digits'", "import time; time.sleep(60)")
    [task] = batch.plan(file)
    assert task.time_limit == 1
    assert "timed out" in (batch.execute(task).error or "").lower()
    assert task.state() == "failed"
