"""The sweep file: read with positions, checked, and held as one frozen ``SweepSpec``."""

from __future__ import annotations

from orchestrator.space import KeyProblem
from orchestrator.spec.constraints import Constraint
from orchestrator.spec.finalists import Finalists, finalists
from orchestrator.spec.importers import import_file
from orchestrator.spec.json_schema import json_schema
from orchestrator.spec.notify import OCCASIONS, Notification, Occasion
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
from orchestrator.spec.repeats import Repeats
from orchestrator.spec.scheduler_checks import mutable
from orchestrator.spec.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    FrontierScheduler,
    HyperbandScheduler,
    MedianScheduler,
    PatienceScheduler,
    PB2Scheduler,
    PBTScheduler,
    RayTuneScheduler,
    Scheduler,
)
from orchestrator.spec.searchers import (
    BOHBSearcher,
    CMAESSearcher,
    GPSearcher,
    GridSearcher,
    NSGASearcher,
    ParzenSearcher,
    RaceSearcher,
    RandomSearcher,
    SamplerSearcher,
    Searcher,
    SobolSearcher,
    TPESearcher,
)
from orchestrator.spec.sweep_file import dump, from_mapping, load, shipped, to_yaml
from orchestrator.spec.sweep_spec import DEFAULT_EPOCHS, DEFAULT_TRIALS, SweepSpec
from orchestrator.spec.trackers import MlflowTracking, TensorboardTracking, Tracking, WandbTracking

__all__ = [
    "DEFAULT_EPOCHS",
    "DEFAULT_TRIALS",
    "OCCASIONS",
    "ASHAScheduler",
    "BOHBSearcher",
    "Budget",
    "CMAESSearcher",
    "Checkpoints",
    "ClassSpec",
    "Constraint",
    "FIFOScheduler",
    "Finalists",
    "FrontierScheduler",
    "GPSearcher",
    "GridSearcher",
    "HyperbandScheduler",
    "KeyProblem",
    "MedianScheduler",
    "MlflowTracking",
    "NSGASearcher",
    "Notification",
    "Objective",
    "Occasion",
    "PB2Scheduler",
    "PBTScheduler",
    "Part",
    "ParzenSearcher",
    "PatienceScheduler",
    "RaceSearcher",
    "RandomSearcher",
    "RayTuneScheduler",
    "Recovery",
    "Repeats",
    "Resources",
    "SamplerSearcher",
    "Scheduler",
    "Searcher",
    "SobolSearcher",
    "SweepSpec",
    "TPESearcher",
    "TensorboardTracking",
    "Tracking",
    "WandbTracking",
    "apply",
    "canonical",
    "dump",
    "finalists",
    "from_mapping",
    "import_file",
    "json_schema",
    "load",
    "mutable",
    "shipped",
    "to_yaml",
]
