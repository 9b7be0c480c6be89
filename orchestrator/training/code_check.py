"""Run one batch of a sweep's code: train, validate, save, load, and train one batch more.

    python -m orchestrator.training.code_check < {"job": {…}, "roots": […], "folder": "…"}

prints one line of JSON: a `Finding`. It imports the libraries before it reads, so that it can be started before it is
known what to run. It is a process of its own, so that nothing of the user's code stays in the one
that runs the sweep. It trains on the CPU without data-loading processes, and `sealed_process` keeps it from writing
into the folders of the user's code and from opening connections. So it calls no ``prepare_data``, which may download.

A fault is a refusal only if every trial would fail by it: see `check_finding.RULES`. Anything else that goes wrong here
is a warning, since this process lacks what a trial may have: a GPU, the cluster's data, a network.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from orchestrator.errors import CodecError, ObjectiveError, ProgressError, SuggestionError, UsageError, describe
from orchestrator.training.check_finding import Finding
from orchestrator.training.sealed_process import SealedWriteError

_LONG_CALLBACKS = ("LearningRateFinder", "BatchSizeFinder")
_DROPPED = ("min_epochs", "min_steps", "max_time", "max_steps", "plugins", "profiler", "overfit_batches", "num_nodes",
            "strategy", "sync_batchnorm", "logger")  # fmt: skip


class _NoOptimizer(Exception):
    """Training started without an optimizer."""


class _NoLength(Exception):
    """A validation is due at a part of an epoch, and the epoch's length is not known."""


def one_batch(job: Any, probes: Sequence[Mapping[str, Any]] = ()) -> Finding:
    """Run one batch of ``job`` and return the finding. ``job.folder`` is for this check alone.

    ``probes`` are arguments of all configurations of a script, to be tried on its parser.
    """
    from orchestrator.training.fit_segment import fit

    if job.is_code:
        from orchestrator.training.doors.code_trial import two_reports

        return two_reports(
            job, {"accelerator": "cpu", "devices": 1, "callbacks": [_watch()]}, _explained, pickled_notes, probes
        )
    watch = _watch(needs_length=_needs_length(job.trainer))
    device = {"accelerator": "cpu", "devices": 1, "callbacks": [watch]}
    reports: list[Any] = []

    def report(epoch: Any) -> bool:
        reports.append(epoch)
        return True

    for epochs in (1, 2):
        start = {"checkpoint": asdict(reports[-1].checkpoint), "segment": 1} if reports else {}
        part = replace(job, trainer=_shortened(job.trainer, epochs), **start)
        try:
            fit(part, report, device)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if isinstance(error, ObjectiveError) and not watch.has_trained:
                return _no_report()
            return _explained(error, job, resumed=bool(start))
        if not reports:
            return _no_report()
    return Finding("passed", notes=(*pickled_notes(job, reports[-1]), *_reading_notes(watch.read_again)))


def pickled_notes(job: Any, report: Any) -> tuple[str, ...]:
    """Return a sentence on state that a checkpoint holds and that only unpickling restores; nothing without any."""
    from orchestrator.training.doors.folder_checkpoint import is_packed
    from orchestrator.training.pickled_state import pickled_places

    path = job.run_directory / report.checkpoint.path if report.checkpoint else None
    names = ", ".join(pickled_places(path)) if path and not is_packed(path) else ""
    if not names:
        return ()
    return (f"checkpoints hold objects ({names}) that only unpickling restores: only you can resume, test or export",)


