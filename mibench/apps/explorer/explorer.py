"""The explorer: controls, what they choose, and what must be trained before it can be shown."""

from __future__ import annotations

import atexit
import shlex
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ipywidgets as widgets
import matplotlib.pyplot as plt
import yaml
from IPython.core.getipython import get_ipython

from mibench import figures, scenarios
from mibench.apps.cli.settings import arguments
from mibench.apps.explorer.controls import Controls
from mibench.apps.explorer.levels import compare
from mibench.apps.explorer.page import Head, Part, still
from mibench.apps.explorer.panel import AttackPanel
from mibench.apps.explorer.pictures import Picture, drawing, values
from mibench.apps.explorer.preparation import Training
from mibench.attacks import Attack, parse
from mibench.data import loading
from mibench.errors import MIBenchError
from mibench.figures.scenario import draw_distances, draw_pr, draw_roc
from mibench.figures.style import attack_style
from mibench.scenarios import RESEARCH_QUESTIONS, Scenario
from mibench.setting import Place, Setting
from mibench.store import NotMade, digest, safe
from mibench.study.study import Attacked, Study
from mibench.training.recipe import of_setting

_SHOWN: list[Explorer] = []
# Seconds that a thread has at the end of the process: a download that hangs needs no more.
_PATIENCE = 10.0
# Studies that are kept with their data, the latest; more would fill the memory with images.
_KEPT = 4
# What must be there before something can be shown; no attack: only the loaded dataset.
_Need = tuple[Setting, Attack | None]


