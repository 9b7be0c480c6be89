"""Files as other tools' users write them, below ``tests/foreign``, each with the public shape that it follows.

What is in them is our own. Python files end in ``.txt``, as they import packages that are not installed here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

FOLDER = Path(__file__).parent.parent / "foreign"
_SHAPE = re.compile(r"^# Shape: (.+)$", re.MULTILINE)


def shapes(kind: str) -> dict[str, str]:
    """Return the text of each file of one importer, by the shape that it follows."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((FOLDER / kind).iterdir())]
    return {match[1]: text for text in texts if (match := _SHAPE.search(text))}


WANDB, LIGHTNING_CLI, HYDRA, KATIB, PYTHON = map(shapes, ("wandb", "lightning_cli", "hydra", "katib", "python"))
FILES = {
    **{shape: (text, "yaml") for kind in (WANDB, LIGHTNING_CLI, HYDRA, KATIB) for shape, text in kind.items()},
    **{shape: (text, "py") for shape, text in PYTHON.items()},
}


def _floats(trial: Any) -> float:
    rate, decay = trial.suggest_float("lr", 1e-5, 1e-1, log=True), trial.suggest_float("decay", 0.0, 0.5, step=0.1)
    return float(rate + decay)


def _integers(trial: Any) -> float:
    units = trial.suggest_int("units", 4, 128, log=True) + trial.suggest_int("layers", 2, 8, step=2)
    return float(units)


def _mixed_choices(trial: Any) -> float:
    act, norm = trial.suggest_categorical("act", ["relu", None, True]), trial.suggest_categorical("norm", [1, 2.5])
    return float(norm) + (act is None)


def _conditional(trial: Any) -> float:
    if trial.suggest_categorical("classifier", ["svc", "forest", "linear"]) == "forest":
        return float(trial.suggest_int("max_depth", 2, 32))
    return float(trial.suggest_float("c", 1e-3, 1e3, log=True))


def _growing(trial: Any) -> float:
    return float(sum(trial.suggest_int(f"units_l{i}", 4, 8) for i in range(trial.suggest_int("layers", 1, 3))))


def _pruned_and_failed(trial: Any) -> float:
    value = trial.suggest_float("x", -1, 1)
    trial.report(value, 1)
    if trial.number % 3 == 1:
        raise optuna.TrialPruned
    if trial.number % 3 == 2:
        raise RuntimeError("an error of the user's")
    return float(value)


def _two_goals(trial: Any) -> tuple[float, float]:
    x = trial.suggest_float("x", 0, 5)
    return x, 5 - x


def _one_value(trial: Any) -> float:
    return float(trial.suggest_float("fixed", 0.5, 0.5) + trial.suggest_int("seed", 1, 3))


def _other_ranges(trial: Any) -> float:
    return float(trial.suggest_int("width", 8, 64 if trial.number < 3 else 128))


def _dotted(trial: Any) -> float:
    return float(trial.suggest_float("model.lr", 1e-4, 1e-1, log=True) + trial.suggest_int("data.batch_size", 8, 32))


STUDIES: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "optuna docs: first example, floats": (_floats, {}),
    "optuna docs: suggest_int with log and step": (_integers, {"direction": "maximize"}),
    "optuna docs: categorical of several types": (_mixed_choices, {}),
    "optuna examples: sklearn, a space with branches": (_conditional, {"direction": "maximize"}),
    "optuna examples: pytorch_simple, a space with a loop": (_growing, {}),
    "optuna docs: pruning, and trials that failed": (_pruned_and_failed, {}),
    "optuna docs: multi-objective": (_two_goals, {"directions": ["minimize", "maximize"]}),
    "optuna docs: ranges of one value": (_one_value, {}),
    "optuna docs: a range that was changed": (_other_ranges, {}),
    "hydra-optuna-sweeper: dotted names": (_dotted, {"direction": "maximize"}),
}
"""Objectives of studies, and the arguments of ``create_study``."""


def study_at(path: Path, shape: str, name: str = "theirs", trials: int = 8) -> Any:
    """Run a study into a storage: SQLite for a path that ends in ``.db``, else a journal. Return it."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    objective, arguments = STUDIES[shape]
    storage: Any = f"sqlite:///{path}" if path.suffix == ".db" else JournalStorage(JournalFileBackend(str(path)))
    sampler = optuna.samplers.RandomSampler(seed=1)
    made = optuna.create_study(storage=storage, study_name=name, sampler=sampler, **arguments)
    made.optimize(objective, n_trials=trials, catch=(RuntimeError,))
    return made
