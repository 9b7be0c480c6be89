"""An Optuna objective whose names depend on what was drawn, in the ways of Optuna's examples."""

from __future__ import annotations

import optuna


def branching(trial: optuna.Trial) -> float:
    layers = trial.suggest_int("n_layers", 1, 3)
    units = [trial.suggest_int(f"n_units_l{i}", 4, 128, log=True) for i in range(layers)]
    for i in range(1, layers):
        units.append(trial.suggest_int(f"skip_{i}", 0, i))
    kind = trial.suggest_categorical("classifier", ["SVC", "RandomForest", None])
    if kind == "SVC":
        units.append(trial.suggest_int("svc_c", 1, 9))
    elif kind is not None:
        units.append(trial.suggest_int("rf_max_depth", 2, 32, log=True))
    else:
        units.append(trial.suggest_int("shared", 1, 2))
    param: dict[str, object] = {"booster": trial.suggest_categorical("booster", ["gbtree", "gblinear", "dart"])}
    if param["booster"] == "gbtree" or param["booster"] == "dart":
        param["max_depth"] = trial.suggest_int("max_depth", 1, 9)
        if layers >= 2 and param["booster"] not in ["gbtree", "gblinear"]:
            units.append(trial.suggest_int("normalized", 1, 9))
        if layers in (1, 3):
            units.append(trial.suggest_int("of_one_or_three", 1, 9))
    if trial.suggest_categorical("wide", [True, False]):
        units.append(len(units))
    wide = trial.suggest_categorical("deep", [True, False])
    if wide:
        units.append(trial.suggest_int("depth", 1, 3))
    if not wide or kind == "SVC":
        units.append(len(units))
    if kind == "RandomForest":
        units.append(trial.suggest_int("shared", 1, 2))
    for i in range(trial.suggest_int("more", 0, 2)):
        units.append(i)
    return float(sum(units))


def two(trial: optuna.Trial) -> tuple[float, float]:
    x, y = trial.suggest_float("x", 0, 5), trial.suggest_float("y", 0, 3)
    return 4 * x**2 + 4 * y**2, -((x - 5) ** 2) - (y - 5) ** 2
