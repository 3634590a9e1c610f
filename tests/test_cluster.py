import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dask
import pandas as pd
import psutil
import pytest
from distributed import LocalCluster, Scheduler, SpecCluster, Worker, get_worker

from mibench.apps.batch import cluster, running
from mibench.apps.batch import plan as batch
from mibench.apps.batch.jobs import Job, Outcome, Tell
from mibench.apps.batch.notebooks import Task
from mibench.errors import MIBenchError
from mibench.study import results
from tests.test_batch import notebook

ROOT = Path(__file__).parents[1]


def silent(kind: str, name: str) -> None:
    """Hear what becomes of jobs."""


def on_this_machine(tasks: list[Task], workers: int = 1) -> list[Outcome]:
    with running.Threads(workers, silent) as pool:
        return list(running.run(tasks, pool))


def on_a_cluster(tasks: list[Task], address: str) -> list[Outcome]:
    with cluster.Cluster(address, silent) as pool:
        return list(running.run(tasks, pool))


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
    start = "import sys; from mibench.apps.cli import main; main()"
    return [sys.executable, "-c", start, *map(str, arguments)]


def table(file: Path) -> pd.DataFrame:
    """Return all results but the times, and check that the one line of Parquet reads the same."""
    executed = file.parent.parent / "executed"
    found, _ = results.load(executed)
    assert len(pd.read_parquet(executed / "results")) == len(found)
    found = found.drop(columns=["seconds", "git_commit"])
    return found.sort_values(["scenario", "attack"], ignore_index=True)


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait for something to be seen; how long it takes depends on the machine."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing has happened"
        time.sleep(0.02)


def lines(process: subprocess.Popen[str], wanted: str) -> str:
    """Read what a batch prints up to a line that holds `wanted`, and return that line."""
    assert process.stdout is not None
    for line in process.stdout:
        if wanted in line:
            return line
    raise AssertionError(f"ended without {wanted}")


