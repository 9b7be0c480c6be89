"""The ``trial`` of an Optuna objective: it suggests what the sweep has drawn, so the objective runs as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.errors import SuggestionError
from orchestrator.spec.command_line import flat
from orchestrator.training.doors import trial_session


class Fields(dict[str, Any]):
    """A mapping whose entries are attributes, too: ``cfg["lr"]`` and ``cfg.lr``."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class OptunaTrial(Fields):
    """The arguments of a function as ``optuna.trial.Trial`` gives them.

    A report that is to end the trial ends it at once, so `should_prune` is never true. While a Trainer fits, its
    validations are the reports.
    """

    @property
    def number(self) -> int:
        """The trial's number."""
        session = trial_session.current()
        return session.job.trial if session else 0

    @property
    def params(self) -> dict[str, Any]:
        """All arguments by their dotted names."""
        return flat(self)

    @property
    def user_attrs(self) -> dict[str, Any]:
        """What `set_user_attr` was given. The sweep does not keep it."""
        attributes: dict[str, Any] = self.__dict__.setdefault("noted", {})
        return attributes

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Return the sweep's value. Raises SuggestionError if it has none, or one outside of the range."""
        options = f", step: {step}" if step is not None else ""
        domain = f"{{{'log_uniform' if log else 'uniform'}: [{low}, {high}]{options}}}"
        return float(self._drawn(name, domain, low, high))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Return the sweep's value. Raises SuggestionError as `suggest_float`."""
        options = f", step: {step}" if step != 1 else ""
        return int(self._drawn(name, f"{{{'log_int' if log else 'int'}: [{low}, {high}]{options}}}", low, high))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return the sweep's value. Raises SuggestionError if it has none, or one that is no choice."""
        domain = f"{{choice: {list(choices)}}}"
        value = self._drawn(name, domain)
        for each in choices:
            if _as_listed(each) == _as_listed(value):
                return each  # a tuple is a list in a sweep file
        raise SuggestionError(
            f"{name} is {value!r}, which is none of the objective's {list(choices)}", hint=f"write {name}: {domain}"
        )

    def suggest_uniform(self, name: str, low: float, high: float) -> float:
        """Return the sweep's value, as `suggest_float`."""
        return self.suggest_float(name, low, high)

    def suggest_loguniform(self, name: str, low: float, high: float) -> float:
        """Return the sweep's value, as `suggest_float`."""
        return self.suggest_float(name, low, high, log=True)

    def suggest_discrete_uniform(self, name: str, low: float, high: float, q: float) -> float:
        """Return the sweep's value, as `suggest_float`."""
        return self.suggest_float(name, low, high, step=q)

    def report(self, value: float, step: int) -> None:
        """Report the objective. Reports are counted, from 1; ``step`` is not used."""
        session = trial_session.current()
        if session is not None and not session.reports_by_trainer:
            trial_session.report({session.job.metric: value})

    def should_prune(self) -> bool:
        """Return False."""
        return False

    def set_user_attr(self, key: str, value: Any) -> None:
        """Note a value for the objective itself."""
        self.user_attrs[key] = value

    def _drawn(self, name: str, domain: str, low: float | None = None, high: float | None = None) -> Any:
        """Return the sweep's value of a name. Raises SuggestionError if it has none, or one outside of the range."""
        drawn = self.params
        if name not in drawn:
            raise SuggestionError(
                f"the objective asks for {name!r}, which is not in `space`", hint=f"add {name}: {domain}"
            )
        value = drawn[name]
        if low is not None and high is not None and not low <= value <= high:
            raise SuggestionError(f"{name} is {value}, and the objective asks for {low} to {high}",
                             hint=f"write {name}: {domain}")  # fmt: skip
        return value


def _as_listed(value: Any) -> Any:
    return [_as_listed(each) for each in value] if isinstance(value, list | tuple) else value


def is_pruned(error: Exception) -> bool:
    """Return whether an objective has ended its trial by ``optuna.TrialPruned``."""
    return any(cls.__name__ == "TrialPruned" for cls in type(error).__mro__)
