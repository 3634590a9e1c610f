import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import dask
import pandas as pd
import psutil
import pytest
from click.testing import CliRunner
from distributed import LocalCluster, Scheduler, SpecCluster, Worker, get_worker

from mibench.apps.batch import cluster, running
from mibench.apps.batch import plan as batch
from mibench.apps.batch.jobs import Job, Outcome, Tell
from mibench.apps.batch.notebooks import Task
from mibench.apps.cli import main
from mibench.errors import MIBenchError
from mibench.study import results
from tests.test_batch import OWN, notebook


def silent(kind: str, name: str) -> None:
    """Hear what becomes of jobs."""


def on_this_machine(tasks: list[Task], workers: int = 1) -> list[Outcome]:
    with running.Threads(workers, silent) as pool:
        return list(running.run(tasks, pool))


def on_a_cluster(tasks: list[Task], address: str) -> list[Outcome]:
    with cluster.Cluster(address, silent) as pool:
        return list(running.run(tasks, pool))


MEASURES = """
from mibench.study import results
from mibench.study.study import Study
study = Study.read(setting, place)
results.save(output, *study.run([study.scenario(scenario)], attacks))
"""
READS = """
from mibench.study import results as found
print(len(found.load(results)[0]))
"""
NAMES = [*(f"digits/measures-{scenario}" for scenario in ("ES01", "ES10", "ES29")), "all/reads"]


def project(folder: Path) -> Path:
    """Make a batch that trains, measures three scenarios and reads the results."""
    notebook(folder, "measures", f'{OWN}\nscenario = "ES10"', MEASURES)
    notebook(folder, "reads", 'results = "executed"', READS)
    file = folder / "parameters" / "p.yaml"
    file.parent.mkdir()
    file.write_text(f"""
defaults:
  {{dataset: digits, attacks: [loss_threshold, gap], epochs: 3, cache_dir: {folder / "cache"}}}
notebooks:
  - notebook: measures
    grid: {{scenario: [ES01, ES10, ES29]}}
  - reads
""")
    return file


def command(*arguments: object) -> list[str]:
    start = "import sys; from mibench.apps.cli import main; main()"
    return [sys.executable, "-c", start, *map(str, arguments)]


def table(file: Path) -> pd.DataFrame:
    """Return all results but the times."""
    found, _ = results.load(file.parent.parent / "executed")
    found = found.drop(columns=["seconds", "git_commit"])
    return found.sort_values(["scenario", "attack"], ignore_index=True)


def wait_until(condition: Callable[[], object], seconds: float = 600) -> None:
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


