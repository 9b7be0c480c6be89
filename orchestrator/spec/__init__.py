"""The sweep file: read with positions, checked, and held as one frozen ``SweepSpec``."""

from __future__ import annotations

from orchestrator.space import KeyProblem
from orchestrator.spec.files import dump, from_mapping, load, shipped, to_yaml
from orchestrator.spec.importers import import_file
from orchestrator.spec.model import DEFAULT_EPOCHS, DEFAULT_TRIALS, SweepSpec
from orchestrator.spec.parameters import apply, canonical
from orchestrator.spec.parts import (
    Budget,
    Checkpoints,
    ClassSpec,
    Objective,
    Part,
    Recovery,
    Resources,
    Tracking,
    WandbTracking,
)
from orchestrator.spec.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    FrontierScheduler,
    Scheduler,
)
from orchestrator.spec.schema import json_schema
from orchestrator.spec.searchers import (
    CMAESSearcher,
    GPSearcher,
    GridSearcher,
    ParzenSearcher,
    RandomSearcher,
    SamplerSearcher,
    Searcher,
    SobolSearcher,
    TPESearcher,
)

__all__ = [
    "DEFAULT_EPOCHS",
    "DEFAULT_TRIALS",
    "ASHAScheduler",
    "Budget",
    "CMAESSearcher",
    "Checkpoints",
    "ClassSpec",
    "FIFOScheduler",
    "FrontierScheduler",
    "GPSearcher",
    "GridSearcher",
    "KeyProblem",
    "Objective",
    "Part",
    "ParzenSearcher",
    "RandomSearcher",
    "Recovery",
    "Resources",
    "SamplerSearcher",
    "Scheduler",
    "Searcher",
    "SobolSearcher",
    "SweepSpec",
    "TPESearcher",
    "Tracking",
    "WandbTracking",
    "apply",
    "canonical",
    "dump",
    "from_mapping",
    "import_file",
    "json_schema",
    "load",
    "shipped",
    "to_yaml",
]
