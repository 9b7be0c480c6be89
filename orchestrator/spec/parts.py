"""The parts of a sweep file, each frozen and each refusing what it does not know."""

from __future__ import annotations

import copy
import functools
import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from orchestrator import codec
from orchestrator.errors import CodecError
from orchestrator.progress import SECONDS, Amount, amount
from orchestrator.space.domain import is_number, python_number
from orchestrator.spec.component_forms import one_form
from orchestrator.spec.tpu_slices import canonical as slice_name

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_CLASS_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_SHORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*((?:[KMGT]i?)?B)", re.IGNORECASE)
_UNITS = {"B": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGT", 1)
    for suffix, base in (("B", 1000), ("IB", 1024))
}
_SLUG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def _without_example(schema: dict[str, Any]) -> None:
    """Leave the docstring's Python example out of the schema's description, which readers of YAML see."""
    if "description" in schema:
        schema["description"] = schema["description"].partition("\n\nExample:")[0]


class Part(BaseModel):
    """Frozen, strict (no text for numbers), and no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, json_schema_extra=_without_example)

    @model_validator(mode="before")
    @classmethod
    def _plain_numbers(cls, value: object) -> object:
        return plain_numbers(value)


def plain_numbers(value: Any) -> Any:
    """Return a section whose own values are Python's numbers, whatever types of numbers and times a program gave."""
    if isinstance(value, Mapping):
        return {name: _plain_number(item) for name, item in value.items()}
    return _plain_number(value)


def _plain_number(value: object) -> object:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():f}s"
    return python_number(value)


def shown(value: object) -> str:
    """Return the value and its type for a message."""
    return f"{value!r} ({type(value).__name__})"


def seconds(value: object) -> float | None:
    """Return a sweep file's time in seconds. Raises ValueError if it is not a time."""
    if value is None:
        return None
    if isinstance(value, str) and value and (parts := _DURATION.fullmatch(value.replace(" ", ""))):
        value = sum(float(n or 0) * unit for n, unit in zip(parts.groups(), (86400, 3600, 60, 1), strict=True))
    if not is_number(value):
        raise ValueError(f"expected a time such as 4h, 90s or 1h30m, but got {shown(value)}")
    if not value > 0:  # type: ignore[operator]
        raise ValueError(f"a time must be above zero, but got {value!r} seconds")
    return float(value)  # type: ignore[arg-type]


_time = seconds  # Budget has a field of that name


