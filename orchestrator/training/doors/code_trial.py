"""Try a function or a script before the start: to its second report, and on from its checkpoint."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, replace
from difflib import get_close_matches
from typing import Any

from orchestrator.errors import UsageError, describe
from orchestrator.training.check_finding import Finding
from orchestrator.training.doors.code_segment import macros
from orchestrator.training.doors.parser_probe import RefusedError, probing
from orchestrator.training.doors.script_run import invocation_of
from orchestrator.training.doors.trainer_takeover import OLD, TWICE
from orchestrator.training.doors.trial_session import TrialSession, current
from orchestrator.training.job import Job, Report

_SHORT = {
    "limit_train_batches": 1,
    "limit_val_batches": 1,
    "limit_test_batches": 1,
    "limit_predict_batches": 1,
    "val_check_interval": 1.0,
    "check_val_every_n_epoch": 1,
    "log_every_n_steps": 1,
    "precision": "32-true",
    "max_steps": -1,
    "max_time": None,
}
_USAGE_ERROR = 2  # the exit code of argparse, click and those that build on them
_CERTAIN = (AttributeError, ImportError, KeyError, NameError, TypeError)
"""Errors that do not come of training only a batch, or of what the check may not do."""
_OPTION = re.compile(r"--[\w.-]+")
_NO_CHECKPOINT = "the code saves no checkpoint: a trial that is interrupted or set aside starts again from nothing"


def two_reports(
    job: Job,
    device: Mapping[str, Any],
    explained: Callable[..., Finding],
    noted: Callable[[Job, Report], Sequence[str]] = lambda job, report: (),
    probes: Sequence[Mapping[str, Any]] = (),
) -> Finding:
    """Run the code until it has reported and ended, then again from its checkpoint; return the finding.

    A Trainer trains one batch, and what follows ``fit`` is run. Other code ends with its second report.

    Args:
        job: a trial whose folder is for this check alone.
        device: Trainer arguments.
        explained: returns the finding for an error.
        noted: returns sentences on the checkpoint of a report.
        probes: arguments of all configurations to try on a script's parser; the job's own are tried by training.
    """
    from orchestrator.training.fit_segment import fit

    reports: list[Report] = []
    notes: list[str] = []
    of_names: Sequence[str] = ()
    sessions: list[TrialSession] = []

    def report(each: Report) -> bool:
        reports.append(each)
        session = current()
        sessions[:] = [session] if session else []
        notes[:] = session.notices if session else []
        return (session is not None and session.trainer is not None) or len(reports) == 1

    for epochs in (1, 2):
        saved = reports[-1].checkpoint if reports else None
        if epochs == 2 and saved is None:
            break
        start: dict[str, Any] = {"checkpoint": asdict(saved), "segment": 1} if saved else {}
        said = io.StringIO()
        try:
            with redirect_stderr(said), probing(_commands(job, probes) if epochs == 1 else ()) as unchecked:
                fit(replace(job, trainer={**job.trainer, **_SHORT, "max_epochs": epochs}, **start), report, device)
        except KeyboardInterrupt:
            raise
        except RefusedError as error:
            return _refused_arguments(error.said, _with(job, probes[error.number]))
        except BaseException as error:
            if isinstance(error, SystemExit) and error.code == _USAGE_ERROR:
                return _refused_arguments(said.getvalue(), job)
            if isinstance(error, UsageError) and (error.message == TWICE or OLD in error.message):
                return Finding("refused", "end", error.message, error.hint)
            if sessions and sessions[-1].fits and sessions[-1].trainer is None and isinstance(error, _CERTAIN):
                what = f"after its Trainer.fit the code fails: {describe(error)}"
                return Finding("refused", "end", what, "correct the code, which is run to its end in every trial")
            return explained(error, job, resumed=bool(start))
        if epochs == 1 and probes:
            of_names = _of_names(job, unchecked()) if not (sessions and sessions[-1].serves_wandb) else ()
    if reports and reports[-1].checkpoint is None:
        notes.append(_NO_CHECKPOINT)
    elif reports:
        notes.extend(noted(job, reports[-1]))
    return Finding("passed", notes=tuple(dict.fromkeys([*of_names, *notes])))


def _of_names(job: Job, unchecked: Sequence[str] | None) -> Sequence[str]:
    """Return a sentence on names that no parser of the script has checked; none if all are."""
    names = list(job.model["args"])
    if job.model["train"] or not names:
        return ()
    if unchecked is None:
        return (
            f"the script has called no parser that is known, so nobody has checked the names and values of "
            f"{', '.join(names)}",
        )
    given = {word.partition("=")[0].lstrip("-") for word in unchecked}
    unknown = [name for name in names if name in given]
    text = f"the script's parser passes on what it does not know: {', '.join(unknown)}; check the names"
    return (text,) if unknown else ()


def _with(job: Job, args: Mapping[str, Any]) -> Job:
    return replace(job, model={**job.model, "args": dict(args)})


def _commands(job: Job, probes: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the command line of each configuration; none for a function."""
    if job.model["train"]:
        return []
    return [invocation_of(_with(job, args), macros(job)).words for args in probes]


def _refused_arguments(said: str, job: Job) -> Finding:
    """Return the finding for a script that ended as its parser refused the command line; ``said`` is its stderr."""
    lines = [line.strip(" │╭╮╰╯─") for line in said.splitlines()]
    lines = [line for line in lines if line]
    message = next((line for line in reversed(lines) if "rror" in line or "nvalid" in line or "uch" in line), "")
    message = message or (lines[-1] if lines else "it printed nothing")
    given = {f"--{name}" for name in job.model["args"]}
    known = sorted(set(_OPTION.findall(said.partition("error:")[0])) - given)
    wrong = next((option for option in _OPTION.findall(message) if option in given), "")
    is_unknown = any(word in message for word in ("nrecognized", "o such option", "not accepted", "does not exist"))
    close = get_close_matches(wrong, known, n=1, cutoff=0.5) if wrong and is_unknown else []
    names = ", ".join(name.removeprefix("--") for name in known)
    others = f"it takes {names}; see the script's --help" if is_unknown and names else "see the script's --help"
    hint = f"did you mean {close[0].removeprefix('--')}?" if close else others
    if wrong and isinstance(job.model["args"].get(wrong.removeprefix("--")), bool):
        hint = "a flag without a value: command: [${interpreter}, ${program}, ${args_no_boolean_flags}]"
    return Finding("refused", "arguments", f"the script refused its command line: {message}", hint)
