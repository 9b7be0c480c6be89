"""Build Optuna samplers by import path, and the searcher over one."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any, TypeVar

from orchestrator.errors import UsageError
from orchestrator.policies.optuna_searcher import OptunaSearcher, quiet
from orchestrator.policies.trial_history import PastTrial
from orchestrator.seeds import derive_seed
from orchestrator.spec import SearcherOptions, SweepSpec

OPTUNAS = "optuna.samplers."
_HINT = "name a subclass of optuna.samplers.BaseSampler by its import path"

OptionsT = TypeVar("OptionsT", bound=SearcherOptions)


class SamplerSearcher(OptunaSearcher[OptionsT]):
    """Ask a sampler that is named by its import path. It is imported when it first suggests.

    It sees parameters as Optuna's distributions: a choice by the position of its value, a normal one by its quantile.
    A new one is built for each trial, as in a process that has just joined the study, so what it keeps to itself is
    lost; what it notes in the study stays.
    """

    notes = True

    def __init__(self, options: OptionsT, spec: SweepSpec, class_path: str, init_args: Mapping[str, Any]) -> None:
        super().__init__(options, spec)
        self._class_path, self._init_args = class_path, init_args

    def _sampler(self, number: int) -> Any:
        from optuna.samplers import BaseSampler

        if not issubclass(_class(self._class_path), BaseSampler):  # before an instance is built
            raise UsageError(f"{self._class_path} is not a BaseSampler", hint=_HINT)
        return instance({"class_path": self._class_path, "init_args": self._init_args}, self.seed, number)

    def _ended(self, trial: PastTrial) -> None:
        """Show the sampler the end of a trial, as Optuna does before it marks the trial as ended."""
        from optuna.trial import TrialState

        from orchestrator.policies.optuna_study import EventStorage, Study, frozen

        ended = self._trials.pop(trial.number)
        running = frozen(
            trial.number, ended.params, ended.distributions, state=TrialState.RUNNING, notes=ended.system_attrs
        )
        self._trials[trial.number] = running
        with quiet():
            storage = EventStorage(self._visible_trials(), running, self._study_notes, self._goals)
            sampler = self._sampler(trial.number)
            study = Study(storage, sampler)
            sampler.after_trial(study, running, ended.state, ended.values)
        self._exhausted = self._exhausted or study.stopped
        self._trials[trial.number] = ended
        self._note(storage.trial_notes, storage.study_notes)

    def _visible_trials(self) -> list[Any]:
        return [self._trials[number] for number in sorted(self._trials)]


def instance(written: Mapping[str, Any], seed: int, number: int) -> Any:
    """Return the object that ``{class_path, init_args}`` names; objects among its arguments are built first.

    A seed is passed if the class takes one: the sweep's for a sequence (Sobol, Halton), whose points belong together,
    else the trial's. Raises UsageError if there is no such class, or it refuses its arguments.
    """
    from optuna.samplers import BaseSampler, QMCSampler

    cls = _class(written["class_path"])
    arguments = {
        name: instance(value, seed, number) if isinstance(value, Mapping) and "class_path" in value else value
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
        cls = pkgutil.resolve_name(class_path)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{class_path} cannot be imported: {error}", hint=_HINT) from None
    if not isinstance(cls, type):
        raise UsageError(f"{class_path} is not a class", hint=_HINT)
    return cls


def is_optunas(written: Any) -> bool:
    """Return whether each class that is named for a sampler is one of Optuna's samplers, or a part of one."""
    if isinstance(written, Mapping):
        named = str(written.get("class_path", OPTUNAS)).startswith(OPTUNAS)
        return named and all(map(is_optunas, written.values()))
    return not isinstance(written, list) or all(map(is_optunas, written))
