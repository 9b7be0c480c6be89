"""The spec of a sweep: the content of a sweep file in one frozen object."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from orchestrator.errors import Problem, SpecError
from orchestrator.space import Space
from orchestrator.spec.budget_checks import UNBOUNDED, budget_problems
from orchestrator.spec.component_forms import data_section
from orchestrator.spec.initial_points import point_problems
from orchestrator.spec.json_schema_parts import SPACE_SCHEMA, TRAINER_SCHEMA
from orchestrator.spec.objectives import FOR_SEVERAL, Constraint, has_several, objective_problems
from orchestrator.spec.parameters import ROOTS, parameter_problems, placement_problems
from orchestrator.spec.parts import (
    Budget,
    Checkpoints,
    ClassSpec,
    Objective,
    Part,
    Recovery,
    Resources,
    Slug,
    plain_mapping,
    plain_numbers,
)
from orchestrator.spec.plugin_sections import Notification, Tracking
from orchestrator.spec.policy_options import (
    AnyScheduler,
    AnySearcher,
    options_class,
    plugin_of,
    plugin_written,
)
from orchestrator.spec.progress_options import plain_interval, plain_options, plain_progress
from orchestrator.spec.progress_section import LIMITS, BareProgress, Progress, report_span, trainer_limit, with_unit
from orchestrator.spec.repeats import BareFinalists, BareRepeats, Repeats, seeds_written
from orchestrator.spec.tpu_placement import resource_problems
from orchestrator.spec.training_code import Command, Function, PlainArguments, Program, code_problems, names_code
from orchestrator.spec.yaml_document import Document, Path

_LATER = ("optimizer", "lr_scheduler", "objects", "train", "program", "command", "args")
if TYPE_CHECKING:
    ModelSpec = Any  # most readers have a model, and know it
else:
    ModelSpec = ClassSpec | None
_ACROSS = "check_val_every_n_epoch"
DEFAULT_EPOCHS = 10
DEFAULT_TRIALS = 20


def _space(value: object) -> Space:
    if isinstance(value, Space):
        return value
    return Space(plain_domains(value))


def plain_domains(value: object) -> Mapping[str, object]:
    """Return what is written under ``space:``; None counts as empty. Raises SpecError if it is no mapping."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SpecError([Problem(f"`space` must be a mapping of parameters to domains, but got {value!r}",
                                 "e.g. space: {model.learning_rate: {log_uniform: [1e-4, 1e-2]}}")])  # fmt: skip
    return value


def _trainer(value: object) -> dict[str, Any]:
    """Return the trainer arguments without nulls (LightningCLI writes them for defaults), callbacks in one form.

    One null is no default: with ``check_val_every_n_epoch: null`` the batches of ``val_check_interval`` are counted
    across epochs.
    """
    callbacks = value.get("callbacks") if isinstance(value, Mapping) else None
    if callbacks is not None:
        listed = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
        value = {**value, "callbacks": [ClassSpec.model_validate(callback).model_dump() for callback in listed]}  # type: ignore[dict-item]
    return {name: item for name, item in plain_mapping(value).items() if item is not None or name == _ACROSS}


def _plain_section(name: str, section: object) -> object:
    """Return a section with plain numbers, unless its values are those of a user's class, whose types matter."""
    if isinstance(section, Mapping) and name == "trainer":
        times = {key: {"seconds": item.total_seconds()} for key, item in section.items() if isinstance(item, timedelta)}
        return plain_numbers({**section, **times})
    return plain_numbers(section) if name in ("budget", "progress", "repeats", "finalists", "seed") else section


