"""Run a function or a script up to its Trainer, and return what it trains: for a test, an export or an evaluation."""

from __future__ import annotations

import atexit
import functools
import inspect
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.utilities.model_helpers import is_overridden

from orchestrator.errors import SweepError, UsageError, describe
from orchestrator.training.class_loading.loaders_data import LoadersData
from orchestrator.training.class_loading.namespace_alias import alias_lightning
from orchestrator.training.csv_logger import EpochCSVLogger
from orchestrator.training.doors.code_segment import train_code
from orchestrator.training.doors.local_ray import local_ray
from orchestrator.training.doors.local_wandb import local_wandb
from orchestrator.training.doors.script_metrics import LoggedMetrics
from orchestrator.training.doors.trainer_takeover import Takeover, inside_trainers, parts_of_fit
from orchestrator.training.doors.trial_session import Reporting, TrialEnd, TrialSession, active
from orchestrator.training.job import Job, model_name
from orchestrator.training.shared_storage import start_heartbeat

_LIMITS = ("limit_val_batches", "limit_test_batches")


@dataclass
class Captured:
    """What a function or a script has given to its Trainer.

    Attributes:
        module: the LightningModule, with initial weights.
        data: its DataModule, or one around its loaders; None if the module has loaders of its own.
        trainer: precision and limits of its Trainer.
    """

    module: Any = None
    data: Any = None
    trainer: dict[str, Any] = field(default_factory=dict)


class _Found(BaseException):
    """Raised in the user's code once all that is wanted of it is there, past its ``except Exception``."""


@dataclass
class _Capture(Takeover):
    """Takes what is fitted instead of fitting it."""

    found: Captured = field(default_factory=Captured)
    stage: str = "fit"

    def fit(self, original: Callable[..., Any], trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Note module and data. Raises _Found unless the code is to go on to its test."""
        if self.is_of_tuner(trainer):
            original(trainer, *args, **kwargs)
            return
        given, module, data = parts_of_fit(original, trainer, args, kwargs)
        self.found.module, self.found.data = module, data
        if data is None and any(given.get(name) is not None for name in ("train_dataloaders", "val_dataloaders")):
            self.found.data = LoadersData(given.get("train_dataloaders"), given.get("val_dataloaders"))
        self.found.trainer = {"precision": trainer.precision, **{name: getattr(trainer, name) for name in _LIMITS}}
        if self.stage != "test" or has_test_loader(self.found):
            raise _Found

    def test(self, original: Callable[..., Any], trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Note the test data, and raise _Found."""
        given = inspect.signature(original).bind(trainer, *args, **kwargs).arguments
        loaders, data = given.get("dataloaders"), given.get("datamodule")
        if isinstance(loaders, L.LightningDataModule):
            loaders, data = None, loaders
        self.found.data = data or (LoadersData(None, test=loaders) if loaders is not None else self.found.data)
        raise _Found


def has_test_loader(found: Captured) -> bool:
    """Return whether what was captured has a loader of test data."""
    source, parent = (found.module, L.LightningModule) if found.data is None else (found.data, L.LightningDataModule)
    return is_overridden("test_dataloader", source, parent)


def captured(code: Mapping[str, Any], stage: Literal["fit", "test"] = "fit") -> Captured:
    """Run a function or a script until it calls ``Trainer.fit``, and return what it has passed there.

    The code runs as in a trial of ``code["seed"]``, with a temporary folder in place of the trial's. What it prints
    is dropped. With ``stage="test"`` code that fits loaders goes on, untrained, to its own call of
    ``Trainer.test``, whose data are taken.

    Args:
        code: ``train`` or ``program`` and ``command``, ``args``, and the trial's ``seed`` and ``trial``.
        stage: which data are wanted.

    Raises:
        UsageError: The code fits no Trainer, or raises an error before it does; or there are no test data.
    """
    alias_lightning()
    folder = tempfile.mkdtemp(prefix="sweep-code-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # its data may lie there
    job = Job(
        trial=int(code.get("trial") or 0), segment=0, seed=int(code.get("seed") or 0), metric="", model=dict(code),
        data=None, trainer={}, folder=str(Path(folder) / "run" / "trials" / "0000"),
    )  # fmt: skip
    session = TrialSession(job, Reporting(lambda report: True))
    device = {"accelerator": "auto", "devices": 1}
    logged = LoggedMetrics(session)
    capture = _Capture(session, logged, device, [], EpochCSVLogger(job.logs), start_heartbeat(job), stage=stage)
    L.seed_everything(job.seed, verbose=False)
    failure, said = "", io.StringIO()
    try:
        with (
            redirect_stdout(said),
            redirect_stderr(said),
            active(session),
            inside_trainers(capture),
            _tests_taken(capture),
            local_wandb(session, logged),
            local_ray(),
        ):
            train_code(session, keeps_modules=True)
    except (_Found, TrialEnd):
        pass
    except SweepError:
        raise
    except (Exception, SystemExit) as error:
        failure = f": {describe(error)}"
    if capture.found.module is None:
        last = said.getvalue().strip().rpartition("\n")[2]
        hint = f"the last line that it printed: {last}" if last else "run it by itself to see why"
        raise UsageError(f"{model_name(code)} has not fitted a Trainer{failure}", hint=hint)
    if stage == "test" and not has_test_loader(capture.found):
        raise UsageError(
            f"{model_name(code)} fits loaders and calls no Trainer.test, so there are no test data to be had{failure}",
            hint="pass Trainer.fit a DataModule with a test_dataloader, or call Trainer.test(dataloaders=…) after it",
        )
    return capture.found


@contextmanager
def _tests_taken(capture: _Capture) -> Iterator[None]:
    cls: Any = L.Trainer
    original = cls.test

    @functools.wraps(original)
    def tested(self: Any, *args: Any, **kwargs: Any) -> None:
        capture.test(original, self, *args, **kwargs)

    cls.test = tested
    try:
        yield
    finally:
        cls.test = original
