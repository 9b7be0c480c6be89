"""Scripts with ``hydra.main`` under the script door, by Hydra itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.errors import SpecError
from orchestrator.journal import read
from orchestrator.results.verify import check
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.spec.command_line import Invocation
from orchestrator.state import SweepState
from orchestrator.sweep import launch
from orchestrator.training import Job
from orchestrator.training.doors.parser_probe import RefusedError, probing
from orchestrator.training.doors.script_run import invocation_of, run_script
from tests.support.paths import ROOT

pytest.importorskip("hydra", reason="needs Hydra: pip install hydra-core")
PROJECT = ROOT / "tests/support/programs/hydra_project"
APP = """
from dataclasses import dataclass
import hydra
from hydra.core.config_store import ConfigStore
@dataclass
class Config:
    lr: float = 0.1
    opt: str = "adam"
ConfigStore.instance().store(name="app_config", node=Config)
@hydra.main(version_base=None, config_name="app_config")
def main(cfg):
    raise SystemExit(7)
main()
"""


def spec(**fields: Any) -> SweepSpec:
    space = {
        "model.lr": {"log_uniform": [1e-3, 1e-1]},
        "model": {"choice": ["small", "big"]},
        "data.batch_size": {"choice": [8, 16]},
    }
    base: dict[str, Any] = {
        "name": "hydra",
        "program": str(PROJECT / "train.py"),
        "objective": {"metric": "val_loss", "mode": "min"},
        "space": space,
        "scheduler": "fifo",
        "budget": {"trials": 3},
    }
    return from_mapping({**base, **fields})


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (["lr=0.5", "opt=sgd"], ""),
        (["lr=half"], "lr"),
        (["rate=0.5"], "rate"),
        (["lr=0.5", "hydra.run.dir=x"], ""),
    ],
)
def test_hydra_composes_the_config_of_every_configuration(probe: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    place = f"hydra.run.dir={tmp_path}/outputs"
    with pytest.raises((RefusedError, SystemExit)) as raised, probing([["lr=0.2", "opt=adam"], probe]):
        run_script(Invocation(str(tmp_path / "app.py"), "", ["lr=0.1", place]))
    ended: Any = raised.value
    if words:
        assert (type(ended), ended.number) == (RefusedError, 1)
        assert words in ended.said
    else:
        assert (type(ended), ended.code) == (SystemExit, 7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"model.lrr": {"uniform": [0.1, 0.2]}}, "model.lrr"),
        ({"model": {"choice": ["small", "huge"]}}, "model/huge"),
    ],
)
def test_a_name_or_a_group_that_the_project_lacks_is_refused_before_the_start(
    space: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWEEP_NO_PREFLIGHT", raising=False)
    with pytest.raises(SpecError, match=words):
        launch(spec(space=space), tmp_path, local=True)
    assert not (tmp_path / "hydra").exists()


@pytest.mark.slow
def test_a_hydra_project_is_swept_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = launch(spec(), tmp_path / "runs", local=True).run
    assert check(run).violations == []
    state = SweepState(read(run.journal))
    assert state.count("finished") == 3
    for trial in state.trials.values():
        assert sorted(trial.reports) == [1, 2, 3]
        used = yaml.safe_load((run.root / f"trials/{trial.number:04d}/files/outputs/used.yaml").read_text())
        assert used["model"]["lr"] == trial.params["model.lr"]
        assert used["model"]["width"] == {"small": 8, "big": 32}[trial.params["model"]]
        assert used["data"]["batch_size"] == trial.params["data.batch_size"]
    assert [path.name for path in tmp_path.iterdir()] == ["runs"], "Hydra leaves no outputs/ in the working directory"


FROM_CLI = "from omegaconf import OmegaConf\nraise SystemExit(OmegaConf.from_cli().get('lr', 0))\n"


def test_a_program_of_omegaconf_gets_words_without_hyphens(tmp_path: Path) -> None:
    """`OmegaConf.from_cli` takes ``--lr=7`` for a key with hyphens, and every trial would train the same."""
    (tmp_path / "train.py").write_text(FROM_CLI)
    code = {"train": "", "program": str(tmp_path / "train.py"), "command": [], "args": {"lr": 7}}
    job = Job(trial=0, segment=0, seed=1, metric="", model=code, data=None, trainer={}, folder=str(tmp_path / "run"))
    found = invocation_of(job, {})
    assert found.words == ["lr=7"]
    with pytest.raises(SystemExit, match="7"), probing([["lr=8"]]) as unchecked:
        run_script(found)
    assert unchecked() == ["lr=8"], "OmegaConf takes any name"
    with pytest.raises(RefusedError, match=r"takes name=value, but got --lr=8"), probing([["--lr=8"]]):
        run_script(found)
