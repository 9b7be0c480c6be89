"""Continue a run that the command line has launched: extend it, confirm its winner, export it.

Run ``sweep launch quickstart`` first, then ``python after_the_search.py quickstart``.
"""

from __future__ import annotations

import sys

from orchestrator import ASHA, TPE, Callback, Sweep, SweepError, TrialInfo


class PrintEnds(Callback):
    """Print each trial that ends."""

    def on_trial_end(self, trial: TrialInfo) -> None:
        """Print its number, its status and its value."""
        print(f"trial {trial.number}: {trial.status}, {trial.value}")


def main(name: str) -> None:
    """Resume, extend, confirm and export the run of that name."""
    sweep = Sweep.attach(name)
    print(sweep.status().status, sweep.status().trials)
    callbacks = [PrintEnds()]
    sweep.resume(local=True, callbacks=callbacks)
    sweep.extend(trials=1, local=True, callbacks=callbacks)
    results = sweep.confirm(top=1, trials=3, local=True)
    best = results.best()
    print(best.trial, best.value, best.confirmed)
    findings = sweep.verify()
    if findings.violations:
        raise SweepError("\n".join(findings.violations))
    print(*sweep.why(best.trial), sep="\n")
    print(sweep.export("bundle"))


def options() -> tuple[TPE, ASHA]:
    """Return options as typed objects: a wrong field or type is an error of mypy."""
    return TPE(startup_trials=20), ASHA(grace=3)


if __name__ == "__main__":
    main(sys.argv[1])