def _count(value: object) -> object:
    """Return a large whole number: 2e9, which YAML reads as a fraction, or text such as 2B."""
    if isinstance(value, str):
        value = amount(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _bytes(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and (parts := _SIZE.fullmatch(value.strip())):
        size = float(parts[1]) * _UNITS[parts[2].upper()]
        value = int(size) if is_number(size) else size
    if not is_number(value) or value != int(value):  # type: ignore[call-overload]
        raise ValueError(f"expected a size such as 20GB, 500MiB or a number of bytes, but got {shown(value)}")
    if value < 1:  # type: ignore[operator]
        raise ValueError(f"a size must be above zero, but got {value!r} bytes")
    return int(value)  # type: ignore[call-overload,no-any-return]


def _amount(value: object) -> int | float:
    if not is_number(value):
        raise ValueError(f"expected a number, but got {shown(value)}")
    assert isinstance(value, int | float)
    if value < 0:
        raise ValueError(f"must not be negative, but got {value!r}")
    if value > 1 and value != int(value):
        raise ValueError(f"above 1 only whole numbers can be shared out, but got {value!r}")
    return value


def positive_amount(value: object, expected: str) -> int | float:
    """Return an amount above zero; text may name its unit. ``expected`` says what, for the error about other values."""
    number = amount(value) if isinstance(value, str) else value
    if not is_number(number):
        raise ValueError(f"expected {expected}, but got {shown(value)}")
    assert isinstance(number, int | float)
    if not number > 0:
        raise ValueError(f"must be above zero, but got {value!r}")
    return number


def _checkpoint_interval(value: object) -> int | float | str | None:
    """Return ``auto``, a time as text in seconds, or an amount of progress, which may be text that names its unit."""
    if value is None or value == "auto" or isinstance(value, Amount):
        return value
    number = positive_amount(value, "auto, a time such as 10m, or an amount such as 500 steps")
    if isinstance(number, Amount):
        return f"{float(number):g}s" if number.unit == SECONDS else number
    return number


def _amount_or_auto(value: object) -> int | float | Literal["auto"]:
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"expected a number or auto, but got {shown(value)}")
        return "auto"
    return _amount(value)


def _name(value: object) -> str:
    if not isinstance(value, str) or not _SLUG.fullmatch(value):
        raise ValueError(
            f"a name is 1 to 100 letters, digits, dots, dashes and underscores, not starting with . or -, "
            f"but got {shown(value)}"
        )
    return value


def _class_path(value: object) -> str:
    if callable(value):
        return codec.path_of(value)
    if not isinstance(value, str) or not _CLASS_PATH.fullmatch(value):
        raise ValueError(f"expected an import path such as package.module.Class, but got {shown(value)}")
    return value


def _component_path(value: object) -> str:
    """Return an import path, or the name of a class alone, which is resolved before the sweep starts."""
    if isinstance(value, str) and _SHORT_PATH.fullmatch(value):
        return value
    return _class_path(value)


def _slice(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"expected a TPU slice such as v5e-16, but got {shown(value)}")
    return slice_name(value)


def plain_mapping(value: object) -> dict[str, Any]:
    """Return a copy of a mapping, its values in their written form; None counts as empty.

    Raises NoPlainFormError for a value without one, ValueError for what is no mapping of names.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a mapping of names to values, but got {shown(value)}")
    for name in value:
        if not isinstance(name, str):
            raise ValueError(f"names must be text, but got {shown(name)}")
    return {name: copy.deepcopy(_written(item, (name,))) for name, item in value.items()}


def _written(value: object, at: tuple[str, ...] = ()) -> Any:
    try:
        return codec.written(value, at)
    except CodecError as error:
        raise NoPlainFormError(error) from None


class NoPlainFormError(ValueError):
    """A value in a spec has no written form; ``error`` has its key path below the field that holds it."""

    def __init__(self, error: CodecError) -> None:
        super().__init__(error.message)
        self.error = error


def sealed(metric: str) -> bool:
    """Return whether a metric is of the test set, by its name."""
    return bool(re.match(r"test([_/.-]|$)", metric))


def _unsealed(metric: str) -> str:
    if sealed(metric):
        raise ValueError(f"the test set is sealed until a winner is confirmed, so {metric!r} cannot be the objective")
    return metric


_AMOUNT_SCHEMA = WithJsonSchema({"type": "number", "minimum": 0})
_OR_AUTO_SCHEMA = WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"const": "auto"}]})
_TIME_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string", "pattern": r"^\s*(\d+(\.\d+)?\s*[dhms]\s*)+$"},
            {"type": "number", "exclusiveMinimum": 0},
            {"type": "null"},
        ]
    }
)
_INTERVAL_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}, {"type": "null"}]}
)
_SIZE_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*([kKmMgGtT][iI]?)?[bB]\s*$"},
            {"type": "integer", "minimum": 1},
            {"type": "null"},
        ]
    }
)
Slug = Annotated[str, PlainValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_SLUG.pattern}$"})]
ClassPath = Annotated[
    str,
    PlainValidator(_class_path),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"}),
]
ComponentPath = Annotated[
    str,
    PlainValidator(_component_path),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"}),
]
Arguments = Annotated[dict[str, Any], BeforeValidator(plain_mapping)]


class ClassSpec(Part):
    """A class or function by its import path, and arguments for it; LightningCLI's own form. A bare path will do.

    Hydra's form is the same: ``{_target_: path, name: value}``.
    """

    class_path: ComponentPath = Field(
        description="Import path: package.module.Class, a function, or a classmethod such as package.Class.make. A "
        "class that Lightning, torch.optim or a module named in the file has may be named alone.",
        examples=["orchestrator.models.LitModel"],
    )
    init_args: Arguments = Field(
        default_factory=dict,
        description="Arguments of the class. An argument that is itself a class takes the same form.",
        examples=[{"learning_rate": 0.001}],
    )
    dict_kwargs: Arguments = Field(
        default_factory=dict,
        description="Arguments that the class takes by **kwargs, unchecked.",
        examples=[{"root": "./data"}],
    )
    partial: bool = Field(
        default=False,
        description="Bind the arguments instead of calling: Hydra's _partial_.",
        examples=[True],
    )

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: object) -> object:
        if isinstance(value, str):
            return {"class_path": value}
        if isinstance(value, functools.partial):
            if value.args:
                raise ValueError("bound arguments without names; bind each by its name")
            return {"class_path": _class_path(value.func), "init_args": dict(value.keywords)}
        if isinstance(value, type) or codec.is_function(value):
            return {"class_path": _class_path(value)}
        return value if value is None or isinstance(value, Part) else one_form(_written(value))

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what earlier versions did not have, unless it says something."""
        values: dict[str, Any] = handler(self)
        return {key: item for key, item in values.items() if item or key in ("class_path", "init_args")}


class Goal(Part):
    """A metric, and which way is better."""

    metric: Annotated[str, AfterValidator(_unsealed)] = Field(
        min_length=1, description="Name of a metric that the module logs in validation.", examples=["val_acc"]
    )
    mode: Literal["min", "max"] = Field(description="Whether less or more of it is better.", examples=["max"])


class Objective(Goal):
    """What trials are judged by: a metric that the module logs in validation, at its best finite epoch.

    Example:
        ```python
        objective = orchestrator.Objective(metric="val_acc", mode="max")
        ```
    """

    also: list[Goal] = Field(
        default_factory=list,
        description="More objectives, at that same epoch. Trials that no other is as good as in all of them and better "
        "than in one make up the Pareto front; the first objective alone ranks.",
        examples=[[{"metric": "latency_ms", "mode": "min"}]],
    )

    @model_validator(mode="before")
    @classmethod
    def _not_a_list(cls, value: object) -> object:
        if isinstance(value, list | tuple):
            raise ValueError(
                "of several objectives one comes first: {metric: …, mode: …, also: [{metric: …, mode: …}]}"
            )
        return value

    @model_validator(mode="after")
    def _distinct(self) -> Objective:
        names = [self.metric, *(goal.metric for goal in self.also)]
        if len(set(names)) < len(names):
            raise ValueError(f"each objective is a metric of its own, but got {', '.join(names)}")
        return self


class Budget(Part):
    """Limits of a sweep. The first one reached ends it; running trials then end at their next report.

    Example:
        ```python
        budget = orchestrator.Budget(trials=64, wall_clock="4h")
        ```
    """

    trials: int | None = Field(
        default=None,
        ge=1,
        description="How many trials; each seed of a configuration is one. If nothing here bounds the sweep: "
        "20 configurations, or the whole grid for searcher grid.",
        examples=[64],
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        description="Epochs that all trials together are trained for; one that is done again counts again.",
        examples=[500],
    )
    steps: Annotated[int | None, BeforeValidator(_count)] = Field(
        default=None, ge=1, description="Optimizer steps of all trials together, likewise.", examples=[100000]
    )
    samples: Annotated[int | None, BeforeValidator(_count)] = Field(
        default=None, ge=1, description="Samples that all trials together are trained on, likewise.", examples=["2e9"]
    )
    seconds: Annotated[float | None, PlainValidator(_time), _TIME_SCHEMA] = Field(
        default=None, description="Time of training of all trials together, likewise; such as 4h.", examples=["4h"]
    )
    wall_clock: Annotated[float | None, PlainValidator(_time), _TIME_SCHEMA] = Field(
        default=None, description="Time, such as 4h, 90s, 1h30m, or a number of seconds.", examples=["4h"]
    )
    gpu_hours: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Hours that trials run, times resources.gpus, times resources.workers.",
        examples=[48],
    )
    cost: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Hours that trials run, times resources.price, and in its currency.",
        examples=[100],
    )
    target: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="A value of the objective: the sweep is over as soon as a trial has reached it.",
        examples=[0.95],
    )
    reserve: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of epochs, steps, samples, seconds, gpu_hours and cost that the search leaves for the "
        "confirmation of its finalists.",
        examples=[0.1],
    )


