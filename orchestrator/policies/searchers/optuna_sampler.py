"""Any Optuna sampler by its import path."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.policies.searchers.history import Past
from orchestrator.policies.searchers.optuna_base import Sampled, quiet
from orchestrator.seeds import derive_seed
from orchestrator.space import Space
from orchestrator.state import Objective

_OPTUNAS = "optuna.samplers."
_HINT = "name a subclass of optuna.samplers.BaseSampler by its import path"


class Sampler(Sampled):
    """A sampler that the sweep file names. It is imported when it is first asked.

    It sees parameters as Optuna's distributions: a choice by the position of its value, a normal one by its quantile.
    It is made anew for each trial, as in a process that has just joined the study, so what it keeps to itself is lost;
    what it notes in the study stays.
    """

    notes = True

    def __init__(
        self, space: Space, seed: int, objective: Objective, class_path: str, init_args: Mapping[str, Any]
    ) -> None:
        super().__init__(space, seed, objective)
        self._class_path, self._init_args = class_path, init_args
        self.name = class_path.rsplit(".", 1)[-1]

    def _sampler(self, number: int) -> Any:
        from optuna.samplers import BaseSampler

        if not issubclass(_class(self._class_path), BaseSampler):  # before anything is made of it
            raise UsageError(f"{self._class_path} is not a BaseSampler", hint=_HINT)
        return made({"class_path": self._class_path, "init_args": self._init_args}, self._seed, number)

    def _ended(self, trial: Past) -> None:
        """Tell the sampler, as Optuna does before it marks the trial as ended."""
        from optuna.trial import TrialState

        from orchestrator.policies.searchers.optuna_study import Shelf, Study, frozen

        known = self._trials.pop(trial.number)
        running = frozen(
            trial.number, known.params, known.distributions, state=TrialState.RUNNING, notes=known.system_attrs
        )
        self._trials[trial.number] = running
        with quiet():
            shelf = Shelf(self._seen(), running, self._study_notes, self._goals)
            sampler = self._sampler(trial.number)
            study = Study(shelf, sampler)
            sampler.after_trial(study, running, known.state, known.values)
        self._over = self._over or study.over
        self._trials[trial.number] = known
        self._note(shelf.trial_notes, shelf.study_notes)

    def _seen(self) -> list[Any]:
        return [self._trials[number] for number in sorted(self._trials)]


def made(written: Mapping[str, Any], seed: int, number: int) -> Any:
    """The object that ``{class_path, init_args}`` names, those among its arguments made first.

    A seed is passed where one is taken: for a sequence of Sobol's or Halton's, whose points belong together, the
    sweep's; else the trial's. Raises UsageError where there is no such class, or it refuses what it is given.
    """
    from optuna.samplers import BaseSampler, QMCSampler

    cls = _class(written["class_path"])
    arguments = {
        name: made(value, seed, number) if isinstance(value, Mapping) and "class_path" in value else value
        for name, value in (written.get("init_args") or {}).items()
    }
    if issubclass(cls, BaseSampler) and "seed" in inspect.signature(cls).parameters:
        part = 0 if issubclass(cls, QMCSampler) else number
        arguments.setdefault("seed", derive_seed(seed, "sampler", part))
    try:
        return cls(**arguments)
    except (TypeError, ValueError) as error:
        message = f"{written['class_path']} refuses its arguments: {error}"
        raise UsageError(message, hint="correct searcher.init_args") from error


def _class(class_path: str) -> type:
    try:
        found = pkgutil.resolve_name(class_path)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{class_path} cannot be imported: {error}", hint=_HINT) from None
    if not isinstance(found, type):
        raise UsageError(f"{class_path} is not a class", hint=_HINT)
    return found


def is_optunas(written: Any) -> bool:
    """Whether everything that is made for a sampler is one of Optuna's samplers, or a part of one."""
    if isinstance(written, Mapping):
        named = str(written.get("class_path", _OPTUNAS)).startswith(_OPTUNAS)
        return named and all(map(is_optunas, written.values()))
    return not isinstance(written, list) or all(map(is_optunas, written))
