"""Hyperparameter sweeps for PyTorch Lightning: launch, scale, export the best checkpoint.

    from orchestrator import Sweep, log_uniform
    Sweep(model=MyModel, data=MyData, space={"model.learning_rate": log_uniform(1e-4, 1e-2)},
          objective=("val_loss", "min")).launch()

``dir(orchestrator)`` lists the public names, which docs/python.md describes. A name is imported on first use, so
importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from orchestrator import results
    from orchestrator.bundle import Bundle, load_bundle
    from orchestrator.errors import (
        CheckpointError,
        ClusterLostError,
        CodecError,
        DataError,
        JournalError,
        JournalVersionError,
        ObjectiveError,
        ObjectStoreError,
        Problem,
        ProgressError,
        RunHeldError,
        RunStartingError,
        SpecError,
        StoppedError,
        SuggestionError,
        SweepError,
        UntrustedRunError,
        UsageError,
    )
    from orchestrator.export.parity import ParityError
    from orchestrator.extras import MissingExtraError
    from orchestrator.plan import Costs, Plan
    from orchestrator.policies import Scheduler, Searcher, Suggestion, Verdict
    from orchestrator.policies.schedulers.asha import ASHA
    from orchestrator.policies.schedulers.fifo import FIFO
    from orchestrator.policies.schedulers.frontier import Frontier
    from orchestrator.policies.schedulers.guarded_asha import GuardedASHA
    from orchestrator.policies.schedulers.hyperband import Hyperband
    from orchestrator.policies.schedulers.median import Median
    from orchestrator.policies.schedulers.patience import Patience
    from orchestrator.policies.schedulers.pb2 import PB2
    from orchestrator.policies.schedulers.pbt import PBT
    from orchestrator.policies.schedulers.ray import RayTune
    from orchestrator.policies.searchers.bohb import BOHB
    from orchestrator.policies.searchers.cmaes import CMAES
    from orchestrator.policies.searchers.density_ratio import DensityRatio
    from orchestrator.policies.searchers.gp import GP
    from orchestrator.policies.searchers.grid import Grid
    from orchestrator.policies.searchers.nsga2 import NSGA2
    from orchestrator.policies.searchers.nsga3 import NSGA3
    from orchestrator.policies.searchers.parzen import Parzen
    from orchestrator.policies.searchers.race import Race
    from orchestrator.policies.searchers.random import Random
    from orchestrator.policies.searchers.sampler import OptunaSampler
    from orchestrator.policies.searchers.sobol import Sobol
    from orchestrator.policies.searchers.tpe import TPE
    from orchestrator.results import BestTrial, Results, load_results
    from orchestrator.results.plot import Plot
    from orchestrator.results.run_overview import RunSummary, list_runs
    from orchestrator.results.status import SweepStatus
    from orchestrator.results.transfer import Transfer, transfer
    from orchestrator.results.verify import Findings
    from orchestrator.rundir.disk_use import DiskUse
    from orchestrator.rundir.labels import Labels
    from orchestrator.space import choice, const, integer, log_int, log_normal, log_uniform, normal, uniform
    from orchestrator.spec import Finalists, SchedulerOptions, SearcherOptions, SweepSpec
    from orchestrator.spec import load as load_spec
    from orchestrator.spec.parts import Budget, Checkpoints, Objective, Recovery, Resources
    from orchestrator.spec.progress_section import Progress
    from orchestrator.sweep import Callback, Sweep, TrialInfo, WinnerTest
    from orchestrator.sweep.run_files import Freed
    from orchestrator.training.doors.trial_session import checkpoint, report, restore

# The modules that define the public names.
_NAMES = {
    "orchestrator.bundle": ("Bundle", "load_bundle"),
    "orchestrator.errors": (
        "CheckpointError",
        "ClusterLostError",
        "CodecError",
        "DataError",
        "JournalError",
        "JournalVersionError",
        "ObjectStoreError",
        "ObjectiveError",
        "Problem",
        "ProgressError",
        "RunHeldError",
        "RunStartingError",
        "SpecError",
        "StoppedError",
        "SuggestionError",
        "SweepError",
        "UntrustedRunError",
        "UsageError",
    ),
    "orchestrator.export.parity": ("ParityError",),
    "orchestrator.extras": ("MissingExtraError",),
    "orchestrator.plan": ("Costs", "Plan"),
    "orchestrator.policies": ("Scheduler", "Searcher", "Suggestion", "Verdict"),
    "orchestrator.policies.schedulers.asha": ("ASHA",),
    "orchestrator.policies.schedulers.fifo": ("FIFO",),
    "orchestrator.policies.schedulers.frontier": ("Frontier",),
    "orchestrator.policies.schedulers.guarded_asha": ("GuardedASHA",),
    "orchestrator.policies.schedulers.hyperband": ("Hyperband",),
    "orchestrator.policies.schedulers.median": ("Median",),
    "orchestrator.policies.schedulers.patience": ("Patience",),
    "orchestrator.policies.schedulers.pb2": ("PB2",),
    "orchestrator.policies.schedulers.pbt": ("PBT",),
    "orchestrator.policies.schedulers.ray": ("RayTune",),
    "orchestrator.policies.searchers.bohb": ("BOHB",),
    "orchestrator.policies.searchers.cmaes": ("CMAES",),
    "orchestrator.policies.searchers.density_ratio": ("DensityRatio",),
    "orchestrator.policies.searchers.gp": ("GP",),
    "orchestrator.policies.searchers.grid": ("Grid",),
    "orchestrator.policies.searchers.nsga2": ("NSGA2",),
    "orchestrator.policies.searchers.nsga3": ("NSGA3",),
    "orchestrator.policies.searchers.parzen": ("Parzen",),
    "orchestrator.policies.searchers.race": ("Race",),
    "orchestrator.policies.searchers.random": ("Random",),
    "orchestrator.policies.searchers.sampler": ("OptunaSampler",),
    "orchestrator.policies.searchers.sobol": ("Sobol",),
    "orchestrator.policies.searchers.tpe": ("TPE",),
    "orchestrator.results": ("BestTrial", "Results", "load_results"),
    "orchestrator.results.plot": ("Plot",),
    "orchestrator.results.run_overview": ("RunSummary", "list_runs"),
    "orchestrator.results.status": ("SweepStatus",),
    "orchestrator.results.transfer": ("Transfer", "transfer"),
    "orchestrator.results.verify": ("Findings",),
    "orchestrator.rundir.disk_use": ("DiskUse",),
    "orchestrator.rundir.labels": ("Labels",),
    "orchestrator.space": ("choice", "const", "integer", "log_int", "log_normal", "log_uniform", "normal", "uniform"),
    "orchestrator.spec": ("Finalists", "SchedulerOptions", "SearcherOptions", "SweepSpec"),
    "orchestrator.spec.parts": ("Budget", "Checkpoints", "Objective", "Recovery", "Resources"),
    "orchestrator.spec.progress_section": ("Progress",),
    "orchestrator.sweep": ("Callback", "Sweep", "TrialInfo", "WinnerTest"),
    "orchestrator.sweep.run_files": ("Freed",),
    "orchestrator.training.doors.trial_session": ("checkpoint", "report", "restore"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "ASHA",
    "BOHB",
    "CMAES",
    "FIFO",
    "GP",
    "NSGA2",
    "NSGA3",
    "PB2",
    "PBT",
    "TPE",
    "BestTrial",
    "Budget",
    "Bundle",
    "Callback",
    "CheckpointError",
    "Checkpoints",
    "ClusterLostError",
    "CodecError",
    "Costs",
    "DataError",
    "DensityRatio",
    "DiskUse",
    "Finalists",
    "Findings",
    "Freed",
    "Frontier",
    "Grid",
    "GuardedASHA",
    "Hyperband",
    "JournalError",
    "JournalVersionError",
    "Labels",
    "Median",
    "MissingExtraError",
    "ObjectStoreError",
    "Objective",
    "ObjectiveError",
    "OptunaSampler",
    "ParityError",
    "Parzen",
    "Patience",
    "Plan",
    "Plot",
    "Problem",
    "Progress",
    "ProgressError",
    "Race",
    "Random",
    "RayTune",
    "Recovery",
    "Resources",
    "Results",
    "RunHeldError",
    "RunStartingError",
    "RunSummary",
    "Scheduler",
    "SchedulerOptions",
    "Searcher",
    "SearcherOptions",
    "Sobol",
    "SpecError",
    "StoppedError",
    "Suggestion",
    "SuggestionError",
    "Sweep",
    "SweepError",
    "SweepSpec",
    "SweepStatus",
    "Transfer",
    "TrialInfo",
    "UntrustedRunError",
    "UsageError",
    "Verdict",
    "WinnerTest",
    "__version__",
    "checkpoint",
    "choice",
    "const",
    "integer",
    "list_runs",
    "load_bundle",
    "load_results",
    "load_spec",
    "log_int",
    "log_normal",
    "log_uniform",
    "normal",
    "report",
    "restore",
    "results",
    "transfer",
    "uniform",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from orchestrator.version import version

        return version()
    if name == "results":
        return import_module("orchestrator.results")
    if name == "load_spec":
        return import_module("orchestrator.spec").load
    if name not in _HOMES:
        raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