class Resources(Part):
    """The resources of one trial. ``auto``, the default, fits them to the cores and GPUs of the machine.

    Example:
        ```python
        resources = orchestrator.Resources(cpus=4, gpus=1)
        ```
    """

    cpus: Annotated[int | float | Literal["auto"], PlainValidator(_amount_or_auto), _OR_AUTO_SCHEMA] = Field(
        default=1,
        description="CPU cores of a trial. auto: so many that the trials at once use all cores.",
        examples=[4],
    )
    gpus: Annotated[int | float | Literal["auto"], PlainValidator(_amount_or_auto), _OR_AUTO_SCHEMA] = Field(
        default=0,
        description="GPUs of a trial; a fraction lets trials share one. auto: the share that its memory takes, "
        "measured at the launch.",
        examples=[1],
    )
    tpu: Annotated[str | None, PlainValidator(_slice), WithJsonSchema({"type": ["string", "null"]})] = Field(
        default=None,
        description="TPU slice of a trial, by Google's name of it: v4-16, v5e-16, v6e-256. With gpus as well, a trial "
        "starts on the kind that is free, and stays on it.",
        examples=["v5e-16"],
    )
    topology: str | None = Field(
        default=None, description="The slice's chips along each side; by default the usual one.", examples=["4x4"]
    )
    slices: int = Field(
        default=1, ge=1, le=256, description="Slices of a trial, joined over the data centre network.", examples=[2]
    )
    runtime: Literal["xla-spmd", "xla-mp", "torch_tpu", "rehearsal-spmd", "rehearsal-gloo"] = Field(
        default="xla-spmd",
        description="How a trial uses its slice: one process a host (xla-spmd), one a chip (xla-mp), or TorchTPU, of "
        "which there is only the plan. The rehearsals train on the hosts' CPUs through XLA.",
        examples=["xla-spmd"],
    )
    workers: int = Field(
        default=1,
        ge=1,
        description="Processes of a trial, on one node or several, each with these CPUs and GPUs; they train together "
        "by DistributedDataParallel.",
        examples=[2],
    )
    price: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="What an hour of one trial costs, in any currency; budget.cost is in the same.",
        examples=[2.5],
    )
    concurrent: int | None = Field(
        default=None, ge=1, description="Trials at once, at most; by default as many as fit.", examples=[4]
    )

    @model_validator(mode="before")
    @classmethod
    def _fit_by_default(cls, value: object) -> object:
        """Fit CPUs and GPUs to the machine for ``auto``, and for a mapping that names no device."""
        fitted = {"cpus": "auto", "gpus": "auto"}
        if value == "auto":
            return fitted
        devices = ("cpus", "gpus", "tpu")
        if not isinstance(value, Mapping) or any(name in value for name in devices):
            return value
        return {**fitted, **value}

    @property
    def is_fitted(self) -> bool:
        """Whether both CPUs and GPUs are yet to be fitted to the machine."""
        return self.cpus == "auto" and self.gpus == "auto"

    @property
    def cpu_count(self) -> float:
        """``cpus`` as a number; 1 for ``auto``."""
        return 1 if isinstance(self.cpus, str) else self.cpus

    @property
    def gpu_count(self) -> float:
        """``gpus`` as a number; for ``auto`` 1, the upper bound, but 0 if the CPUs are yet to be fitted as well."""
        if isinstance(self.gpus, str):
            return 0 if self.is_fitted else 1
        return self.gpus

    def gpus_of(self, trials: int) -> int:
        """Return the whole GPUs for that many trials on one host; 1 for ``gpus: auto``, since they share it.

        With ``resources: auto`` they are 0: a host without a GPU will do.
        """
        return int(self.gpu_count) if isinstance(self.gpus, str) else math.ceil(self.gpus * trials)


