"""How long jobs will take and how much disk they will fill, from what was measured so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from mibench.apps.batch.jobs import Job, read_json
from mibench.apps.batch.notebooks import files_of, read_metadata
from mibench.look import many

if TYPE_CHECKING:
    from mibench.training.work import Work

Alike = tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """Work of several jobs, of which `unknown` are unlike anything measured and not counted."""

    seconds: float
    bytes: float
    unknown: int

    def __str__(self) -> str:
        """Return it in words; the time is that of one worker."""
        jobs = many(self.unknown, "job")
        if not self.seconds and self.unknown:
            return f"nothing like {jobs} has been measured yet: no estimate"
        rest = f", without {jobs} unlike anything measured yet" if self.unknown else ""
        size = f"{self.bytes / 1e6:.0f} MB" if self.bytes < 1e9 else f"{self.bytes / 1e9:.1f} GB"
        return f"about {in_words(self.seconds)} of work and {size} on disk{rest}"

    def spread(self, workers: int) -> str:
        """Return in words how long it will take several workers, nothing where it is unknown."""
        known = self.seconds and not self.unknown
        return f", about {in_words(self.seconds / workers)} left" if known else ""


class Measured:
    """Times and sizes of the trainings in a cache and of the notebooks in a folder."""

    def __init__(self, executed: Path, caches: Iterable[Path]):
        self._seen: defaultdict[Alike, list[tuple[float, float]]] = defaultdict(list)
        for notebook in executed.glob("*/[!.]*.ipynb"):
            made = read_metadata(notebook)
            if made.get("status") == "completed" and "notebook" in made:
                size = sum(p.stat().st_size for p in files_of(notebook) if p.exists())
                self._add(("notebook", made["notebook"], notebook.parent.name), made, size)
        for cache in caches:
            for record in (cache / "trainings").glob("[!.]*.json"):
                made = read_json(record)
                about = made.get("setting", {})
                if made.get("seconds"):
                    about = ("training", about.get("dataset", ""), about.get("model", ""))
                    self._add(about, made, made["bytes"])

    def estimate(self, jobs: Iterable[Job]) -> Estimate:
        """Return what jobs will take, each as the most similar ones took on average."""
        known, unknown = [], 0
        for job in jobs:
            alike = next((self._seen[a] for a in job.alike if a in self._seen), None)
            if alike is None:
                unknown += 1
            else:
                known.append([fmean(values) for values in zip(*alike, strict=True)])
        seconds, size = (sum(values) for values in zip(*known, strict=True)) if known else (0, 0)
        return Estimate(seconds, size, unknown)

    def note(self, job: Job, seconds: float, size: float = 0.0) -> None:
        """Remember what a job took."""
        for alike in job.alike:
            self._seen[alike].append((seconds, size))

    def _add(self, about: Alike, made: dict[str, float], size: float) -> None:
        for less_alike in (about, about[:-1]):
            self._seen[less_alike].append((made["seconds"], size))


def of_work(work: Work) -> str:
    """Return in words how much a training is."""
    from matplotlib.ticker import EngFormatter  # which takes long

    return f"  {EngFormatter(places=1, sep=' ')(work.flops)}FLOP, about {in_words(work.seconds)}"


def in_words(seconds: float) -> str:
    """Return a duration as one would say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
