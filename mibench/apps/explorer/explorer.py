"""The explorer: controls, what they choose, and what must be trained before it can be shown."""

from __future__ import annotations

import atexit
import base64
import io
import threading
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import ipywidgets as widgets
from IPython.core.getipython import get_ipython
from PIL import Image

from mibench import attacks, models, scenarios
from mibench import data as datasets
from mibench.apps.explorer.controls import NO_ATTACK, Controls
from mibench.apps.explorer.panel import AttackPanel
from mibench.apps.explorer.pictures import DistanceHistogram, RocCurves
from mibench.apps.explorer.preparation import Finished, NotMade, Training
from mibench.apps.explorer.tables import STYLE
from mibench.errors import MIBenchError
from mibench.outputs import IntArray
from mibench.scenarios import Scenario
from mibench.study.study import Attacked, Experiment

_SHOWN: list[Explorer] = []
# Seconds that a thread has at the end of the process: a download that hangs needs no more.
_PATIENCE = 10.0


class _Need(NamedTuple):
    """What must be there before something can be shown; no attack: only the loaded dataset."""

    dataset: str
    model: str
    attack: str | None


class _Lacking(Exception):
    def __init__(self, need: _Need):
        self.need = need


class _Job(NamedTuple):
    """The preparation of what is needed, in a thread."""

    need: _Need
    scenario: Scenario
    training: Training
    thread: threading.Thread


