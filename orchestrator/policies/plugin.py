"""What searchers and schedulers share as plug-ins: their options, and what the program asks of their classes."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, cast

from typing_extensions import TypeVar

from orchestrator import registry
from orchestrator.errors import Problem, UsageError
from orchestrator.spec import SweepSpec, options_class
from orchestrator.spec.policy_options import PolicyOptions, options_argument

OptionsT = TypeVar("OptionsT", bound=PolicyOptions, default=Any)


class PolicyPlugin(ABC, Generic[OptionsT]):
    """A searcher or a scheduler, tied to its options by the argument in ``Scheduler[ASHA]``."""

    name: str
    Options: type[OptionsT]
    options_base: ClassVar[type[PolicyOptions]]
    """What the options of this kind are derived from."""
    version: ClassVar[int] = 1
    """The version of its rules, which the journal records. Increase it whenever the same events lead to another
    suggestion or decision than before."""
    changes: ClassVar[Mapping[int, str]] = {}
    """What each version above 1 changed, as a sentence for people who resume a sweep of an earlier one."""
    exact: ClassVar[bool] = False
    """Whether its decisions take Python's own arithmetic alone, and so are the same on every machine."""
    offered: ClassVar[bool] = True
    """Whether schema and hints list it. If not, it still loads for files and journals that name it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        options = options_argument(cls, cls.options_base)
        if options is not None:
            cls.Options, cls.name = cast(type[OptionsT], options), options.model_fields["name"].default

    @classmethod
    def problems(cls, options: OptionsT, spec: SweepSpec) -> Iterable[Problem]:
        """Yield what the plug-in lacks in the rest of the spec, before anything starts."""
        return ()

    @classmethod
    def preflight(cls, options: OptionsT, spec: SweepSpec) -> None:
        """Check what takes an import of the user's code, right before the start. Raises UsageError."""
        return

    @classmethod
    def foreign_class(cls, options: OptionsT) -> str:
        """Return the import path of a class that `build` imports from neither the plug-in nor its library, or empty.

        ``sweep verify`` imports no such class: a run directory is data.
        """
        return ""

    @classmethod
    def label(cls, options: OptionsT) -> str:
        """Return what tables call the plug-in."""
        return cls.name


def recorded_plugin(kind: str, written: Mapping[str, Any]) -> tuple[type[Any], Any] | None:
    """Return a plug-in and its options as a journal's spec has them; None if the plug-in is not usable here."""
    try:
        name = written["name"]
        return registry.load(kind, name), options_class(kind, name).model_validate(dict(written))
    except (UsageError, ValueError, KeyError):
        return None
