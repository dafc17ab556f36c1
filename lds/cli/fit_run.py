"""A run of `lds fit`: what it is made of, and how it learns in its folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lds._progress import STARTING
from lds._run_list import runs_in
from lds._warn_once import once
from lds.cli.claim import Earlier
from lds.cli.console import err, line
from lds.cli.interrupt import Interrupts, StopNow, before_the_run
from lds.cli.progress import FitProgress

if TYPE_CHECKING:
    from lds.datasets.base import NodeDataset
    from lds.estimators.weights import ClassWeight
    from lds.experiments.fit import FitReport
    from lds.structure.iteration import Iteration
    from lds.structure.methods.base import Method


@dataclass(frozen=True)
class Plan:
    """What a run is made of.

    Attributes:
        method: with its options.
        seed: of everything random.
        source: arguments of `lds.datasets.registry.load`.
        class_weight: as of `fit_dataset`.
        controls: whether they run.
        device: where to compute.
    """

    method: "Method"
    seed: int
    source: dict[str, Any]
    class_weight: "ClassWeight"
    controls: bool
    device: str

    def settings(self, data: "NodeDataset") -> dict[str, Any]:
        """List what the run folder keeps."""
        return {
            "data": data.name,
            "source": self.source,
            "retain": self.source["retain"],
            "method": self.method.name,
            "options": self.method.to_dict(),
            "seed": self.seed,
            "class_weight": self.class_weight,
            "controls": self.controls,
            "device": self.device,
        }


class Run:
    """A run that learns, shows what it does, and writes its folder.

    Arguments:
        folder: of the run.
        plan: with the method for these data.
        data: as the plan's source gives them.
        interrupts: handles Ctrl-C.
        shown: the progress.
        earlier: what the run replaces; None: nothing.
        resume: whether to go on with the run in the folder.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        data: "NodeDataset",
        interrupts: Interrupts,
        shown: FitProgress,
        earlier: Earlier | None,
        resume: bool,
    ) -> None:
        self._folder, self._plan, self._data = folder, plan, data
        self._interrupts, self._shown, self._earlier = interrupts, shown, earlier
        self._resume = self._begun = resume
        self._settings = plan.settings(data)
        self._report: FitReport | None = None

    def learn(self, n_jobs: int | None) -> tuple["FitReport", dict[str, Any]]:
        """Learn, run the controls and save; return the report and the summary in the folder.

        Raises:
            typer.Exit: it was interrupted before there was a result.
        """
        plan = self._plan
        with before_the_run():
            from lds.experiments.fit import fit_dataset

            self._shown.count(self._start(), plan.method.to_dict()["max_iter"])
        with self._interrupts, once():  # a control warns of what the method has warned of
            try:
                report = fit_dataset(
                    self._data,
                    plan.method,
                    seed=plan.seed,
                    class_weight=plan.class_weight,
                    controls=plan.controls,
                    device=plan.device,
                    on_iteration=self._iteration,
                    on_member=self._member,
                    on_learned=self._learned,
                    checkpoint=self._folder if self._interrupts.kept else None,
                    resume=self._resume,
                    n_jobs=n_jobs,
                )
            except (KeyboardInterrupt, StopNow):
                if self._report is None:
                    self._say_unfinished()
                    raise typer.Exit(130) from None
                report = self._report
            return report, self._save(report)

    def _start(self) -> str:
        """Say what the run begins with."""
        from lds._checkpoint import saved_iterations
        from lds.run_folder import load_settings

        if not self._resume or not (n_done := saved_iterations(self._folder)):
            return STARTING
        now, before = self._settings["options"], load_settings(self._folder)["options"]
        same = all(now.get(name) == before.get(name) for name in ("max_iter", "patience"))
        if same and runs_in(self._folder)[0]["state"] == "done":
            return f"the run was complete after outer iteration {n_done}; finishing it again"
        return f"continuing after outer iteration {n_done}"

    def _iteration(self, record: "Iteration") -> None:
        if not self._begun:  # the input has been checked by now
            from lds.run_folder import begin_run

            begin_run(self._folder, self._settings)
            self._begun = True
            self._replace()
        self._interrupts.phase = "learn"
        self._shown.iteration(record)

    def _member(self, n_done: int, n_members: int) -> None:
        self._interrupts.phase = "refit"
        self._shown.member(n_done, n_members)

    def _learned(self, report: "FitReport") -> None:
        self._replace()
        self._save(report)  # before the controls, which may be interrupted
        self._report, self._interrupts.phase = report, "controls"
        if self._plan.controls and report.result.reason != "interrupted":
            self._shown.controls()

    def _save(self, report: "FitReport") -> dict[str, Any]:
        from lds.cli.run_folder import save

        return save(self._folder, report, self._settings)

    def _replace(self) -> None:
        if self._earlier is not None:
            self._earlier.discard()

    def _say_unfinished(self) -> None:
        """Say what is kept of a run that was interrupted before its result."""
        text = "interrupted before there was a result"
        if self._begun and self._interrupts.kept:
            way_on = self._interrupts.way_on
            line(f"{text}; its outer iterations are kept; to continue: {way_on}", err)
        else:
            line(f"{text}: nothing to save", err)
