"""Read the trials that another tool has run: an Optuna storage, a CSV table, folders of Ray Tune or W&B.

Nothing is unpickled, and no file of the other tool is changed.
"""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.spec.yaml_document import scalar

_SQLITE = b"SQLite format 3\0"
_STATES = {"finished": "finished", "complete": "finished", "completed": "finished", "terminated": "finished",
           "pruned": "stopped", "stopped": "stopped"}  # fmt: skip
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
_PREFIXES = ("config.", "config/", "params_", "params.", "param_", "summary.", "user_attrs_")


@dataclass(frozen=True)
class ForeignTrial:
    """One trial of another tool.

    Attributes:
        number: as the other tool counts.
        params: parameters by the other tool's names.
        value: the metric; None if it has none that is finite.
        status: ``finished`` or ``stopped``.
    """

    number: int
    params: Mapping[str, Any]
    value: float | None
    status: str = "finished"


def is_foreign(path: Path) -> bool:
    """Return whether it is a file or folder of another tool's trials, and no run directory."""
    return named_study(path)[0].is_file() or (
        path.is_dir() and not (path / "journal.jsonl").exists() and any(_folders(path))
    )


def read_trials(path: Path, metric: str, mode: str) -> list[ForeignTrial]:
    """Return the trials in a file or folder.

    Args:
        path: an Optuna storage (SQLite or journal; ``study.db:NAME`` if it holds several studies), a CSV table, an
            experiment of Ray Tune, or a folder ``wandb``.
        metric: the objective's name: a column of a table, a key of a result.
        mode: ``min`` or ``max``, which an Optuna study must agree with.

    Raises:
        UsageError: It is of no such kind, or has no such metric.
    """
    if path.is_dir():
        found = list(_folders(path, metric, mode))
    elif is_optuna(named_study(path)[0]):
        found = _optuna(path, mode)
    else:
        found = _table(path, metric)
    if not any(trial.value is not None for trial in found):
        names = ", ".join(dict.fromkeys(name for trial in found for name in trial.params))
        hint = "a table needs a column of that name, a result a key of that name"
        hint += f"; it has {names}" if names else ""
        raise UsageError(f"{path} holds no trial with a value of {metric}", hint=hint)
    return found


def named_study(path: Path) -> tuple[Path, str]:
    """Return the file and the study of ``study.db:NAME``; of another path, the path and an empty name."""
    file, _, name = str(path).rpartition(":")
    return (Path(file), name) if file and not path.exists() and Path(file).is_file() else (path, "")


def is_optuna(path: Path) -> bool:
    """Return whether a file is an Optuna storage: SQLite, or a journal."""
    with path.open("rb") as file:
        head = file.read(4096)
    return head.startswith(_SQLITE) or (head.startswith(b"{") and b'"op_code"' in head.partition(b"\n")[0])


@contextmanager
def optuna_study(path: Path) -> Iterator[Any]:
    """Load the study in a storage, or at ``study.db:NAME``, from a copy of the file.

    Raises UsageError if it holds none of that name, or several and the path names none.
    """
    import optuna
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    path, chosen = named_study(path)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        try:
            with path.open("rb") as file:
                is_sqlite = file.read(len(_SQLITE)) == _SQLITE
            storage: Any = (
                RDBStorage(f"sqlite:///{copy}") if is_sqlite else JournalStorage(JournalFileBackend(str(copy)))
            )
            names = [study.study_name for study in storage.get_all_studies()]
            if chosen not in names and (chosen or len(names) != 1):
                message = f"{path} holds {len(names)} studies: {', '.join(names) or 'none'}"
                hint = f"name one: {path}:{names[0]}" if names else "is it the right file?"
                raise UsageError(message, hint=hint)
            yield optuna.load_study(study_name=chosen or names[0], storage=storage)
        except UsageError:
            raise
        except Exception as error:  # a file that is no storage, or of a version that this Optuna does not read
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UsageError(f"{path} cannot be read by Optuna: {first}", hint="is it a complete storage?") from error