class Explorer:
    """Shows one scenario and up to two attacks on it, and answers to its controls.

    What is in the cache is shown at once. What is not is loaded in a thread and trained in a
    process, while a line says so and the controls stay usable.

    Parameters
    ----------
    dataset, model : str
    scenario : Scenario
    attack, second_attack : str
        Names; `second_attack` may be empty.
    settings : dict
        The remaining parameters of :class:`mibench.study.study.Experiment`.

    Attributes
    ----------
    controls : Controls
    panels : tuple of two AttackPanel
        Of the attack and the second attack.
    status : str
        What is being done, or why nothing is shown.
    shown : bool
        Whether what the controls choose is shown.
    widget : ipywidgets.Widget
    """

    def __init__(
        self,
        dataset: str,
        model: str,
        scenario: Scenario,
        attack: str,
        second_attack: str,
        settings: dict[str, Any],
    ):
        # The kernel may call from a thread of its own; jobs do.
        self._lock = threading.RLock()
        self._settings = settings
        self._experiments: dict[tuple[str, str], Experiment] = {}
        self._job: _Job | None = None
        self._trained: _Need | None = None
        self._experiment: Experiment | None = None
        self._ahead: threading.Thread | None = None
        self._samples: IntArray | None = None
        self._names: tuple[str, ...] = ()
        self._arranged: tuple[AttackPanel, ...] = ()
        self._beside = widgets.VBox(layout=widgets.Layout(min_width="0", overflow="hidden"))
        self.status, self.shown = "", False
        self.controls = Controls(dataset, model, scenario, attack, second_attack, self._refresh)
        self.panels = (AttackPanel(self._mark_roc), AttackPanel(self._mark_roc))
        self.roc, self.distances = RocCurves(), DistanceHistogram()
        self._line = widgets.HTML(layout=widgets.Layout(flex="1 1 auto", min_width="0"))
        self._progress = widgets.FloatProgress(max=1.0, layout=widgets.Layout(width="180px"))
        self.button = widgets.Button(layout=widgets.Layout(width="90px", flex="0 0 auto"))
        self.button.on_click(lambda _: self._pressed())
        self._body = widgets.GridBox(
            layout=widgets.Layout(grid_template_columns="1fr 1fr", grid_gap="8px 16px")
        )
        line = widgets.HBox(
            [self._line, self._progress, self.button],
            layout=widgets.Layout(align_items="center", min_height="34px"),
        )
        self.widget = widgets.VBox(
            [widgets.HTML(STYLE), self.controls.box, line, self._body],
            layout=widgets.Layout(max_width="1200px", overflow="hidden"),
        )
        atexit.register(self._end)
        self._refresh()

    def wait(self) -> None:
        """Wait until nothing is being prepared."""
        while (job := self._job) is not None:
            job.thread.join()

    def stop(self) -> None:
        """End what is being prepared."""
        with self._lock:
            self._abandon()
            self._hide("Stopped. Choose something else, or try again.", "Try again")

    def close(self) -> None:
        """End all work, forget the data and take the widget away."""
        self._end()
        atexit.unregister(self._end)
        self._experiments.clear()
        self.widget.close()

    def _end(self) -> None:
        """End with the process: a thread cut off within PyTorch would abort it."""
        with self._lock:
            threads = [self._ahead, self._job and self._job.thread]
            self._abandon()
            self._experiment = None
        for thread in threads:
            if thread is not None:
                thread.join(_PATIENCE)

    def _pressed(self) -> None:
        with self._lock:
            if self._job is None:
                self._refresh()
            else:
                self.stop()

    def _refresh(self) -> None:
        """Show what the controls choose, or begin to prepare it."""
        with self._lock:
            try:
                self._show()
            except _Lacking as lacking:
                self._prepare(lacking.need)
            except MIBenchError as error:
                self._abandon()
                self._hide(str(error))
            else:
                self._abandon()

    def _show(self) -> None:
        """Show what the controls choose.

        Raises
        ------
        _Lacking
            If something must be prepared first.
        MIBenchError
            If it cannot be shown.
        """
        experiment, results = self._results()
        target, names = results[0].target, self.controls.attacks
        samples = target.samples
        same_data = samples is self._samples
        # Before the pictures, so that they never stand under another scenario's name.
        wanted = (target.distance, target.differential_distance)
        said = [
            f"{name} {measured:.4g} (wanted {level:.4g})"
            for name, (level, measured) in zip(("distance", "MMD²"), wanted, strict=True)
        ]
        self._say(f"{target.scenario.label}: {len(samples)} samples, {', '.join(said)}")
        visible = self.panels[: len(results)]
        for panel, result in zip(visible, results, strict=True):
            panel.show(experiment, result)
        if not same_data:
            self.distances.show(target)
        if not (same_data and names == self._names):
            self.roc.show([panel.curve for panel in visible])
        self._samples, self._names, self._trained = samples, names, None
        self._mark_roc()
        self._arrange(visible)
        self.shown, self._body.layout.visibility = True, "visible"
        if experiment is not self._experiment:
            self._experiment = experiment
            self._ahead = threading.Thread(
                target=self._work_ahead, args=[experiment, target.scenario], daemon=True
            )
            self._ahead.start()

    def _work_ahead(self, experiment: Experiment, shown: Scenario) -> None:
        """Construct all target datasets and fit all attacks, so that a change finds its own."""
        # Scenarios that differ in their withheld ratio alone share one.
        distinct = {
            (s.distribution, s.distance, s.differential_distance): s
            for s in scenarios.catalogue(experiment.dataset.name)
        }
        for scenario in distinct.values():
            if self._experiment is experiment:
                with suppress(MIBenchError):  # told when the scenario is chosen
                    experiment.construct(scenario)
        for name in attacks.REGISTRY:
            if self._experiment is experiment:
                with suppress(MIBenchError, NotMade):  # told, or made, when the attack is chosen
                    experiment.attack(name, shown)

    def _results(self) -> tuple[Experiment, list[Attacked]]:
        dataset, model = self.controls.dataset.value, self.controls.model.value
        experiment = self._experiments.get((dataset, model))
        if experiment is None:
            raise _Lacking(_Need(dataset, model, None))
        scenario, results = self.controls.scenario, []
        for panel, name in zip(self.panels, self.controls.attacks, strict=False):
            try:
                target = experiment.construct(scenario)
                known = panel.result_on(target, name)
                results.append(known or experiment.attack(name, scenario))
            except NotMade:
                raise _Lacking(_Need(dataset, model, name)) from None
        return experiment, results

    def _mark_roc(self) -> None:
        with self._lock:
            self.roc.mark([panel.point for panel in self.panels[: len(self._names)]])

    def _arrange(self, visible: tuple[AttackPanel, ...]) -> None:
        """Put two attacks beside each other, or one beside what concerns both."""
        if visible == self._arranged:
            return
        self._arranged = visible
        shared = [self.roc.widget, self.distances.widget]
        if len(visible) == 1:
            self._beside.children = shared
            self._body.children = [visible[0].box, self._beside]
        else:
            self._body.children = [panel.box for panel in visible] + shared

    def _prepare(self, need: _Need) -> None:
        if self._job is not None and self._job.need == need:
            return
        self._abandon()
        if need == self._trained:
            self._hide("What was trained is not found in the cache; check its folder and space.")
            return
        self._hide(f"preparing {datasets.name_of(need.dataset)}", "Stop")
        thread = threading.Thread(target=self._work, daemon=True)
        self._job = _Job(need, self.controls.scenario, Training(), thread)
        thread.start()

    def _work(self) -> None:
        with self._lock:
            job = self._job
        if job is None or job.thread is not threading.current_thread():
            return
        problem = ""
        try:
            if job.need.attack is None:
                self._load(job)
            else:
                job.training.run(self._arguments(job), lambda *now: self._report(job, *now))
        except MIBenchError as error:
            problem = str(error)
        with self._lock:
            if self._job is not job:  # stopped, or something else was chosen
                return
            self._job = None
            if problem and self.controls.scenario == job.scenario:
                self._hide(problem, "Try again")
                return
            if job.need.attack is not None and not problem:
                self._trained = job.need
            self._refresh()

    def _load(self, job: _Job) -> None:
        self._report(job, f"loading {datasets.name_of(job.need.dataset)}", 0.0)
        experiment = Experiment(job.need.dataset, job.need.model, **self._settings)
        signals = experiment.signals
        signals.store = Finished(signals.store.directory)
        self._experiments[job.need.dataset, job.need.model] = experiment

    def _arguments(self, job: _Job) -> list[str]:
        """Return those of ``mibench attack`` that make what a job needs."""
        given = {**self._settings, "dataset": job.need.dataset, "model": job.need.model}
        given["scenario"] = job.scenario.id
        options = [(f"--{name.replace('_', '-')}", value) for name, value in given.items()]
        return [
            str(job.need.attack),
            *(str(part) for option in options if option[1] is not None for part in option),
        ]

    def _report(self, job: _Job, what: str, share: float) -> None:
        with self._lock:
            if self._job is job:
                self._say(what, "Stop", share)

    def _abandon(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.training.stop()

    def _hide(self, why: str, button: str = "") -> None:
        """Show nothing, so that nothing is taken for what is chosen, and say why."""
        self.shown, self._body.layout.visibility = False, "hidden"
        self._say(why, button, 0.0 if button == "Stop" else None)

    def _say(self, what: str, button: str = "", share: float | None = None) -> None:
        self.status = what
        self._line.value = f'<div class="mibench-note mibench-status">{escape(what)}</div>'
        self._progress.layout.display = "none" if share is None else ""
        self._progress.value = share or 0.0
        self.button.layout.display = "" if button else "none"
        self.button.description = button

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Return the widgets, and what they show as a still picture for where none can be."""
        bundle: dict[str, Any] = dict(self.widget._repr_mimebundle_(**options) or {})
        with self._lock:
            said = f"<p>{escape(self.status)}</p>"
            if not self.shown:
                return bundle | {"text/plain": self.status, "text/html": said}
            visible = self.panels[: len(self._names)]
            pictures = [p for panel in visible for p in (panel.histogram, panel.map)]
            images = [p.widget.value for p in (*pictures, self.roc, self.distances)]
            texts = "".join(panel.html for panel in visible)
        return bundle | {
            "text/plain": self.status,
            "image/png": (whole := _side_by_side(images)),
            "text/html": f'{STYLE}{said}<img src="data:image/png;base64,{whole}">{texts}',
        }


def _side_by_side(images: list[bytes]) -> str:
    """Return pictures as one, two in a row, as PNG in base64."""
    opened = [Image.open(io.BytesIO(image)) for image in images]
    rows = [opened[i : i + 2] for i in range(0, len(opened), 2)]
    heights = [max(image.height for image in row) for row in rows]
    whole = Image.new("RGB", (2 * opened[0].width, sum(heights)), "white")
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            whole.paste(image, (j * opened[0].width, sum(heights[:i])))
    data = io.BytesIO()
    whole.save(data, format="png")
    return base64.b64encode(data.getvalue()).decode()


def explore(
    dataset: str = "digits",
    model: str = "MLP",
    scenario: str = "ES10",
    attack: str = "loss_threshold",
    second_attack: str | None = None,
    seed: int = 0,
    references: int = 16,
    epochs: int = 50,
    data_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
) -> Explorer:
    """Return an explorer, which a notebook's cell shows when it ends with it.

    One that was returned before is closed: a cell that is run again leaves nothing at work.
    Where nobody can move a control, as under papermill, it is returned when its first state is
    there to be shown; else at once.

    Parameters
    ----------
    dataset, model : str
    scenario : str
        Id or label.
    attack, second_attack : str
        Names or titles.
    seed, references, epochs, data_dir, cache_dir
        See :class:`mibench.study.study.Experiment`.

    Raises
    ------
    MIBenchError
        If a name is unknown.
    """
    dataset = datasets.check_name(dataset, data_dir)
    if model not in models.MODELS:
        raise MIBenchError(f"unknown model {model!r}; known are {', '.join(models.MODELS)}")
    second = attacks.find(second_attack).name if second_attack else NO_ATTACK
    while _SHOWN:
        _SHOWN.pop().close()
    explorer = Explorer(
        dataset,
        model,
        scenarios.find(scenario, datasets.name_of(dataset)),
        attacks.find(attack).name,
        second,
        {
            "seed": seed,
            "references": references,
            "epochs": epochs,
            "data_dir": data_dir,
            "cache_dir": cache_dir,
        },
    )
    _SHOWN.append(explorer)
    kernel = getattr(get_ipython(), "kernel", None)
    # A front end that a person sits at lets cells ask for input.
    if kernel is not None and not getattr(kernel, "_allow_stdin", True):
        explorer.wait()
    return explorer