class Checkpoints(Part):
    """How often trials save checkpoints between two reports, and which checkpoints stay.

    Those from which running, interrupted or failed trials continue always stay.

    Example:
        ```python
        checkpoints = orchestrator.Checkpoints(every="10m", keep_top=3)
        ```
    """

    every: Annotated[int | float | str | None, PlainValidator(_checkpoint_interval), _INTERVAL_SCHEMA] = Field(
        default="auto",
        description="From one checkpoint of a trial to the next, those of its reports included: a time such as 10m, or "
        "an amount of progress such as 500 steps. auto: so often that saving takes at most 5 % of the time, and every "
        "30 s at most. null: only with reports, and at a stop.",
        examples=["auto"],
    )

    keep_top: int = Field(
        default=10,
        ge=1,
        description="How many of the best trials keep the checkpoints of their best and their last epoch.",
        examples=[10],
    )
    quota: Annotated[int | None, PlainValidator(_bytes), _SIZE_SCHEMA] = Field(
        default=None,
        description="Space for checkpoints, such as 20GB, 500MiB or a number of bytes. Above it fewer than keep_top "
        "stay, and failed trials keep none. The best trial's and those from which trials continue always stay.",
        examples=["20GB"],
    )


class Recovery(Part):
    """How trials that hang are treated.

    Example:
        ```python
        recovery = orchestrator.Recovery(stalled_after="10m")
        ```
    """

    stalled_after: Annotated[float | None, PlainValidator(seconds), _TIME_SCHEMA] = Field(
        default=3600.0,
        description="Time without a single batch, such as 30m, after which a trial's process is ended and the trial "
        "continues elsewhere from its last checkpoint; null for never.",
        examples=["1h"],
    )


def bare_name(value: object) -> object:
    """Read ``scheduler: fifo`` as ``scheduler: {name: fifo}``."""
    return {"name": value} if isinstance(value, str) else value
