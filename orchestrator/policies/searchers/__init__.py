"""Searchers: which parameters the next trial gets."""

from __future__ import annotations

from typing import Any

from orchestrator.policies.searchers.base import Searcher
from orchestrator.policies.searchers.independent import Grid, Random, Sobol
from orchestrator.policies.searchers.repeated import Repeated
from orchestrator.policies.searchers.try_first import TryFirst
from orchestrator.spec import NSGASearcher, RaceSearcher, SamplerSearcher, SweepSpec
from orchestrator.state import Objective

__all__ = ["Grid", "Random", "Repeated", "Searcher", "Sobol", "TryFirst", "build_searcher", "foreign"]


def build_searcher(spec: SweepSpec) -> Searcher:
    """The spec's searcher, with nothing observed yet. A class that the spec names is imported when it is first asked.

    See `foreign` for a spec that is read back from a run directory.
    """
    searcher = _build(spec)
    points = getattr(spec.searcher, "try_first", [])
    searcher = TryFirst(points, searcher, spec.space, spec.seed) if points else searcher
    return Repeated(searcher, spec.repeats, _objective(spec)) if spec.repeats.seeds > 1 else searcher


def foreign(spec: SweepSpec) -> str:
    """The searcher's class path, if to ask it is to import what does not come with Optuna; else empty."""
    if not isinstance(spec.searcher, SamplerSearcher):
        return ""
    from orchestrator.policies.searchers.optuna_sampler import is_optunas

    return "" if is_optunas(spec.searcher.model_dump()) else spec.searcher.class_path


def _build(spec: SweepSpec) -> Searcher:
    name, space, seed = spec.searcher.name, spec.space, spec.seed
    if name == "grid":
        return Grid(space)
    if name == "random":
        return Random(space, seed)
    if name == "sobol":
        return Sobol(space, seed)
    if isinstance(spec.searcher, RaceSearcher):
        return _race(spec, spec.searcher)
    options = spec.searcher.model_dump(exclude={"name", "try_first"})
    objective = _objective(spec)
    if spec.repeats.seeds > 1:  # it is told of whole configurations, which have kept to the constraints
        objective = Objective(objective.metric, objective.mode)
    if isinstance(spec.searcher, NSGASearcher):
        options["name"] = name
    made: Searcher = _learner(name)(space, seed, objective, **options)
    return made


def _race(spec: SweepSpec, options: RaceSearcher) -> Searcher:
    from orchestrator.policies.searchers.race import Race

    spares = [(spare.point, spare.behind) for spare in options.spares]
    points, confidence = options.points, options.confidence
    return Race(spec.space, _objective(spec), points=points, spares=spares, confidence=confidence)


def _objective(spec: SweepSpec) -> Objective:
    return Objective.from_spec(spec.model_dump(include={"objective", "constraints"}))


def _learner(name: str) -> Any:
    """The class of a searcher that looks at results; its file loads NumPy, SciPy or Optuna only then."""
    if name == "parzen":
        from orchestrator.policies.searchers.parzen import FactoredParzen

        return FactoredParzen
    if name == "tpe":
        from orchestrator.policies.searchers.tpe import TPE

        return TPE
    if name == "bohb":
        from orchestrator.policies.searchers.bohb import BOHB

        return BOHB
    if name == "gp":
        from orchestrator.policies.searchers.gp import GP

        return GP
    if name == "cmaes":
        from orchestrator.policies.searchers.cmaes import CMAES

        return CMAES
    if name in ("nsga2", "nsga3"):
        from orchestrator.policies.searchers.nsga import NSGA

        return NSGA
    from orchestrator.policies.searchers.optuna_sampler import Sampler

    return Sampler
