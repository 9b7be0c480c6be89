"""One trial on the hosts of a slice without Ray: the same command on each of them."""

from __future__ import annotations

from pathlib import Path

from orchestrator.engine.controller import Observer
from orchestrator.errors import UsageError
from orchestrator.spec import SweepSpec
from orchestrator.sweep.lifecycle import Outcome, launch


def launch_alone(
    spec: SweepSpec, runs: str | Path | None = None, *, observer: Observer | None = None
) -> Outcome | None:
    """This host's part of the sweep's one trial: the first host runs the sweep, the others return None when it is over.

    Raises UsageError where there are more trials than one, or the host does not know its place in the slice.
    """
    from orchestrator.training import class_loading
    from orchestrator.xla import no_ray_launch

    if spec.budget.trials != 1:
        raise UsageError("without Ray there is one trial", hint="--set budget.trials=1")
    own = no_ray_launch.own_processes(spec)
    if own[0].host == 0:
        return launch(
            spec, runs, observer=observer, engine=lambda live, stop, roots: no_ray_launch.lead(live, stop, own, roots)
        )
    no_ray_launch.follow(spec, own, [str(Path(root).absolute()) for root in class_loading.import_roots(spec)])
    return None
