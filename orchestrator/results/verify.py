"""Check a run: re-derive every suggestion and decision from its journal, and hash every checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.durable_files import check_file
from orchestrator.errors import CheckpointError, JournalError, SpecError, UsageError
from orchestrator.journal import Event, read
from orchestrator.policies.finals import confirmation
from orchestrator.policies.numerics import numerics
from orchestrator.progress import place
from orchestrator.results.journal_replay import JournalReplay
from orchestrator.results.nearly_equal import nearly_equal
from orchestrator.results.run_state import has_begun
from orchestrator.results.winner import finals_of
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec, spec_of_record
from orchestrator.state import SweepState, recorded_spec


@dataclass
class Findings:
    """The result of a check. ``violations`` holds one sentence each, and is empty for a sound run.

    ``decisions`` counts the verdicts that were re-derived, ``bytes`` the size of the checkpoints that were read, and
    ``notes`` say what could not be checked.

    Example:
        ```python
        findings = Sweep.attach("quickstart").verify()
        print(findings.records, findings.violations)
        ```
    """

    records: int = 0
    suggestions: int = 0
    decisions: int = 0
    checkpoints: int = 0
    bytes: int = 0
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(run: RunDirectory) -> Findings:
    """Read the journal and every checkpoint it lists; no process may be writing the run meanwhile.

    Raises:
        JournalError: If the journal is damaged.
    """
    findings, replay = Findings(), None
    for event in read(run.journal):
        if replay is None:
            try:
                replay = JournalReplay(spec_of_record(recorded_spec(event["spec"]), event.seq))
            except (KeyError, JournalError, SpecError) as error:
                findings.violations.append(f"record 0 ({event.type}) holds no spec that can be read: {error}")
                return findings
        replay.take(event)
    if replay is None:
        findings.violations.append("the journal holds no record")
        return findings
    findings.records, findings.suggestions, findings.decisions = replay.records, replay.suggestions, replay.decisions
    findings.violations += replay.violations
    findings.notes += [*replay.not_derived, *_other_numerics(replay)]
    for subject, class_path, library in (
        ("suggestions", replay.foreign_searcher, "Optuna"),
        ("decisions", replay.foreign_scheduler, "Ray"),
    ):
        if class_path:
            text = f"{subject} were not re-derived: {class_path} is not part of {library}"
            findings.notes.append(f"{text}, and a class that a run directory names is never imported")
    findings.violations += missing_winner(replay.state)
    _check_files(run, replay.state, findings)
    _check_confirmation(run, replay.state, findings)
    return findings


def replay(spec: SweepSpec, events: Iterable[Event]) -> list[str]:
    """Return a sentence for each event that does not follow from the events before it; each names ``seq``."""
    replay = JournalReplay(spec)
    for event in events:
        replay.take(event)
    return replay.violations


def missing_winner(state: SweepState) -> list[str]:
    """Return a sentence if the winner has lost the checkpoint of its best report, so that it cannot be exported."""
    winner = state.winner()
    best = state.objective.best(winner) if winner else None
    if winner is None or best is None or best.progress in winner.checkpoints or not winner.checkpointed:
        return []
    at = place(best.progress, state.unit)
    return [f"trial {winner.number} wins by its report at {at}, but the checkpoint of that report was not kept"]


def _other_numerics(replay: JournalReplay) -> list[str]:
    if not replay.other_numerics:
        return []
    count, first = len(replay.other_numerics), replay.other_numerics[0]
    here = ", ".join(f"{name} {value}" for name, value in numerics().items())
    return [f"other numerics: {count} decisions differ from what this machine computes ({here}); first {first}"]


def _check_files(run: RunDirectory, state: SweepState, findings: Findings) -> None:
    for trial in state.trials.values():
        for held in trial.files:
            try:
                check_file(run.fetch(held.path), held.size, held.sha256)
            except (CheckpointError, UsageError, OSError) as error:
                at = place(held.progress, state.unit)
                findings.violations.append(f"trial {trial.number}, {at}: {str(error).splitlines()[0]}")
            else:
                findings.bytes += held.size
            findings.checkpoints += 1


def _check_confirmation(run: RunDirectory, state: SweepState, findings: Findings) -> None:
    """Compare the recorded confirmation with the one that the finals' own journal gives."""
    if state.confirmation is None:
        return
    finals = finals_of(run, state)
    if not has_begun(finals):
        findings.notes.append(f"the confirmation was not re-derived: {finals.root} was deleted")
        return
    events = (event for event in read(finals.journal) if event.seq <= state.confirmation["journal"])
    derived = {**confirmation(state, SweepState(events)), "folder": finals.name}
    findings.decisions += 1
    if not nearly_equal(derived, state.confirmation):
        findings.violations.append(f"winner.confirmed holds {state.confirmation}, but the finals yield {derived}")