def belonging_to(cache: Path) -> list[int]:
    """Return the processes that were given a cache, which no other test has."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MIBENCH_CACHE") == str(cache):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


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
    rng = random.Random(5)
    # Each is killed a random moment after it was seen to begin something.
    for seen in ("start   training", "start   digits/", "start   digits/rq1"):
        process = subprocess.Popen(
            command("run", file), env=environment, stdout=subprocess.PIPE, text=True
        )
        lines(process, seen)
        time.sleep(rng.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        wait_until(lambda: not belonging_to(tmp_path / "cache"), 120)
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
        # The file is there before it is written.
        wait_until(lambda: address.exists() and address.read_text().rstrip().endswith("}"))
        where = pd.read_json(address, typ="series")["address"]
        run = subprocess.Popen(
            command("run", file, "--scheduler", where),
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        lines(run, "done    digits/")
        workers[0].kill()
        run.communicate()
        assert run.returncode == 0
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()
    pd.testing.assert_frame_equal(table(file), undisturbed)


def test_a_scheduler_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MIBenchError, match="no Dask scheduler answers"):
        cluster.Cluster("nowhere", silent)


def test_a_scheduler_without_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE", 1)
    offered = LocalCluster(
        n_workers=0, processes=False, dashboard_address=None, protocol="tcp://", host="127.0.0.1"
    )
    with offered, pytest.raises(MIBenchError, match="has no workers; start one with: DASK_"):
        cluster.Cluster(offered.scheduler_address, silent)


@pytest.mark.parametrize(
    ("address", "warned"),
    [
        ("tcp://127.0.0.1:8786", 0),
        ("localhost:8786", 0),
        ("tcp://[::1]:8786", 0),
        ("tls://10.0.0.5:8786", 0),
        ("tcp://10.0.0.5:8786", 1),
        ("node7:8786", 1),
    ],
)
def test_a_plain_address_of_another_machine_is_warned_of(address: str, warned: int) -> None:
    assert len(cluster.risk(address).splitlines()) == warned


def test_a_scheduler_without_its_keys() -> None:
    with pytest.raises(MIBenchError, match=r"tls:// needs the keys distributed\.comm\.tls"):
        cluster.Cluster("tls://127.0.0.1:8786", silent)


RAN: list[tuple[str, str]] = []


def note(job: Job, at_once: int, tell: Tell) -> Outcome:
    RAN.append((type(job).__name__, get_worker().name))
    return Outcome(job.name, "done")


def test_trainings_go_to_gpu_workers_and_notebooks_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(running, "do", note)
    tasks = batch.plan(project(tmp_path / "project", f"seeds: [0, 1]\n{FILE}"))
    workers = {
        "gpu": {"cls": Worker, "options": {"nthreads": 1, "resources": {"GPU": 1}}},
        "cpu": {"cls": Worker, "options": {"nthreads": 1}},
    }
    RAN.clear()
    with SpecCluster(workers, {"cls": Scheduler, "options": {"dashboard": False}}) as offered:
        outcomes = on_a_cluster(tasks, offered.scheduler_address)
    assert [o.state for o in outcomes] == ["done"] * 11
    assert {*RAN} == {("Training", "gpu"), ("Task", "cpu")}


def test_a_notebook_that_kills_its_workers_is_reported(own: Callable[..., Path]) -> None:
    kill = "os.kill(multiprocessing.parent_process().pid, signal.SIGKILL)"
    [task] = batch.plan(own("kills", f"import multiprocessing, os, signal; {kill}"))
    with (
        dask.config.set(
            {"distributed.scheduler.allowed-failures": 1, "distributed.worker.daemon": False}
        ),
        LocalCluster(1, threads_per_worker=1, dashboard_address=None) as offered,
    ):
        [outcome] = on_a_cluster([task], offered.scheduler_address)
    assert outcome.state == "failed" and outcome.tries == 2 and "KilledWorker" in outcome.error


def test_interrupting_ends_within_seconds(tmp_path: Path) -> None:
    file = project(tmp_path / "project")
    environment = os.environ | {"MIBENCH_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        command("run", file),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines(process, "start   training")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command continues" in err and "Traceback" not in err


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """Make a parameter file with a notebook of one cell."""

    def make(name: str, cell: str, more: str = "", parameters: str = "") -> Path:
        file = tmp_path / "parameters" / "p.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{more}\nnotebooks: [{name}]")
        notebook(tmp_path, name, parameters, cell)
        return file

    return make


def test_a_cell_past_its_time_limit_is_reported(own: Callable[..., Path]) -> None:
    file = own("sleeps", "import time; time.sleep(60)", "time_limit: 1")
    [task] = batch.plan(file)
    [outcome] = on_this_machine([task])
    assert outcome.state == "failed" and "timed out" in outcome.error.lower()
    assert task.state() == "failed" and "output_type" in task.output.read_text()


def test_a_dying_kernel_is_tried_three_times_and_reported(own: Callable[..., Path]) -> None:
    file = own("dies", "import os; os._exit(1)")
    [task] = batch.plan(file)
    report = running.Report(file, [task])
    for outcome in on_this_machine([task]):
        report.add(outcome)
    row = pd.read_csv(report.path).iloc[0]
    assert (row["state"], row["tries"]) == ("failed", 3) and "DeadKernelError" in row["error"]
    assert "DeadKernelError" in task.output.read_text()


def listening(process: subprocess.Popen[str]) -> list[int]:
    """Return the ports on which a process and all that it started listen."""
    family = {p.pid for p in psutil.Process(process.pid).children(recursive=True)} | {process.pid}
    found = psutil.net_connections(kind="inet")
    return [c.laddr.port for c in found if c.pid in family and c.status == psutil.CONN_LISTEN]


def test_a_batch_listens_nowhere(own: Callable[..., Path]) -> None:
    """While two notebooks run, which hold on until they have been looked at."""
    cell = "import os, time\nopen(f'{seen}.{os.getpid()}', 'w')\nwhile not open(seen).read(): pass"
    file = own("waits", cell.replace("pass", "time.sleep(0.1)"), "", "seen = ''")
    seen = file.parent / "seen"
    seen.touch()
    entries = [f"{{notebook: waits, parameters: {{seen: {seen}}}, name: {n}}}" for n in "ab"]
    file.write_text(f"notebooks: [{', '.join(entries)}]")
    process = subprocess.Popen(
        command("run", file, "--workers", 2), stdout=subprocess.PIPE, text=True
    )
    wait_until(lambda: len(list(file.parent.glob("seen.*"))) == 2)
    during = listening(process)
    seen.write_text("yes")
    process.communicate()
    assert process.returncode == 0
    assert during == []


def test_a_temporary_folder_with_a_long_name(own: Callable[..., Path], tmp_path: Path) -> None:
    file = own("prints", "print(1)")
    long = tmp_path / ("x" * 120)
    long.mkdir()
    environment = os.environ | {"TMPDIR": str(long)}
    done = subprocess.run(command("run", file), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_killed_batch_left_is_swept(own: Callable[..., Path], tmp_path: Path) -> None:
    temporary = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    environment = os.environ | {"TMPDIR": str(temporary)}
    process = subprocess.Popen(
        command("run", own("sleeps", "import time; time.sleep(60)")),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: list(temporary.glob("mibench-*/*/kernel.json")))
    process.kill()
    process.communicate()
    [left] = temporary.glob("mibench-*")
    done = subprocess.run(command("run", own("prints", "1")), env=environment)
    assert done.returncode == 0 and not left.exists()
    assert not list(temporary.glob("*mibench-*"))
    shutil.rmtree(temporary)


def test_a_killed_fork_server_is_started_again(own: Callable[..., Path]) -> None:
    kill = "if not open(path).read():\n    open(path, 'w').write('x'); os.kill(os.getppid(), 9)"
    file = own("kills", f"import os, time\n{kill}\n    time.sleep(60)", "", "path = ''")
    mark = file.parent / "mark"
    mark.touch()
    file.write_text(f"notebooks: [{{notebook: kills, parameters: {{path: {mark}}}}}]")
    [outcome] = on_this_machine(batch.plan(file))
    assert (outcome.state, outcome.tries) == ("done", 2), outcome.error


def test_a_full_disk_is_one_clear_error(own: Callable[..., Path]) -> None:
    file = own("fills", "import os; raise OSError(28, os.strerror(28))")
    done = subprocess.run(command("run", file), capture_output=True, text=True)
    assert done.returncode == 2 and "no space is left" in done.stderr
    assert "Traceback" not in done.stderr
