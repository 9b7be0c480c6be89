"""Try a function or a script before the start: to its second report, and on from its checkpoint."""

from __future__ import annotations

import io
import re
import traceback
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
_UNKNOWN = ("nrecognized", "o such option", "not accepted", "does not exist", "nknown")
_MISTAKE = re.compile(r"(?i)error|invalid|no such|unrecognized|unknown")
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
            if isinstance(error, SystemExit) and "lags parsing error" in said.getvalue():  # absl's, with code 1
                return _refused_arguments(said.getvalue(), job)
            after = bool(sessions and sessions[-1].fits and sessions[-1].trainer is None)
            return _certain(error, job, after=after) or explained(error, job, resumed=bool(start))
        if epochs == 1 and probes and not (sessions and sessions[-1].serves_wandb):
            if sessions and _is_unread(sessions[-1]):
                return _without_effect(job)
            of_names = _of_names(job, unchecked())
    if reports and reports[-1].checkpoint is None:
        notes.append(_NO_CHECKPOINT)
    elif reports:
        notes.extend(noted(job, reports[-1]))
    return Finding("passed", notes=tuple(dict.fromkeys([*of_names, *notes])))


def _certain(error: BaseException, job: Job, *, after: bool) -> Finding | None:
    """Return the finding for an error that every trial would have; None for any other.

    ``after`` says whether the code failed after its ``Trainer.fit``.
    """
    if after and (isinstance(error, _CERTAIN) or (isinstance(error, SystemExit) and not isinstance(error.code, int))):
        what = f"after its Trainer.fit the code fails: {describe(error)}"
        hint = "correct the code, which is run to its end in every trial"
        if isinstance(error, SystemExit):
            hint = "sys.exit() takes what it gets for an error: call main() without it, or let main() return nothing"
        return Finding("refused", "end", what, hint)
    names = list(job.model["args"])
    if not job.model["train"] and (name := next((each for each in names if f"--{each}=" in str(error)), "")):
        what = f"the script takes an option for a value: {describe(error)}"
        return Finding("refused", "arguments", what, _by_place(name))
    if type(error) is NameError:  # a local one may come of training only a batch
        is_notebook = getattr(error, "name", "") in ("get_ipython", "display")
        lines = "leave out the lines of a notebook, such as get_ipython() and display()"
        hint = lines if is_notebook else "correct the code"
        return Finding("refused", "end", f"the code fails: {describe(error)}", hint)
    variable = _missing_variable(error)
    if name := next((each for each in names if variable and each.lower() == variable.lower()), ""):
        hint = f"command: [{variable}=${{{name}}}, python, ${{program}}, ${{args}}] sets it to a parameter's value"
        return Finding("refused", "arguments", f"the environment has no {variable}, which the code reads", hint)
    return None


def _missing_variable(error: BaseException) -> str:
    """Return the variable that ``os.environ`` lacks; empty for another error."""
    frames = traceback.extract_tb(error.__traceback__) if isinstance(error, KeyError) and error.args else []
    return str(error.args[0]) if frames and frames[-1].filename == "<frozen os>" else ""


def _by_place(name: str) -> str:
    return f"a parameter by its name is a word by itself: command: [python, ${{program}}, ${{{name}}}, ${{args}}]"


def _is_unread(session: TrialSession) -> bool:
    """Return whether a script has got options and has not looked at them."""
    return not getattr(session.command_line, "is_read", True) and len(session.command_line) > 1


def _without_effect(job: Job) -> Finding:
    names = ", ".join(job.model["args"])
    message = f"the script has not read its command line, so {names} would change nothing"
    hint = "let it read them, as by argparse, or write the training as a function with these arguments"
    return Finding("refused", "arguments", message, hint)


def _of_names(job: Job, unchecked: Sequence[str] | None) -> Sequence[str]:
    """Return a sentence on names that no parser of the script has checked; none if all are."""
    named = " ".join(job.model["command"])
    names = [name for name in job.model["args"] if f"${{{name}}}" not in named]
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
    message = next((line for line in reversed(lines) if _MISTAKE.search(line)), "")
    message = message or (lines[-1] if lines else "it printed nothing")
    given = {f"--{name}" for name in job.model["args"]} | {"--help"}
    known = sorted(set(_OPTION.findall(said.partition("error:")[0])) - given)
    wrong = next((option for option in _OPTION.findall(message) if option in given), "")
    is_unknown = any(word in message for word in _UNKNOWN)
    close = get_close_matches(wrong, known, n=1, cutoff=0.5) if wrong and is_unknown else []
    names = ", ".join(name.removeprefix("--") for name in known)
    others = f"it takes {names}; see the script's --help" if is_unknown and names else "see the script's --help"
    hint = f"did you mean {close[0].removeprefix('--')}?" if close else others
    if wrong and isinstance(job.model["args"].get(wrong.removeprefix("--")), bool):
        hint = "a flag without a value: command: [${interpreter}, ${program}, ${args_no_boolean_flags}]"
    if needed := next((name for name in job.model["args"] if _needs_by_place(message, name)), ""):
        hint = _by_place(needed)
    if "OmegaConf.from_cli" in message:
        hint = "command: [python, ${program}, ${args_no_hyphens}]"
    return Finding("refused", "arguments", f"the script refused its command line: {message}", hint)


def _needs_by_place(message: str, name: str) -> bool:
    """Return whether a parser lacks an argument of this name that has no hyphens."""
    lacks = re.search(r"(?i)(?:are required:|missing argument|required argument:?)(.*)", message)
    return bool(lacks and re.search(rf"(?i)(?<![\w-]){re.escape(name)}(?![\w-])", lacks[1]))
