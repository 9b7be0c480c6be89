"""Resolve ``searcher:`` and ``scheduler:`` of a sweep file to the options of the plug-in that they name.

The plug-ins are in `orchestrator.registry`; each has a class of options. Here are the base classes of those options and
the two fields of the spec, which hold an instance of one. Parsing a spec imports the named plug-ins alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, get_args, get_origin

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticKnownError

from orchestrator import registry
from orchestrator.errors import Problem, SpecError, UsageError
from orchestrator.spec.parts import Part, bare_name, plain_mapping, shown


class PolicyOptions(Part):
    """Options of a plug-in. ``name`` is a Literal with the plug-in's name as its default.

    Pydantic checks types, bounds and unknown keys; a plug-in's ``problems`` what depends on the rest of the spec.
    Each field needs a description and an example, which the schema and the error messages show.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: ClassVar[str]
    name: str


class SearcherOptions(PolicyOptions):
    """The base of every searcher's options.

    Example:
        ```python
        class Corners(orchestrator.SearcherOptions):
            name: str = "corners"
            seed: int = 0

        searcher = Corners(seed=1)
        ```
    """

    kind = "searchers"


class SchedulerOptions(PolicyOptions):
    """The base of every scheduler's options.

    Example:
        ```python
        class Threshold(orchestrator.SchedulerOptions):
            name: str = "threshold"
            bound: float = 0.5

        scheduler = Threshold(bound=0.4)
        ```
    """

    kind = "schedulers"
    renamed: ClassVar[Mapping[str, str]] = {}
    """Names of fields in files and journals of earlier versions, and their present names."""

    @model_validator(mode="before")
    @classmethod
    def _present_names(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        present = {old: new for old, new in cls.renamed.items() if new not in value}
        return {present.get(name, name): item for name, item in value.items()}


def mappings(value: object) -> list[dict[str, Any]]:
    """Return a list of mappings of plain values; None counts as empty. Raises ValueError for anything else."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list of mappings from parameters to values, but got {shown(value)}")
    return [plain_mapping(point) for point in value]


Points = Annotated[list[dict[str, Any]], BeforeValidator(mappings)]


class TryFirstOptions(SearcherOptions):
    """Options of a searcher that can begin with points of the user's: ``try_first`` needs no code in the searcher."""

    try_first: Points = Field(
        default_factory=list,
        description="Parameters of the first trials, complete or in part; what a point leaves out is drawn at random.",
        examples=[[{"model.learning_rate": 0.001}]],
    )


def options_argument(cls: type, base: type[PolicyOptions]) -> type[PolicyOptions] | None:
    """Return the options in ``Scheduler[ASHA]`` or ``Searcher[TPE]`` among the class's bases; None without."""
    for generic in cls.__dict__.get("__orig_bases__", ()):
        for argument in get_args(generic) if get_origin(generic) else ():
            if isinstance(argument, type) and issubclass(argument, base):
                return argument
    return None


def options_class(kind: str, name: str) -> type[Any]:
    """Return the options of a registered plug-in. Raises UsageError if there is none, or it cannot be used."""
    options: type[PolicyOptions] = registry.load(kind, name).Options
    return options


def plugin_of(options: PolicyOptions) -> Any:
    """Return the plug-in class that the options belong to."""
    return registry.load(options.kind, options.name)


def plugin_written(kind: str, value: object) -> Any | None:
    """Return the plug-in class that an unchecked value names; None if it names none that can be used."""
    name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", value)
    try:
        return registry.load(kind, name) if isinstance(name, str) and name in registry.names(kind) else None
    except UsageError:
        return None  # the field's own validator reports it


_BY_CLASS_PATH = {"searchers": "sampler", "schedulers": "ray"}
"""The plug-in for a bare import path."""


def _resolve(kind: str, value: object) -> PolicyOptions:
    """Return the options that ``value`` means: an instance, a name, an import path, or a mapping with one of both."""
    if isinstance(value, PolicyOptions):
        return _registered(kind, value)
    if isinstance(value, str) and "." in value:
        value = {"class_path": value}
    if isinstance(value, Mapping) and "class_path" in value:
        value = {"name": _BY_CLASS_PATH[kind], **value}
    value = bare_name(value)
    if not isinstance(value, Mapping):
        raise PydanticKnownError("model_attributes_type")
    if "name" not in value:
        raise PydanticKnownError("union_tag_not_found", {"discriminator": "'name'"})
    name = value["name"]
    if name not in registry.names(kind):
        expected = ", ".join(f"'{each}'" for each in registry.offered(kind))
        context = {"discriminator": "'name'", "tag": str(name), "expected_tags": expected}
        raise PydanticKnownError("union_tag_invalid", context)
    try:
        return _usable(kind, name).model_validate(dict(value))
    except ValidationError as error:
        raise _tagged(error, name) from None


def _registered(kind: str, options: PolicyOptions) -> PolicyOptions:
    """Return the options if their class is a registered plug-in's: a resumed sweep finds it by name alone."""
    is_of_kind = options.kind == kind and options.name in registry.names(kind)
    if is_of_kind and _usable(kind, options.name) is type(options):
        return options
    raise ValueError(
        f"{type(options).__name__} is not the options of a registered {registry.KINDS[kind].noun}; "
        f"declare an entry point {options.name!r} in group {registry.group(kind)}"
    )


def _usable(kind: str, name: str) -> type[PolicyOptions]:
    try:
        return options_class(kind, name)
    except UsageError as error:
        raise SpecError([Problem(error.message, error.hint, (registry.KINDS[kind].noun,))]) from error


def _tagged(error: ValidationError, name: str) -> ValidationError:
    """Return the error with the plug-in's name first in each location, as pydantic has it for a tagged union."""
    details = [
        InitErrorDetails(type=item["type"], loc=(name, *item["loc"]), input=item["input"], ctx=item.get("ctx", {}))
        for item in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data(error.title, details)


def _searcher(value: object) -> PolicyOptions:
    return _resolve("searchers", value)


def _scheduler(value: object) -> PolicyOptions:
    return _resolve("schedulers", value)


# The schemas are filled in from the registry by `json_schema`.
AnySearcher = Annotated[SerializeAsAny[SearcherOptions], BeforeValidator(_searcher), WithJsonSchema({})]
AnyScheduler = Annotated[SerializeAsAny[SchedulerOptions], BeforeValidator(_scheduler), WithJsonSchema({})]