def _with_limit(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections with a limit for the Trainer: a function or a script has its own, a model the default."""
    if names_code(sections):
        return {"model": None, "trainer": {}, "recovery": {"stalled_after": None}, **sections}
    trainer = sections.get("trainer", {})
    if not isinstance(trainer, Mapping) or any(trainer.get(name) is not None for name in LIMITS.values()):
        return dict(sections)
    return {**sections, "trainer": {**trainer, "max_epochs": DEFAULT_EPOCHS}}


class SweepSpec(Part):
    """A sweep as it was written, with defaults. Equal specs describe the same sweep.

    Example:
        ```python
        spec = orchestrator.load_spec("sweep.yaml")
        print(spec.name, spec.budget.trials)
        ```
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)

    name: Slug = Field(description="Name of the sweep and of its run directory; the file's name by default.",
                       examples=["cifar10"])  # fmt: skip
    seed: int = Field(default=0, ge=0, lt=2**32, description="Fixes every random choice of the sweep.", examples=[7])
    objective: Objective = Field(
        description="What trials are judged by.", examples=[{"metric": "val_acc", "mode": "max"}]
    )
    constraints: list[Constraint] = Field(
        default_factory=list, description="Bounds on other metrics; an epoch that breaks one does not count.",
        examples=[[{"metric": "val_loss", "max": 0.7}]],
    )  # fmt: skip
    model: ModelSpec = Field(description="The LightningModule.", examples=["orchestrator.models.LitModel"])
    data: Annotated[ClassSpec | None, BeforeValidator(data_section)] = Field(
        default=None,
        description="The LightningDataModule; or DataLoaders or Datasets: {train: …, val: …, batch_size: 32}.",
        examples=["orchestrator.data.DigitsDataModule"],
    )
    optimizer: ClassSpec | None = Field(
        default=None,
        description="The optimizer, for a module without configure_optimizers, as in LightningCLI.",
        examples=[{"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}}],
    )
    lr_scheduler: ClassSpec | None = Field(
        default=None,
        description="The optimizer's learning rate scheduler, as in LightningCLI.",
        examples=[{"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 10}}],
    )
    objects: dict[str, ClassSpec] = Field(
        default_factory=dict,
        description="Objects that are built once, and that model and data refer to as ${objects.NAME}.",
        examples=[{"dataset": {"class_path": "my_project.data.make_dataset"}}],
    )
    train: Function | None = Field(
        default=None,
        description="Instead of a model: the import path of a function that trains. It gets the parameters as "
        "arguments, and reports by orchestrator.report(), a Lightning Trainer, or what it returns.",
        examples=["my_project.train:main"],
    )
    program: Program | None = Field(
        default=None,
        description="Instead of a model: a script that trains. It gets the parameters on its command line.",
        examples=["train.py"],
    )
    command: Command | None = Field(
        default=None,
        description="How the script is started, as in a W&B sweep file; by default [${env}, ${interpreter}, "
        "${program}, ${args}].",
        examples=[["${interpreter}", "${program}", "--no_gpu", "${args}"]],
    )
    args: PlainArguments = Field(
        default_factory=dict,
        description="Arguments of the function or the script that are not searched.",
        examples=[{"epochs": 9}],
    )
    trainer: Annotated[dict[str, Any], BeforeValidator(_trainer), WithJsonSchema(TRAINER_SCHEMA)] = Field(
        default_factory=lambda: {"max_epochs": DEFAULT_EPOCHS},
        description="Any argument of lightning.Trainer. Without max_epochs, max_steps or max_time, a trial has "
        f"{DEFAULT_EPOCHS} epochs. For a function or a script: arguments to override in the Trainer that it makes.",
        examples=[{"max_epochs": 30, "precision": "auto"}],
    )
    progress: BareProgress = Field(
        default_factory=Progress,
        description="What progress is measured in: rungs, budgets, curves and tables.",
        examples=[{"unit": "steps", "every": 500}],
    )
    space: Annotated[
        Space, BeforeValidator(_space), PlainSerializer(lambda space: space.to_yaml()), WithJsonSchema(SPACE_SCHEMA)
    ] = Field(
        default_factory=Space,
        description="What is searched: parameter names, which start with model., data. or trainer., and their domains.",
        examples=[{"model.learning_rate": {"log_uniform": [0.0001, 0.01]}}],
    )
    searcher: AnySearcher = Field(
        default_factory=lambda: options_class("searchers", "density_ratio").model_validate({}),
        description="Who proposes parameters.",
        examples=[{"name": "density_ratio"}],
    )
    scheduler: AnyScheduler = Field(
        default_factory=lambda: options_class("schedulers", "guarded_asha").model_validate({}),
        description="Who stops trials early, or sets them aside.",
        examples=[{"name": "guarded_asha"}],
    )  # fmt: skip
    budget: Budget = Field(
        default_factory=lambda: Budget(trials=DEFAULT_TRIALS), description="How much may be spent.",
        examples=[{"trials": 64, "wall_clock": "4h"}],
    )  # fmt: skip
    repeats: BareRepeats = Field(
        default_factory=Repeats,
        description="Under how many seeds each configuration is tried.",
        examples=[{"seeds": 3}],
    )
    finalists: BareFinalists | None = Field(
        default=None,
        description="How the best are confirmed once the search has ended; without it, `sweep confirm` does so.",
        examples=[{"top": 3}],
    )
    resources: Resources = Field(
        default_factory=lambda: Resources.model_validate("auto"),
        description="What one trial gets; auto, the default, fits trials to the cores and GPUs that are there. So does "
        "a mapping without cpus, gpus and tpu.",
        examples=["auto", {"cpus": 4, "gpus": 1}],
    )
    checkpoints: Checkpoints = Field(
        default_factory=Checkpoints,
        description="How often checkpoints are saved, and which stay.",
        examples=[{"every": "auto", "keep_top": 10, "quota": "20GB"}],
    )
    recovery: Recovery = Field(
        default_factory=Recovery, description="What is done about trials that get stuck.",
        examples=[{"stalled_after": "1h"}],
    )  # fmt: skip
    share: Literal["group"] | None = Field(
        default=None,
        description="Who may open the run directory: you alone, or with group every member of its group, who may also "
        "steer, resume and change the run.",
        examples=["group"],
    )
    tracking: Tracking = Field(
        default_factory=Tracking, description="Where else metrics go.", examples=[{"wandb": {"project": "cifar10"}}]
    )
    notify: list[Notification] = Field(
        default_factory=list,
        description="Where to report that the sweep has finished, failed or paused, or has a new best trial.",
        examples=[[{"webhook": "$SLACK_WEBHOOK"}]],
    )

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out sections that earlier versions did not have, unless they say something."""
        values: dict[str, Any] = handler(self)
        return {key: item for key, item in values.items() if item or key not in _LATER}

    _document: Document = PrivateAttr(default_factory=Document)

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: object) -> object:
        """Remove empty sections, and add the defaults for progress, for several objectives and for the budget.

        The budget is 20 configurations unless a grid or another budget bounds the sweep.
        """
        if not isinstance(value, Mapping):
            return value
        sections = with_unit({key: _plain_section(key, part) for key, part in value.items() if part is not None})
        sections = _with_limit(sections)
        if has_several(sections.get("objective")):
            sections = {**FOR_SEVERAL, **sections}
        budget, searcher = sections.get("budget", {}), plugin_written("searchers", sections.get("searcher"))
        sections = {**searcher.spec_defaults, **sections} if searcher else sections
        written = budget.model_dump() if isinstance(budget, Budget) else budget
        if (searcher and searcher.ends_by_itself) or not isinstance(written, Mapping):
            return {**sections, "budget": written}
        limits = {key: value for key, value in written.items() if value is not None}
        bounded = limits.keys() - UNBOUNDED
        trials = DEFAULT_TRIALS * seeds_written(sections.get("repeats"))
        return {**sections, "budget": limits if bounded else {**limits, "trials": trials}}

    @model_validator(mode="after")
    def _parts_agree(self) -> SweepSpec:
        self.__dict__["progress"] = plain_progress(self.progress)
        self.__dict__["checkpoints"] = plain_interval(self.checkpoints, self.progress.unit)
        self.__dict__["scheduler"] = plain_options(self.scheduler, self)
        problems = [] if self.is_code else list(parameter_problems(self.space, self._sections()))
        problems += code_problems(self)
        problems += objective_problems(self)
        problems += budget_problems(self.budget, self.resources)
        problems += resource_problems(self)
        problems += point_problems(self.space, getattr(self.searcher, "try_first", []), "try_first")
        problems += plugin_of(self.searcher).problems(self.searcher, self)
        problems += plugin_of(self.scheduler).problems(self.scheduler, self)
        problems += self._repeat_problems()
        problems = problems or list(placement_problems(self))
        if problems:
            raise SpecError(problems)
        return self

    def _sections(self) -> set[str]:
        """Return the sections that a parameter can be set in."""
        return {name for name in ROOTS if getattr(self, name)}

    def _repeat_problems(self) -> list[Problem]:
        trials, seeds = self.budget.trials, self.repeats.seeds
        if trials is None or trials % seeds == 0:
            return []
        message = f"each configuration is tried under {seeds} seeds, and {trials} trials are no whole number of them"
        near = sorted({max(seeds, trials - trials % seeds), trials - trials % seeds + seeds})
        return [Problem(message, f"use {' or '.join(map(str, near))} trials", ("budget", "trials"))]

    @property
    def is_code(self) -> bool:
        """Whether a function or a script trains, instead of a Trainer of the sweep's with a ``model``."""
        return bool(self.train or self.program or self.command)

    @property
    def horizon(self) -> float | None:
        """Where every trial ends, in the unit of ``progress``; None if that is not known, or differs among trials."""
        if self.progress.until is not None:
            return self.progress.until
        if f"trainer.{LIMITS.get(self.progress.unit)}" in self.space:
            return None
        return trainer_limit(self.trainer, self.progress.unit)

    @property
    def longest(self) -> float | None:
        """Where the longest trial ends: as `horizon`, and the most if the Trainer's limit is a parameter."""
        limit = LIMITS.get(self.progress.unit, "")
        if self.progress.until is not None or f"trainer.{limit}" not in self.space:
            return self.horizon
        ends = (trainer_limit({limit: value}, self.progress.unit) for value in self.space[f"trainer.{limit}"].probes())
        return max((end for end in ends if end is not None), default=None)

    @property
    def report_span(self) -> float | None:
        """The most progress between two reports; None if it is not known before the training."""
        return report_span(self.trainer, self.progress)

    def locate(self, path: Path, *, key: bool = False) -> dict[str, Any]:
        """Return where ``path`` was written, as fields of a Problem; empty for a spec from Python.

        With ``key``, the position of the key rather than of its value.
        """
        return self._document.locate(path, key=key)

    @property
    def file(self) -> str:
        """The sweep file's path as it was given to ``load``; empty for a spec from Python."""
        return self._document.file
