"""Foreign files whose code can be had are launched as imported: two trials each, by a stand-in for their own script.

The stand-ins take the names that the foreign file has, and no others, so that a name that the importer bends is an
error of the trial. A test prints how many are launched.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.errors import SweepError
from orchestrator.spec import import_file, load
from orchestrator.sweep import launch
from tests.support import stand_ins
from tests.support.foreign_files import HYDRA, KATIB, LIGHTNING_CLI, PYTHON, STUDIES, WANDB, study_at
from tests.support.stand_ins import write

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

# What cannot be launched, and why.
REFUSED = {
    "research repositories: a command that starts another launcher": "a trial runs in a process of the sweep's",
}
Launch = Callable[..., None]
_FLAG = re.compile(r"--([\w-]+)[\s\",=-]*\$\{trialParameters")


def launched(folder: Path, their: Path | str, overrides: list[str] | None = None, **door: Any) -> None:
    """Import a file and launch two trials of it. Raises AssertionError if one does not finish."""
    made = import_file(their, **door)
    made = (
        made
        if yaml.safe_load(made)["space"]
        else made.replace("\nspace:\n", "\nspace:\n  model.lr: {uniform: [0, 1]}\n")
    )
    file = write(folder, "made.yaml", made)
    spec = load(file, overrides=["budget.trials=2", "budget.target=null", *(overrides or ())])
    outcome = launch(spec, folder / "runs", local=True, preflight=False)
    failures = [failure.message for trial in outcome.state.trials.values() for failure in trial.failures]
    if failures or not outcome.state.trials:
        raise AssertionError(failures)


def of_wandb(shape: str, text: str, folder: Path) -> None:
    source = yaml.safe_load(text)
    names = list(stand_ins.wandb_names(source["parameters"]))
    metric, command = source["metric"]["name"], source.get("command") or []
    their = write(folder, "their.yaml", text)
    script = stand_ins.script(names, metric, command)
    if "-m" in command:
        write(folder, "package/__init__.py", "")
        write(folder, "package/train.py", script)
    else:
        write(folder, source.get("program") or "program.py", script)
    launched(folder, their, train=None if source.get("program") or "-m" in command else "program.py")


def of_lightning_cli(shape: str, text: str, folder: Path) -> None:
    write(folder, "m.py", stand_ins.CLASSES)
    on_a_cpu = ["trainer.accelerator=cpu", "trainer.devices=1", "trainer.precision=32-true", "trainer.max_epochs=1"]
    launched(folder, write(folder, "their.yaml", text), on_a_cpu)


def of_hydra(shape: str, text: str, folder: Path) -> None:
    sweeper = yaml.safe_load(text)["hydra"]["sweeper"]
    given = {**(sweeper.get("params") or {}), **(sweeper.get("search_space") or {}),
             **((sweeper.get("ax_config") or {}).get("params") or {})}  # fmt: skip
    names = [name for name, value in given.items() if value != "glob(*)" and not name.startswith("~")]
    metric = yaml.safe_load(text).get("optimized_metric") or "val_loss"
    removed = [name for name in given if name.startswith("~")]
    write(
        folder, "app.py", "from hydra import main\n" + stand_ins.script(names, metric, ["${args_no_hyphens}", *removed])
    )
    launched(folder, write(folder, "their.yaml", text), train="app.py")


def of_katib(shape: str, text: str, folder: Path) -> None:
    experiment = yaml.safe_load(text)["spec"]
    metric = experiment["objective"]["objectiveMetricName"]
    flags = list(dict.fromkeys(_FLAG.findall(text)))
    names = flags or [each["name"] for each in experiment["parameters"]]
    fixed = re.findall(r"--[\w-]+=[\w/.]+", text)
    script = stand_ins.script(names, metric, fixed)
    write(folder, "mnist/__init__.py", "")
    write(folder, "mnist/train.py", script)
    for program in re.findall(r"/opt/([\w/-]+\.py)", text):
        write(folder, f"opt/{program}", script)
    write(folder, "program.py", script)
    their = write(folder, "their.yaml", text.replace("/opt/", f"{folder}/opt/"))
    launched(folder, their, train=None if flags else "program.py")


def of_python(shape: str, text: str, folder: Path) -> None:
    their = write(folder, "their.py", text)
    if "wandb.agent" in text:
        launched(folder, their)
        return
    search = stand_ins.run_python(text)
    parameters = search.get("parameters")
    names = list(stand_ins.wandb_names(parameters)) if parameters else list(keys(search))
    made = yaml.safe_load(import_file(their, train="objective:main"))
    write(folder, "objective.py", stand_ins.function(names, made["objective"]["metric"], []))
    launched(folder, their, train="objective:main")


def keys(space: dict[str, Any]) -> Iterator[str]:
    for name, value in space.items():
        inner = value.values() if isinstance(value, dict) and name == "train_loop_config" else ()
        yield from value if inner else [name]


def of_optuna(shape: str, text: str, folder: Path) -> None:
    study = study_at(folder / "study.db", shape)
    names = list(dict.fromkeys(name for trial in study.trials for name in trial.params))
    made = yaml.safe_load(import_file(folder / "study.db", train="objective:main"))["objective"]
    also = [goal["metric"] for goal in made.get("also") or ()]
    write(folder, "objective.py", stand_ins.function(names, made["metric"], also))
    launched(folder, folder / "study.db", train="objective:main")


KINDS: dict[str, tuple[Launch, list[tuple[str, str]]]] = {
    "W&B": (of_wandb, list(WANDB.items())),
    "LightningCLI": (of_lightning_cli, list(LIGHTNING_CLI.items())),
    "Hydra": (of_hydra, list(HYDRA.items())),
    "Katib": (of_katib, list(KATIB.items())),
    "Python": (of_python, list(PYTHON.items())),
    "Optuna": (of_optuna, [(shape, "") for shape in STUDIES]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_launched_as_imported(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, files = KINDS[kind]
    failed: dict[str, str] = {}
    for index, (shape, text) in enumerate(files):
        folder = tmp_path / str(index)
        folder.mkdir()
        modules = set(sys.modules)
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            patch.syspath_prepend(str(folder))
            try:
                start(shape, text, folder)
            except (SweepError, AssertionError) as error:
                failed[shape] = str(error)
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]
    print(f"{kind}: {len(files) - len(failed)} of {len(files)} files are launched")
    assert failed.keys() == REFUSED.keys() & {shape for shape, _ in files}, failed


def test_the_share_that_is_launched_is_at_least_nine_tenths() -> None:
    """Of all files; the test above holds each."""
    count = sum(len(files) for _, files in KINDS.values())
    print(f"{count - len(REFUSED)} of {count} foreign files are launched as imported")
    assert 1 - len(REFUSED) / count >= 0.9
