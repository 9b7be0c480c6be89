"""What a function or script logs, as reports: by W&B, TensorBoard, MLflow or Fabric, or in a Trainer's test."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from orchestrator.training.doors.import_hook import Replacements, on_import
from orchestrator.training.doors.trial_session import TrialSession, is_number
from orchestrator.training.trial_files import own_place

_FABRICS = ("lightning.fabric", "lightning_fabric")
_WRITERS = ("torch.utils.tensorboard", "tensorboardX")  # modules with a SummaryWriter


class LoggedMetrics:
    """The metrics that one segment's code logs.

    Args:
        session: the segment, which gets a report once all that it needs is logged.

    Attributes:
        summary: the last value of each metric.
    """

    def __init__(self, session: TrialSession) -> None:
        self._session = session
        self._steps = 0
        self._row: dict[str, float] = {}  # since the last report
        self.summary: dict[str, float] = {}

    def take(self, data: Mapping[str, Any], step: float | None = None) -> None:
        """Take a logged row. Without a Trainer, one that completes what a report needs becomes a report.

        Args:
            data: metrics by name; what is no number is passed over, and a mapping's numbers have dotted names.
            step: the row's step as the code counts it; by default one more than the last one's.

        Raises:
            TrialEnd: The trial ends with this report.
        """
        session, numbers = self._session, dict(numbers_of(data))
        if session.passes_on:
            return
        self._steps = self._steps + 1 if step is None else max(int(step), self._steps)
        self.summary |= numbers
        if session.leaves_reports_to_trainer or not numbers:
            session.logged = sorted({*session.logged, *numbers})
            return
        needed = {session.job.metric, *session.job.required}
        self._row |= numbers
        if needed <= self._row.keys():
            numbers, self._row = self._row, {}
            epoch = session.reports + 1
        elif session.job.metric in numbers:
            return  # what else a report needs is logged by the next call
        else:
            epoch = max(1, session.reports)
        session.report(numbers, {"step": max(1, self._steps), "epoch": epoch})

    def final(self) -> dict[str, float] | None:
        """Return the summary if it has the objective: what a trial that made no report comes to."""
        return dict(self.summary) if self._session.job.metric in self.summary else None


def numbers_of(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a logged row, those of a mapping within it by dotted names, as W&B has them."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from numbers_of(value, f"{above}{name}.")
        elif is_number(value):
            yield f"{above}{name}", float(value)


@contextmanager
def listening(logged: LoggedMetrics, session: TrialSession) -> Iterator[None]:
    """Take what the code logs by TensorBoard, MLflow or Fabric meanwhile; it goes where the code sends it, too.

    A ``SummaryWriter`` writes into the trial's folder.
    """
    replacements = Replacements()

    def writer(module: Any) -> None:
        cls = module.SummaryWriter
        replacements.replace(cls, "__init__", _placed(cls.__init__, session))
        replacements.replace(cls, "add_scalar", _then(cls.add_scalar, logged, _scalar))

    def mlflow(module: Any) -> None:
        replacements.replace(module, "log_metric", _then(module.log_metric, logged, _metric))
        replacements.replace(module, "log_metrics", _then(module.log_metrics, logged, _metrics))

    def fabric(module: Any) -> None:
        replacements.replace(module.Fabric, "log_dict", _then(module.Fabric.log_dict, logged, _dict))

    with ExitStack() as stack:
        for name in _FABRICS:
            stack.enter_context(on_import(name, fabric))
        for name in _WRITERS:
            stack.enter_context(on_import(name, writer))
        stack.enter_context(on_import("mlflow", mlflow))
        try:
            yield
        finally:
            replacements.undo()


def _then(original: Callable[..., Any], logged: LoggedMetrics, row: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that also takes the row that its arguments are."""

    @functools.wraps(original)
    def log(*args: Any, **kwargs: Any) -> Any:
        returned = original(*args, **kwargs)
        logged.take(*row(*args, **kwargs))
        return returned

    return log


def _scalar(writer: Any, tag: str, scalar_value: Any, global_step: Any = None, *args: Any, **kwargs: Any) -> Any:
    return {tag: scalar_value}, global_step if is_number(global_step) else None


def _dict(fabric: Any, metrics: Any, step: Any = None) -> Any:
    return metrics, step


def _metric(key: str, value: Any, step: Any = None, *args: Any, **kwargs: Any) -> Any:
    return {key: value}, step


def _metrics(metrics: Mapping[str, Any], step: Any = None, *args: Any, **kwargs: Any) -> Any:
    return metrics, step


def _placed(original: Callable[..., Any], session: TrialSession) -> Callable[..., Any]:
    """Return ``SummaryWriter.__init__`` with its folder moved into the trial's."""

    @functools.wraps(original)
    def init(writer: Any, logdir: Any = None, *args: Any, **kwargs: Any) -> None:
        name = "log_dir" if "log_dir" in kwargs else "logdir"
        given = kwargs.pop(name, logdir)
        original(writer, own_place(session.job, given or "runs"), *args, **kwargs)

    return init