def start(file: Path, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("run", file, *arguments),
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def belonging_to(mark: str) -> list[int]:
    """Return the processes whose environment, their own or inherited, holds a mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MIBENCH_TEST") == mark:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    file = project(tmp_path_factory.mktemp("undisturbed"))
    outcomes = on_this_machine(batch.plan(file), 2)
    assert [outcome.state for outcome in outcomes] == ["done"] * 5
    found = table(file)
    assert len(found) == 6 and found["ma"].notna().all()
    return found


def test_a_batch_stopped_again_and_again_ends_with_the_same_results(
    undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    """And what a killed one left of its kernels is swept by the next."""
    file, mark = project(tmp_path), str(tmp_path)
    temporary = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))

    def stop(folder: Path, seen: str, how: signal.Signals) -> tuple[int, str]:
        """Stop a batch when a file is seen that it writes, and wait for all that it started."""
        process = start(file, MIBENCH_TEST=mark, TMPDIR=str(temporary))
        wait_until(lambda: [*folder.glob(seen)])
        process.send_signal(how)
        _, err = process.communicate(timeout=30)
        wait_until(lambda: not belonging_to(mark))
        return process.returncode, err

    # Interrupted as its training begins, killed when it has stored something, and as a notebook is
    # being executed.
    code, err = stop(tmp_path, "cache/trainings/*.lock", signal.SIGINT)
    assert code == 130 and "run the same command to resume" in err and "Traceback" not in err
    stop(tmp_path, "cache/*/*.npz", signal.SIGKILL)
    [left] = temporary.glob("mibench-*")
    stop(temporary, "mibench-*/*/kernel.json", signal.SIGKILL)
    assert not left.exists()
    [left] = temporary.glob("mibench-*")
    sweep = "from mibench.apps.batch.kernels import private_folder; private_folder()"
    environment = os.environ | {"TMPDIR": str(temporary)}
    subprocess.run([sys.executable, "-c", sweep], check=True, env=environment)
    assert not left.exists() and not list(temporary.glob("*mibench-*"))
    shutil.rmtree(temporary)
    outcomes = on_this_machine(batch.plan(file))
    assert {o.state for o in outcomes} == {"done"} and NAMES[0] in [o.name for o in outcomes]
    pd.testing.assert_frame_equal(table(file), undisturbed)
    hidden = [f for f in (tmp_path / "executed").rglob(".*") if f.suffix != ".lock"]
    assert hidden == []


def test_two_batches_at_once_do_everything_once(undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    file = project(tmp_path)
    other = start(file)
    lines(other, "start   training")
    outcomes = on_this_machine(batch.plan(file))
    printed, err = other.communicate()
    assert other.returncode == 0, err
    for name in NAMES:
        here = [outcome.name for outcome in outcomes if outcome.state == "done"]
        assert here.count(name) + printed.count(f"done    {name} ") == 1, name
    pd.testing.assert_frame_equal(table(file), undisturbed)


def test_a_scheduler_of_ones_own(undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    file, address = project(tmp_path), tmp_path / "scheduler.json"
    environment = os.environ | {"DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    own = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1"]
    shared = ["--no-dashboard", "--scheduler-file", address]
    started = [subprocess.Popen([*own, "--port", "0", *shared], env=environment)]
    # The first, which is killed, without the nanny that would start another in its place.
    started += [
        subprocess.Popen([*worker, *shared, *more], env=environment)
        for more in (["--no-nanny"], [])
    ]

    def kill_one() -> None:
        wait_until(lambda: [*tmp_path.glob("executed/digits/.*.running.ipynb")])
        started[1].kill()

    killer = threading.Thread(target=kill_one)
    try:
        # The file is there before it is written.
        wait_until(lambda: address.exists() and address.read_text().rstrip().endswith("}"))
        where = pd.read_json(address, typ="series")["address"]
        killer.start()
        done = CliRunner().invoke(main, ["run", str(file), "--scheduler", where])
        killer.join()
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert done.exit_code == 0, done.output
    pd.testing.assert_frame_equal(table(file), undisturbed)
    # What was executed elsewhere is in the one line of Parquet too.
    assert len(pd.read_parquet(tmp_path / "executed" / "results")) == len(undisturbed)


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
    monkeypatch.setattr(running, "do", note)
    file = project(tmp_path)
    file.write_text(f"seeds: [0, 1]\n{file.read_text()}")
    tasks = batch.plan(file)
    workers = {
        "gpu": {"cls": Worker, "options": {"nthreads": 1, "resources": {"GPU": 1}}},
        "cpu": {"cls": Worker, "options": {"nthreads": 1}},
    }
    RAN.clear()
    with SpecCluster(workers, {"cls": Scheduler, "options": {"dashboard": False}}) as offered:
        outcomes = on_a_cluster(tasks, offered.scheduler_address)
    assert [o.state for o in outcomes] == ["done"] * 9
    assert {*RAN} == {("Training", "gpu"), ("Task", "cpu")}


def test_a_job_that_kills_its_workers_is_reported(
    own: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not a function of this module, which a worker would import and then call by name.
    monkeypatch.setattr(running, "do", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    [task] = batch.plan(own("kills", "pass"))
    with (
        dask.config.set(
            {"distributed.scheduler.allowed-failures": 1, "distributed.worker.daemon": False}
        ),
        LocalCluster(1, threads_per_worker=1, dashboard_address=None) as offered,
    ):
        [outcome] = on_a_cluster([task], offered.scheduler_address)
    assert outcome.state == "failed" and outcome.tries == 2 and "KilledWorker" in outcome.error


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


def test_a_batch_listens_nowhere(own: Callable[..., Path], tmp_path: Path) -> None:
    """While two notebooks run, which hold on until they have been looked at.

    Its sockets are files, whose names are bounded; that of the temporary folder is long.
    """
    cell = "import os, time\nopen(f'{seen}.{os.getpid()}', 'w')\nwhile not open(seen).read(): pass"
    file = own("waits", cell.replace("pass", "time.sleep(0.1)"), "", "seen = ''")
    seen, long = file.parent / "seen", tmp_path / ("x" * 120)
    seen.touch()
    long.mkdir()
    entries = [f"{{notebook: waits, parameters: {{seen: {seen}}}, name: {n}}}" for n in "ab"]
    file.write_text(f"notebooks: [{', '.join(entries)}]")
    process = start(file, "--workers", 2, TMPDIR=str(long))
    wait_until(lambda: len(list(file.parent.glob("seen.*"))) == 2)
    during = listening(process)
    seen.write_text("yes")
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    assert during == []


def test_a_full_disk_is_one_clear_error(
    own: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "_exit", sys.exit)
    file = own("fills", "import os; raise OSError(28, os.strerror(28))")
    done = CliRunner().invoke(main, ["run", str(file)])
    assert done.exit_code == 2 and "no space is left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_killed_fork_server_is_started_again(own: Callable[..., Path]) -> None:
    """The last test here, for another server takes as long as all forks of the first."""
    kill = "if not open(path).read():\n    open(path, 'w').write('x'); os.kill(os.getppid(), 9)"
    file = own("kills", f"import os, time\n{kill}\n    time.sleep(60)", "", "path = ''")
    mark = file.parent / "mark"
    mark.touch()
    file.write_text(f"notebooks: [{{notebook: kills, parameters: {{path: {mark}}}}}]")
    [outcome] = on_this_machine(batch.plan(file))
    assert (outcome.state, outcome.tries) == ("done", 2), outcome.error
