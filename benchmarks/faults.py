"""Faults of processes: a batch that is killed ends with the numbers of an undisturbed one.

    python benchmarks/faults.py kills [COUNT]    # SIGKILLs at random moments; 20 unless told
    python benchmarks/faults.py scheduler        # a Dask scheduler that dies in mid-batch, over TLS

The batch is simulated work of small size: digits, three epochs. It tells what was killed, and ends
with an error where a number differs in its last bit.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import psutil
import yaml

from mibench.study import results

ROOT = Path(__file__).parents[1]
BATCH = """
defaults: {dataset: digits, attacks: [loss_threshold, gap, attack_r], epochs: 3, references: 6}
seeds: [0, 1]
notebooks:
  - {notebook: scenario, grid: {scenario: [ES01, ES10, ES29, ES57]}}
  - rq1_distribution
  - results
"""
MIBENCH = [sys.executable, "-m", "mibench"]


def project(folder: Path) -> Path:
    """Lay out a project with the batch."""
    (folder / "parameters").mkdir(parents=True)
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    file = folder / "parameters" / "faults.yaml"
    file.write_text(BATCH)
    return file


def environment(folder: Path) -> dict[str, str]:
    """Return an environment with a cache of its own."""
    return os.environ | {"MIBENCH_CACHE": str(folder / "cache")}


def numbers(file: Path) -> pd.DataFrame:
    """Return all results but the times, and the commit, which may come while this runs."""
    found, _ = results.load(file.parents[1] / "executed")
    return found.drop(columns=["seconds", "git_commit"]).sort_values(
        ["scenario", "seed", "attack"], ignore_index=True
    )


def undisturbed(folder: Path) -> pd.DataFrame:
    """Return the results of a batch that nobody kills."""
    file = project(folder)
    subprocess.run(
        [*MIBENCH, "run", str(file), "--workers", "2"],
        check=True,
        env=environment(folder),
        stdout=subprocess.DEVNULL,
    )
    return numbers(file)


def roles(main: psutil.Process) -> dict[str, list[psutil.Process]]:
    """Return a batch's processes by what they are."""
    found: dict[str, list[psutil.Process]] = {"main": [main]}
    for child in main.children():
        command = " ".join(child.cmdline())
        if "forkserver" in command:
            found["fork server"] = [child]
            if forks := child.children():
                found["kernel or training"] = forks
    return found


def kills(count: int) -> None:
    """Kill processes of batches, `count` in all, and compare what they end with."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wanted = undisturbed(folder / "undisturbed")
        killed: Counter[str] = Counter()
        round_, equal = 0, 0
        while killed.total() < count:
            round_ += 1
            file = project(folder / f"killed{round_}")
            own = environment(file.parents[1])
            code = 1
            while code:
                batch = subprocess.Popen(
                    [*MIBENCH, "run", str(file), "--workers", "2"],
                    env=own,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                while killed.total() < count:
                    # Long enough to be through the imports, as a rule.
                    time.sleep(rng.uniform(2, 20))
                    if batch.poll() is not None:
                        break
                    try:
                        listed = roles(psutil.Process(batch.pid))
                        role = rng.choice(sorted(listed))
                        rng.choice(listed[role]).kill()
                    except psutil.Error:
                        continue
                    killed[role] += 1
                    print(f"killed {killed.total():3}: {role}", flush=True)
                code = batch.wait()
            pd.testing.assert_frame_equal(numbers(file), wanted)
            equal += 1
    print(f"{killed.total()} killed ({dict(killed)}); {equal} batches of {wanted.shape[0]} rows")
    print("all equal to the undisturbed one, to the last bit")


def scheduler() -> None:
    """Kill a scheduler in mid-batch and go on with another."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wanted = undisturbed(folder / "undisturbed")
        file = project(folder / "project")
        own = environment(folder / "project") | certificates(folder)
        batch = [*MIBENCH, "run", str(file), "--scheduler"]
        offered, address = cluster(folder, own)
        run = subprocess.Popen([*batch, address], env=own, stdout=subprocess.PIPE, text=True)
        assert run.stdout is not None
        next(line for line in run.stdout if "done    digits/" in line)
        offered[0].kill()
        began = time.monotonic()
        run.communicate()
        print(
            f"scheduler killed: exit code {run.returncode} after {time.monotonic() - began:.0f} s"
        )
        end(offered)
        offered, address = cluster(folder, own)
        subprocess.run([*batch, address], check=True, env=own, stdout=subprocess.DEVNULL)
        end(offered)
        pd.testing.assert_frame_equal(numbers(file), wanted)
    print("continued with another scheduler over TLS: equal to the last bit")


def certificates(folder: Path) -> dict[str, str]:
    """Make a key for TLS and return the environment that tells Dask of it."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *[
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=localhost",
            ],
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    ends = {"cert": str(cert), "key": str(key)}
    tls = {"ca-file": str(cert), "client": ends, "scheduler": ends, "worker": ends}
    (folder / "dask").mkdir()
    (folder / "dask" / "tls.yaml").write_text(
        yaml.safe_dump(
            {
                "distributed": {
                    "comm": {"require-encryption": True, "tls": tls},
                    "worker": {"daemon": False},
                }
            }
        )
    )
    return {"DASK_CONFIG": str(folder / "dask")}


def cluster(folder: Path, own: dict[str, str]) -> tuple[list[subprocess.Popen[bytes]], str]:
    """Start a scheduler and two workers that talk over TLS."""
    file = folder / f"scheduler{time.monotonic_ns()}.json"
    told = ["--scheduler-file", str(file), "--protocol", "tls", "--no-dashboard"]
    dask = [sys.executable, "-m", "dask"]
    silent = {"env": own, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [
        subprocess.Popen(
            [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", *told], **silent
        )
    ]
    started += [
        subprocess.Popen([*dask, "worker", "--nthreads", "1", *told], **silent) for _ in range(2)
    ]
    while not file.exists() or not file.read_text().rstrip().endswith("}"):
        time.sleep(0.1)
    address = pd.read_json(file, typ="series")["address"]
    assert address.startswith("tls://")
    return started, address


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Kill processes and wait until they are gone."""
    for process in processes:
        process.kill()
        process.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["kills", *count]:
            kills(int(count[0]) if count else 20)
        case ["scheduler"]:
            scheduler()
        case _:
            sys.exit(__doc__)