class _Lacking(Exception):
    """Something must be there first; `args` is a need."""


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
    setting : Setting
    place : Place
    scenario : Scenario
    chosen : sequence of one or two Attack
    study : Study, optional
        The only one, such as of a model of one's own, where others are made by setting and place.

    Attributes
    ----------
    controls : Controls
    panels : tuple of two AttackPanel
        Of the attack and the second attack.
    status : str
        What is shown or being done, or why nothing is shown.
    shown : bool
        Whether what the controls choose is shown.
    widget : ipywidgets.Widget
    """

    def __init__(
        self,
        setting: Setting,
        place: Place,
        scenario: Scenario,
        chosen: list[Attack],
        study: Study | None = None,
    ):
        # The kernel may call from a thread of its own; jobs do.
        self._lock = threading.RLock()
        self._place = place
        self._given = study
        self._studies: dict[str, Study] = {} if study is None else {_key(setting): study}
        self._job: _Job | None = None
        self._trained: _Need | None = None
        self._study: Study | None = None
        self._ahead: threading.Thread | None = None
        self._comparing: threading.Thread | None = None
        self._wanted = ""
        self._visible: tuple[AttackPanel, ...] = ()
        self.status, self.shown = "", False
        self.controls = Controls(
            setting, place, scenario, chosen, self._refresh, fixed=study is not None
        )
        self.panels = (AttackPanel(self._moved), AttackPanel(self._moved))
        self.curves, self.distances, self.again = Part("curves"), Part("picture"), Part("again")
        self._roc, self._pr, self._distances = Picture(260), Picture(200), Picture(200)
        asked = [(scenarios.factor_of(q).replace("_", " "), q) for q in RESEARCH_QUESTIONS]
        self.question = widgets.Dropdown(options=asked, description="over", value="RQ4")
        self.levels = Part("levels")
        self.question.observe(lambda _: self._compare(), "value")
        self._progress, self.button = widgets.FloatProgress(max=1.0), widgets.Button()
        self.button.on_click(lambda _: self._pressed())
        self._body = widgets.Box().add_class("mibench-body")
        self.widget = widgets.VBox()
        self._head = Head(self.widget)
        status = [self._head.widget, self._progress, self.button]
        line = widgets.HBox(status).add_class("mibench-line")
        overview = widgets.VBox([self.question, self.levels.widget])
        self.tabs = widgets.Tab([self._body, overview], titles=("This scenario", "All attacks"))
        self.tabs.observe(lambda _: self._compare(), "selected_index")
        self._saves = widgets.Button(description="Save pictures")
        self._saves.on_click(lambda _: self._saved())
        below = [self._saves, self.again.widget]
        self.widget.children = [self.controls.box, line, self.tabs, *below]
        atexit.register(self._end)
        self._refresh()

    def wait(self) -> None:
        """Wait until nothing is being prepared."""
        while (job := self._job) is not None:
            job.thread.join()
        if self._comparing is not None:
            self._comparing.join()

    def stop(self) -> None:
        """End what is being prepared."""
        with self._lock:
            self._abandon()
            self._hide("Stopped. Choose something else, or try again.", "Try again")

    def close(self) -> None:
        """End all work, forget the data and take the widget away."""
        self._end()
        atexit.unregister(self._end)
        self._studies.clear()
        self.widget.close()

    def _end(self) -> None:
        """End with the process: a thread cut off within PyTorch would abort it."""
        with self._lock:
            threads = [self._ahead, self._comparing, self._job and self._job.thread]
            self._abandon()
            self._study, self._wanted = None, ""
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
            self._selectors, setting, scenario, chosen = self.controls.choice
            try:
                study, results = self._results(setting, scenario, chosen)
                with drawing():
                    self._show(study, results)
            except _Lacking as lacking:
                self._prepare(lacking.args)
            except MIBenchError as error:
                self._abandon()
                self._hide(str(error))
            else:
                self._abandon()

    def _results(
        self, setting: Setting, scenario: Scenario, chosen: tuple[Attack, ...]
    ) -> tuple[Study, list[Attacked]]:
        """Return what is chosen, or raise _Lacking or MIBenchError."""
        results = []
        study = self._studies.get(_key(setting))
        if study is None:
            raise _Lacking(setting, None)
        for panel, attack in zip(self.panels, chosen, strict=False):
            try:
                target = study.construct(scenario)
                known = panel.result_on(study, target, attack)
                results.append(known or study.attack(attack, target.scenario))
            except NotMade:
                raise _Lacking(setting, attack) from None
        return study, results

    def _show(self, study: Study, results: list[Attacked]) -> None:
        """Replace every part that is not of this choice, and the head last."""
        target = results[0].target
        of = {"setting": _key(study.setting), "scenario": target.scenario.id}
        visible = self.panels[: len(results)]
        for place, (panel, result) in enumerate(zip(visible, results, strict=True)):
            # With its place, for the same attack in the other one is another choice.
            panel.show(digest(of | {"attack": result.attack.label, "place": place}), study, result)
        if (key := digest(of)) != self.distances.of:
            with self._distances.scene() as axes:
                said = draw_distances(axes, target)
            self.distances.show(key, self._distances.image(said))
        self._visible, self._trained = visible, None
        self._draw_curves(digest(of | {"attacks": [r.attack.label for r in results]}))
        self._show_again(study, target.scenario, results)
        self._arrange(visible)
        (distance, near), (differential, far) = target.distance, target.differential_distance
        said = (
            f"{target.scenario.label}: {len(target.samples)} samples, distance {near:.4g} (wanted "
            f"{distance:.4g}), differential distance {far:.4g} (wanted {differential:.4g})"
        )
        self.shown = True
        self._say("; ".join(filter(None, [said, self.controls.note])))
        if study is not self._study:
            self._study = study
            work = partial(self._work_ahead, study, target.scenario)
            self._ahead = threading.Thread(target=work, daemon=True)
            self._ahead.start()
        self._compare()

    def _work_ahead(self, study: Study, shown: Scenario) -> None:
        """Construct all target datasets and fit all attacks, so that a change finds its own."""
        listed = scenarios.catalogue(study.dataset.name)
        tasks: list[Callable[[], Any]] = [partial(study.construct, s) for s in listed]
        tasks += [partial(study.attack, attack, shown) for attack in parse("all")]
        for task in tasks:
            if self._study is not study:
                return
            with suppress(MIBenchError, NotMade):  # told, or made, when it is chosen
                task()

    def _compare(self) -> None:
        """Begin to compare all attacks over the levels asked for, where this is looked at."""
        with self._lock:
            study, question = self._study, self.question.value
            if study is None or not self.shown or self.tabs.selected_index != 1:
                return
            scenario = self.controls.scenario
            of = digest({"setting": _key(study.setting), "id": scenario.id, "over": question})
            if of == self._wanted:
                return
            self._wanted = of
            work = partial(self._work_levels, study, scenario, question, of)
            self._comparing = threading.Thread(target=work, daemon=True)
            self._comparing.start()

    def _work_levels(self, study: Study, scenario: Scenario, question: str, of: str) -> None:
        def goes_on(share: float) -> bool:
            with self._lock:
                if going := self._wanted == of and self.shown:
                    self._say(self.status, share=share)
                return going

        with suppress(MIBenchError):  # told by the other tab
            compared = compare(study, scenario, question, goes_on)
            with self._lock:
                if compared is not None and goes_on(1.0):
                    self.levels.show(of, compared)
                    self._say(self.status)
        with self._lock:
            if self._wanted == of != self.levels.of:  # given up; another time it begins anew
                self._wanted = ""

    def _draw_curves(self, of: str) -> None:
        if of != self.curves.of:
            judged = [panel.judged for panel in self._visible]
            styles = [attack_style(result.attack.name) for result in judged]
            mark: dict[str, Any] = {"ms": 8, "mec": "black", "clip_on": False, "animated": True}
            self._said, self._points = [], []
            for picture, draw in ((self._roc, draw_roc), (self._pr, draw_pr)):
                with picture.scene() as axes:
                    self._said.append(draw(axes, judged))
                    picture.say(values(axes, [result.attack.full_title for result in judged]))
                    for line in axes.lines:
                        line.set_linewidth(1.5)
                    self._points += [
                        axes.plot([], [], at.marker, color=at.face, **mark)[0] for at in styles
                    ]
            self._show_curves(of)

    def _show_curves(self, of: str) -> None:
        """Show the curves with each attack's threshold."""
        # A rate of zero has no place on a log axis; it is drawn at the lower edge.
        floor = self._roc.axes.get_xlim()[0]
        places = [[max(rate, floor) for rate in panel.point] for panel in self._visible]
        places += [[*panel.recalled] for panel in self._visible]
        for mark, place in zip(self._points, places, strict=True):
            mark.set_data([[value] for value in place])
        pictures = zip((self._roc, self._pr), self._said, strict=True)
        self.curves.show(of, [picture.image(said) for picture, said in pictures])

    def _moved(self, panel: AttackPanel) -> None:
        with self._lock:
            panel.judge()
            self._show_curves(self.curves.of)

    def _saved(self) -> None:
        """Write what is seen as figures for a paper, with captions, and say where."""
        with self._lock:
            if not self.shown:
                return
            judged = [panel.judged for panel in self._visible]
            target = judged[0].target
            made = {
                "scores": figures.scores(*judged),
                "roc": figures.roc(judged),
                "distances": figures.distances(target),
            }
            scenario, folder = target.scenario, Path("figures").resolve()
            labels = [scenario.dataset, scenario.id, *(r.attack.label for r in judged)]
            for name, figure in made.items():
                figures.save(figure, folder / safe("_".join([*labels, name])))
                plt.close(figure)
            self._say(f"pictures saved to {folder}")

    def _show_again(self, study: Study, scenario: Scenario, results: list[Attacked]) -> None:
        """Say how the same numbers are had from the command line and a parameter file."""
        if self._given is not None:  # which neither knows
            return
        fields = study.setting.model_dump(exclude_defaults=True)
        labels = [result.attack.label for result in results]
        command = "\n".join(
            shlex.join(["mibench", "attack", label, "--scenario", scenario.id, *arguments(fields)])
            for label in labels
        )
        defaults = {"dataset": study.setting.dataset, **fields, "attacks": labels}
        notebook = {"notebook": "scenario", "parameters": {"scenario": scenario.id}}
        file = yaml.safe_dump({"defaults": defaults, "notebooks": [notebook]}, sort_keys=False)
        place = self._place.model_dump(mode="json", exclude_defaults=True)
        given = ", ".join(map(repr, [fields, place, scenario.id, *labels]))
        cell = f"from mibench.apps.explorer import explore\n\nexplore({given})"
        if (key := digest({"said": command})) != self.again.of:
            self.again.show(key, command, file, cell)

    def _arrange(self, visible: tuple[AttackPanel, ...]) -> None:
        """Put two attacks beside each other, or one beside what concerns both."""
        shared = [self.curves.widget, self.distances.widget]
        beside = [widgets.VBox(shared)] if len(visible) == 1 else shared
        if len(self._body.children) != len(visible) + len(beside):
            self._body.children = [*(panel.box for panel in visible), *beside]

    @property
    def _parts(self) -> list[Part]:
        panels = [part for panel in self._visible for part in panel.parts]
        # The comparison of an earlier choice is dim until that of this one is there.
        compared = [self.levels] if self.levels.of and self.levels.of == self._wanted else []
        again = [self.again] if self._given is None else []
        return [*panels, self.curves, self.distances, *compared, *again]

    def _prepare(self, need: _Need) -> None:
        if self._job is not None and self._job.need == need:
            return
        self._abandon()
        if need == self._trained:
            self._hide("What was trained is not found in the cache; check its folder and space.")
            return
        self._hide(f"preparing {need[0].dataset}", "Stop")
        thread = threading.Thread(target=lambda: self._work(job), daemon=True)
        self._job = job = _Job(need, self.controls.scenario, Training(), thread)
        thread.start()

    def _work(self, job: _Job) -> None:
        problem = ""
        try:
            if job.need[1] is None:
                self._load(job)
            else:
                given = job.need[0].model_dump() | self._place.model_dump(exclude_none=True)
                asked = [job.need[1].label, "--scenario", job.scenario.id, *arguments(given)]
                job.training.run(asked, lambda *now: self._report(job, *now))
        except MIBenchError as error:
            problem = str(error)
        with self._lock:
            if self._job is not job:  # stopped, or something else was chosen
                return
            self._job = None
            if problem and self.controls.scenario == job.scenario:
                self._hide(problem, "Try again")
                return
            if job.need[1] is not None and not problem:
                self._trained = job.need
            self._refresh()

    def _load(self, job: _Job) -> None:
        self._report(job, f"loading {job.need[0].dataset}", 0.0)
        study = Study(job.need[0], self._place)
        study.store.makes = False
        with self._lock:
            while len(self._studies) >= _KEPT:
                self._studies.pop(next(iter(self._studies)))
            self._studies[_key(job.need[0])] = study

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
        self.shown = False
        self._say(why, button, 0.0 if button == "Stop" else None)

    def _say(self, what: str, button: str = "", share: float | None = None) -> None:
        self.status = what
        self._head.say(what, *((self._parts, self._selectors) if self.shown else ()))
        self._progress.layout.display = "none" if share is None else ""
        self._progress.value = share or 0.0
        self.button.layout.display = "" if button else "none"
        self.button.description = button

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Return the widgets, and what they show as a still page for where none can be."""
        bundle: dict[str, Any] = dict(self.widget._repr_mimebundle_(**options) or {})
        with self._lock:
            page = still(self.status, self._parts if self.shown else ())
        return bundle | {"text/plain": self.status, "text/html": page}


def _key(setting: Setting) -> str:
    return setting.model_dump_json()


def explore(
    setting: Mapping[str, Any] | None = None,
    place: Mapping[str, Any] | None = None,
    scenario: str = "ES10",
    attack: str | Mapping[str, Any] = "loss_threshold",
    second_attack: str | Mapping[str, Any] | None = None,
    study: Study | None = None,
) -> Explorer:
    """Return an explorer, which a notebook's cell shows when it ends with it.

    One that was returned before is closed: a cell that is run again leaves nothing at work.
    Where nobody can move a control, as under papermill, it is returned when its first state is
    there to be shown; else at once.

    Parameters
    ----------
    setting, place : mapping, optional
        Fields of :class:`mibench.setting.Setting` and :class:`mibench.setting.Place`.
    scenario : str
        Id or label.
    attack, second_attack : str or mapping
        Each one attack, as :func:`mibench.attacks.parse` takes them.
    study : Study, optional
        What :func:`mibench.study_model` returns; setting and place are its own then.

    Raises
    ------
    MIBenchError
        If a name is unknown or a value is wrong.
    """
    if study is None:
        asked, where = Setting.read(setting or {}), Place.read(place or {})
        where.load_plugins()
        of_setting(asked)
        asked = asked.model_copy(update={"dataset": loading.check_name(asked.dataset, where)})
        name = loading.name_of(asked.dataset, where)
    else:
        asked, where, name = study.setting, study.place, study.dataset.name
    chosen = [a for spec in (attack, second_attack) if spec for a in parse([spec])][:2]
    found = scenarios.find(scenario, name)
    while _SHOWN:
        _SHOWN.pop().close()
    explorer = Explorer(asked, where, found, chosen, study)
    _SHOWN.append(explorer)
    kernel = getattr(get_ipython(), "kernel", None)
    # A front end that a person sits at lets cells ask for input.
    if kernel is not None and not getattr(kernel, "_allow_stdin", True):
        explorer.wait()
    return explorer
