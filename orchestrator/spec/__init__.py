"""The sweep file: read with positions, checked, and represented by one frozen ``SweepSpec``."""

from __future__ import annotations

from orchestrator.space import KeyProblem
from orchestrator.spec.importers import import_file
from orchestrator.spec.json_schema import json_schema
from orchestrator.spec.objectives import Constraint
from orchestrator.spec.parameters import apply, canonical
from orchestrator.spec.parts import (
    Budget,
    Checkpoints,
    ClassSpec,
    Objective,
    Part,
    Recovery,
    Resources,
)
from orchestrator.spec.plugin_sections import OCCASIONS, Notification, Occasion, Tracking
from orchestrator.spec.policy_options import (
    PolicyOptions,
    SchedulerOptions,
    SearcherOptions,
    TryFirstOptions,
    options_class,
    plugin_of,
)
from orchestrator.spec.progress_section import Progress
from orchestrator.spec.recorded_spec import spec_of_record
from orchestrator.spec.repeats import Finalists, Repeats, finalists
from orchestrator.spec.sweep_file import from_mapping, load, shipped, to_yaml
from orchestrator.spec.sweep_spec import DEFAULT_EPOCHS, DEFAULT_TRIALS, SweepSpec
from orchestrator.spec.yaml_text import dump

__all__ = [
    "DEFAULT_EPOCHS",
    "DEFAULT_TRIALS",
    "OCCASIONS",
    "Budget",
    "Checkpoints",
    "ClassSpec",
    "Constraint",
    "Finalists",
    "KeyProblem",
    "Notification",
    "Objective",
    "Occasion",
    "Part",
    "PolicyOptions",
    "Progress",
    "Recovery",
    "Repeats",
    "Resources",
    "SchedulerOptions",
    "SearcherOptions",
    "SweepSpec",
    "Tracking",
    "TryFirstOptions",
    "apply",
    "canonical",
    "dump",
    "finalists",
    "from_mapping",
    "import_file",
    "json_schema",
    "load",
    "options_class",
    "plugin_of",
    "shipped",
    "spec_of_record",
    "to_yaml",
]
