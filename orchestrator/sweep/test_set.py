"""The sealed test set: evaluated once, for the winner, and every evaluation on record."""

# ruff: noqa: PT028 (`test` is no test of pytest)

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.journal import Journal, plain
from orchestrator.results.run_state import find
from orchestrator.results.run_trust import trusted_roots
from orchestrator.results.winner import Winner, settings, winner
from orchestrator.rundir import RunDirectory
from orchestrator.seeds import trial_seed
from orchestrator.state import SweepState, spec_in_force
from orchestrator.training.class_loading.import_paths import import_from
from orchestrator.training.doors.folder_checkpoint import require_module


@dataclass(frozen=True)
class WinnerTest:
    """One evaluation on the test set.

    Args:
        number: of the evaluations of this sweep, from 1.
        metrics: name → value.
        winner: the trial and checkpoint that were evaluated.
        earlier: the evaluations before, as the state holds them.

    Example:
        ```python
        tested = Sweep.attach("quickstart").test(unconfirmed=True)
        print(tested.number, tested.metrics)
        ```
    """

    number: int
    metrics: dict[str, float]
    winner: Winner
    earlier: list[dict[str, Any]]

    @property
    def metrics_as_json(self) -> dict[str, float | str]:
        """The metrics with values that JSON can hold."""
        return plain(self.metrics)


def test(
    name: str,
    runs: str | Path | None = None,
    *,
    trial: int | None = None,
    unconfirmed: bool = False,
    trust: bool = False,
) -> WinnerTest:
    """Evaluate the confirmed winner's checkpoint on the test set; the journal records it before and after.

    Args:
        name: of the run.
        runs: the folder of runs, or a URL.
        trial: another trial of the search.
        unconfirmed: allow a trial that no finals have confirmed.
        trust: import what the run names, although somebody else wrote it.

    Raises:
        UsageError: The winner is not confirmed, its checkpoint is gone or there is no test set. The test set is
            untouched then.
        RunHeldError: The sweep is running.
        CheckpointError: The checkpoint is damaged.
    """
    from orchestrator.training.checkpoint_evaluation import Evaluation
    from orchestrator.training.checkpoints import verify
    from orchestrator.training.job import Checkpoint

    run = find(name, runs)
    journal = Journal.open(run.journal)
    try:
        state = SweepState(journal.events())
        tested = winner(run, state, trial)
        if not (tested.confirmed or unconfirmed):
            raise _sealed(run, tested)
        import_from(trusted_roots(run, state, trust=trust))
        import_from(trusted_roots(tested.run, tested.state, trust=trust))
        checkpoint = tested.checkpoint
        if tested.run.url:
            tested.run.fetch(checkpoint.path)
        path = verify(
            tested.run.root, Checkpoint(checkpoint.path, checkpoint.size, checkpoint.sha256, checkpoint.epoch)
        )
        spec = spec_in_force(tested.state)
        model, data, trainer = settings(tested)
        require_module(model, path, "test")
        seed = trial_seed(spec.seed, tested.trial.number)
        evaluation = Evaluation("test", model, data, trainer, seed)
        earlier, number = list(state.test_evaluations), len(state.test_evaluations) + 1
        of = {
            "run": tested.run.name,
            "trial": tested.trial.number,
            "epoch": tested.epoch,
            **tested.progress,
            "confirmed": tested.confirmed,
        }
        journal.append("test.begun", look=number, of=of)
        result = WinnerTest(number, evaluation.run(path), tested, earlier)
        journal.append("winner.tested", look=number, metrics=result.metrics_as_json)
    finally:
        journal.close()
    return result


def _sealed(run: RunDirectory, tested: Winner) -> UsageError:
    return UsageError(
        f"the test set is sealed until a winner is confirmed, and {tested.title} of {run.name!r} is not",
        hint=f"sweep confirm {run.name}, or test it unconfirmed: --unconfirmed",
    )