def _optuna(path: Path, mode: str) -> list[ForeignTrial]:
    from optuna.trial import TrialState

    with optuna_study(path) as study:
        if len(study.directions) > 1:
            raise UsageError(f"{path} has several objectives", hint="a warm start takes studies of one objective")
        direction = "max" if study.direction.name == "MAXIMIZE" else "min"
        if direction != mode:
            raise UsageError(f"{path} was judged by {direction}, not by {mode}", hint="check objective.mode")
        states = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped"}
        return [
            ForeignTrial(trial.number, dict(trial.params), _finite(_value(trial)), states[trial.state])
            for trial in study.get_trials(deepcopy=False)
            if trial.state in states
        ]


def _value(trial: Any) -> Any:
    if trial.values:
        return trial.values[0]
    steps = trial.intermediate_values
    return steps[max(steps)] if steps else None


def _table(path: Path, metric: str) -> list[ForeignTrial]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            separator = _separator(file.readline())
            file.seek(0)
            table = csv.DictReader(file, delimiter=separator)
            columns = [column.strip() for column in table.fieldnames or ()]
            rows = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{path} is no CSV table: {error}", hint="an Optuna storage and a CSV table are read"
        ) from None
    if twice := next((column for column in columns if column and columns.count(column) > 1), ""):
        raise UsageError(f"{path} has two columns named {twice}", hint="rename one of them")
    if metric not in map(_name, columns) and any(column.startswith("params_") for column in columns):
        metric = "value"  # Optuna's name for it in trials_dataframe()
    found = []
    for number, row in enumerate(rows):
        values = {_name(key.strip()): _cell(text, separator) for key, text in row.items() if isinstance(key, str)}
        state = str(values.pop("State", values.pop("state", "finished"))).lower()
        if state in _STATES:
            value = values.pop(metric, None)
            params = {key: item for key, item in values.items() if item is not None}
            found.append(ForeignTrial(number, params, _finite(value), _STATES[state]))
    return found


def _separator(head: str) -> str:
    """Return what separates the columns: a comma, or what spreadsheets write instead."""
    return max(",;\t", key=head.count)


def _cell(text: str | None, separator: str) -> Any:
    text = (text or "").strip()
    if separator != "," and _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    return scalar(text)


def _name(column: str) -> str:
    return next((column.removeprefix(prefix) for prefix in _PREFIXES if column.startswith(prefix)), column)


def _folders(path: Path, metric: str = "", mode: str = "min") -> Iterator[ForeignTrial]:
    """Yield the trials of Ray Tune (``result.json``) and of W&B (``wandb-summary.json``) below a folder."""
    for number, file in enumerate(sorted([*path.glob("*/result.json"), *path.glob("result.json")])):
        results = [result for line in file.read_text().splitlines() if (result := _json(line))]
        values = [value for result in results if (value := _finite(result.get(metric))) is not None]
        params = _flat(results[-1].get("config") or {}) if results else {}
        yield ForeignTrial(number, params, (min if mode == "min" else max)(values, default=None))
    for number, file in enumerate(sorted(path.glob("*run-*/files/wandb-summary.json"))):
        summary, settings = _json(file.read_text()), file.with_name("config.yaml")
        if settings.is_file():
            yield ForeignTrial(number, _flat(_wandb_config(settings)), _finite(summary.get(metric)))


def _wandb_config(file: Path) -> dict[str, Any]:
    import yaml

    written = yaml.safe_load(file.read_text()) or {}
    return {
        key: item["value"]
        for key, item in written.items()
        if isinstance(item, dict) and "value" in item and key != "_wandb"
    }


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in values.items():
        flat |= _flat(item, f"{above}{key}.") if isinstance(item, Mapping) and item else {f"{above}{key}": item}
    return flat


def _finite(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None