def _reading_notes(names: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence on training data that keep no place; nothing without any."""
    if not names:
        return ()
    return (
        f"the training data ({', '.join(names)}) have no state_dict(): a trial that is stopped within an epoch reads "
        "the epoch's batches again as it resumes, which takes as long as loading them did",
    )


def _needs_length(trainer: Mapping[str, Any]) -> bool:
    """Return whether Lightning refuses data without a length: for a validation at a part of an epoch."""
    interval, batches = trainer.get("val_check_interval", 1.0), trainer.get("limit_train_batches", 1.0)
    return isinstance(interval, float) and interval != 1.0 and not isinstance(batches, int)


def _watch(*, needs_length: bool = False) -> Any:
    import lightning as L
    from lightning.fabric.utilities.data import sized_len

    from orchestrator.training.data_position import read_again

    class Watch(L.Callback):
        """Ends the training if it has no optimizer, which Lightning allows, and notes what resumes slowly."""

        read_again: list[str]
        has_trained = False

        def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
            self.has_trained = True

        def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            self.read_again = read_again(trainer.train_dataloader)
            if needs_length and sized_len(trainer.train_dataloader) is None:
                raise _NoLength
            real = [each for each in trainer.optimizers if type(each).__name__ != "_MockOptimizer"]
            trainable = any(parameter.requires_grad for parameter in pl_module.parameters())
            if not real and trainable and pl_module.automatic_optimization:
                raise _NoOptimizer

    return Watch()


def _shortened(trainer: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """Return Trainer arguments for one batch an epoch on one CPU. A user's limit of 0 batches stays."""
    from orchestrator.training.precision import resolve_precision

    kept = {name: value for name, value in trainer.items() if name not in _DROPPED}
    callbacks = [
        each for each in trainer.get("callbacks") or [] if not str(each.get("class_path")).endswith(_LONG_CALLBACKS)
    ]
    limits = {name: 1 if trainer.get(name, 1) != 0 else 0 for name in ("limit_train_batches", "limit_val_batches")}
    own = resolve_precision(accelerator="cpu") if trainer.get("precision", "auto") == "auto" else "32-true"
    fixed = {"max_epochs": epochs, "val_check_interval": 1.0, "check_val_every_n_epoch": 1, "precision": own}
    return {**kept, **limits, **fixed, "callbacks": callbacks, "log_every_n_steps": 1}


def _no_report() -> Finding:
    return Finding(
        "refused",
        "data",
        "the training data are empty: the loader of train_dataloader() has no batch",
        "check the path of the data, and that drop_last leaves one batch",
    )


def _explained(error: BaseException, job: Any, *, resumed: bool) -> Finding:
    text = describe(error).partition(": ")[2]
    if resumed and not isinstance(error, ObjectiveError):
        return Finding("unclear", "", f"a trial could not continue from its checkpoint: {_named(error)}", _LATER)
    if isinstance(error, _NoOptimizer):
        return Finding("refused", "optimizer", f"{_module(job)}.configure_optimizers returns no optimizer",
                       "return one, or set self.automatic_optimization = False")  # fmt: skip
    if text.startswith("No `configure_optimizers()`"):
        return Finding("refused", "optimizer", f"{_module(job)} has no configure_optimizers",
                       "add the method; it returns an optimizer")  # fmt: skip
    if text.startswith("No `training_step()`"):
        return Finding("refused", "step", f"{_module(job)} has no training_step", "add the method")
    if type(error).__name__ in ("MisconfigurationException", "TypeError") and "train_dataloader" in text:
        return Finding("refused", "data", f"{_module(job)} has no training data: {text.splitlines()[0]}",
                       "add train_dataloader to the module, or name a DataModule under data:")  # fmt: skip
    if isinstance(error, ValueError) and 'CombinedLoader(mode="sequential")' in text:
        return Finding("refused", "data", 'a Trainer does not train on CombinedLoader(mode="sequential")',
                       "use min_size, max_size or max_size_cycle, or concatenate the data sets")  # fmt: skip
    if isinstance(error, _NoLength):
        message = "the training data have no length, and `val_check_interval` is a part of it"
        return Finding("refused", "interval", message,
                       "give a number of batches: trainer: {val_check_interval: 500}")  # fmt: skip
    if isinstance(error, ObjectiveError):
        return _objective(error, job)
    if isinstance(error, SuggestionError):
        return Finding("refused", "suggestion", error.message, error.hint)
    if isinstance(error, ProgressError):
        return Finding("refused", "progress", error.message, error.hint)
    if isinstance(error, CodecError) or (isinstance(error, UsageError) and "only unpickling" in text):
        return Finding("refused", "state", error.message, error.hint)
    if isinstance(error, SealedWriteError):
        return Finding("unclear", "", f"the check stopped where the code writes {error.filename}", _WRITES)
    if isinstance(error, UsageError) and " returned " in error.message:
        return Finding("refused", "kind", error.message, error.hint)
    return Finding("unclear", "", _named(error), _LATER)


_WRITES = "it may write nothing there, and a trial may; what follows was not tried"
_LATER = "the sweep goes on; if its trials fail in the same way, correct the code and launch again"


def _objective(error: Any, job: Any) -> Finding:
    """A metric that the source shows to be logged may depend on more than one batch."""
    from orchestrator.training.class_loading.import_paths import import_class
    from orchestrator.training.class_loading.logged_metrics import is_logged, logged_names

    if job.is_code:
        return Finding("refused", "objective", error.message, error.hint)
    names = logged_names(import_class(job.model["class_path"]))
    may_come = names is not None and all(is_logged(metric, names) for metric in (job.metric, *job.required))
    return Finding("unclear" if may_come else "refused", "objective", error.message, error.hint)


def _module(job: Any) -> str:
    path = job.model.get("class_path")
    return str(path).rpartition(".")[2] if path else "the LightningModule"


def _named(error: BaseException) -> str:
    """Return the error's type and text, and its place in the user's code."""
    import traceback

    name, _, text = describe(error).partition(": ")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    own = Path(__file__).resolve().parents[1]
    users = [f for f in frames if not Path(f.filename).resolve().is_relative_to(own)]
    place = f" at {users[-1].filename}:{users[-1].lineno}" if users else ""
    return f"{name}: {text.strip()}".removesuffix(": ").partition("\n")[0][:500] + place


def user_files() -> dict[str, str]:
    """Return the loaded source files outside the libraries, with their SHA-256."""
    from hashlib import sha256

    own = str(Path(__file__).resolve().parents[1])
    files = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or "site-packages" in file or file.startswith((own, sys.base_prefix, "<")):
            continue
        if Path(file).suffix == ".py" and Path(file).is_file():
            files[file] = sha256(Path(file).read_bytes()).hexdigest()
    return files


def _end_with(parent: int) -> None:
    """End this process once the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _prepare() -> None:
    """Import what takes seconds, in a process that ends with the one that started it."""
    threading.Thread(target=_end_with, args=(os.getppid(),), name="parent", daemon=True).start()
    import_module("orchestrator.training.fit_segment")


def main(request: Mapping[str, Any]) -> Finding:
    """Run the check that ``request`` describes."""
    from orchestrator.training.class_loading.import_paths import import_from
    from orchestrator.training.job import Job
    from orchestrator.training.sealed_process import leave_out_preparation, load_in_process, sealed_off, work_beside

    import_from(request["roots"])
    closed = [*request["roots"], str(Path.cwd())]
    if "class_path" not in request["job"]["model"]:
        work_beside(request["folder"])
    sealed_off(closed, request["folder"])
    job = replace(Job(**request["job"]), folder=f"{request['folder']}/run/trials/0000", url="")
    prepares = False
    try:
        parts = [part for part in (job.model, job.data) if part and "class_path" in part]
        prepares = sum(leave_out_preparation(part["class_path"]) for part in parts) > 0
        load_in_process()
        finding = one_batch(job, request.get("probes") or ())
    except (Exception, SystemExit) as error:
        finding = Finding("unclear", "", _named(error), _LATER)
    if finding.rule == "data" and prepares:
        finding = replace(finding, outcome="unclear", hint="prepare_data was left out; a trial calls it")
    return replace(finding, files=user_files())


if __name__ == "__main__":
    answer, sys.stdout = sys.stdout, sys.stderr  # keep what a user's module prints out of the answer
    _prepare()
    answer.write(json.dumps(asdict(main(json.load(sys.stdin)))) + "\n")
    answer.flush()
    os._exit(0)  # a thread of the user's must not keep this process
