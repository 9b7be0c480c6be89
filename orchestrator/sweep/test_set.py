"""The sealed test set: looked at once, for the winner, and every look on record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.journal import Journal, plain
from orchestrator.results.run_state import find
from orchestrator.results.winner import Winner, winner
from orchestrator.rundir import RunDirectory
from orchestrator.seeds import trial_seed
from orchestrator.spec import SweepSpec, apply
from orchestrator.state import SweepState
from orchestrator.sweep.preflight import import_from


@dataclass(frozen=True)
class Look:
    """What was seen at the ``number``-th look, from 1; ``before`` are the earlier ones, as the state holds them."""

    number: int
    metrics: dict[str, float]
    of: Winner
    before: list[dict[str, Any]]

    @property
    def written(self) -> dict[str, float | str]:
        """The metrics as JSON has them."""
        return plain(self.metrics)


def look(name: str, runs: str | Path | None = None, *, trial: int | None = None, unconfirmed: bool = False) -> Look:
    """Evaluate the confirmed winner's checkpoint on the test set, and write that down, before the look and after it.

    ``trial`` takes another one, of the search. One that no finals have confirmed needs ``unconfirmed``.

    Raises UsageError where the winner is not confirmed, the checkpoint is gone or there is nothing to test with, all of
    that before the test set is touched; RunHeldError while the sweep runs; CheckpointError for a damaged checkpoint.
    """
    from orchestrator.training.checkpoints import verify
    from orchestrator.training.evaluation import Evaluation
    from orchestrator.training.job import Checkpoint

    run = find(name, runs)
    journal = Journal.open(run.journal)
    try:
        state = SweepState(journal.events())
        won = winner(run, state, trial)
        _check_sealed(run, state, won, unconfirmed=unconfirmed)
        import_from(state.created.get("roots", []), run)
        held = won.checkpoint
        if won.run.url:
            won.run.fetch(held.path)
        path = verify(won.run.root, Checkpoint(held.path, held.size, held.sha256, held.epoch))
        spec = SweepSpec.model_validate(won.state.spec)
        model, data, trainer = apply(spec, won.trial.params_at(won.best.epoch))
        seed = trial_seed(spec.seed, won.trial.number)
        evaluation = Evaluation("test", model.model_dump(), data.model_dump() if data else None, trainer, seed)
        before, number = list(state.test_evaluations), len(state.test_evaluations) + 1
        of = {"run": won.run.name, "trial": won.trial.number, "epoch": won.best.epoch, "confirmed": won.confirmed}
        journal.append("test.begun", look=number, of=of)
        metrics = evaluation.run(path)
        seen = Look(number, metrics, won, before)
        journal.append("winner.tested", look=number, metrics=seen.written)
    finally:
        journal.close()
    return seen


def _check_sealed(run: RunDirectory, state: SweepState, won: Winner, *, unconfirmed: bool) -> None:
    if won.confirmed or unconfirmed:
        return
    raise UsageError(
        f"the test set is sealed until a winner is confirmed, and {won.title} of {run.name!r} is not",
        hint=f"sweep confirm {run.name}, or look all the same: --unconfirmed",
    )
