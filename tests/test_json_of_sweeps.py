"""`--json` of the commands that need a sweep, a bundle or another process: what each prints is what its schema says."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image

from orchestrator import cli
from orchestrator.cli.json_forms import FORMS, json_schemas
from orchestrator.data import DigitsDataModule
from orchestrator.engine.simulator import simulate
from orchestrator.journal.lease import acquire
from orchestrator.journal.records import encode
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.spec import from_mapping
from tests.support.paths import ROOT
from tests.support.small_sweeps import spec as small

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning:lightning")]
Run = Callable[..., Any]
SCHEMAS = json_schemas()
DIGITS = "quickstart --local --no-preflight --set budget.trials=2 --set trainer.max_epochs=1 --set searcher=random"
SLICE = {
    "name": "slice", "objective": {"metric": "val_loss", "mode": "min"}, "model": "tests.support.tiny.Tiny",
    "resources": {"tpu": "v5e-8"},
}  # fmt: skip


def check(value: Any, words: str) -> None:
    name = max((name for name in FORMS if f"{words} ".startswith(f"{name} ")), key=len)
    jsonschema.validate(value, {"$ref": f"#/$defs/sweep {name}", "$defs": SCHEMAS["$defs"]})


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command with --json in this process: what it printed, checked by its schema."""

    def call(words: str, *more: str, code: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["sweep", *words.split(), *more, "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = json.loads(capsys.readouterr().out)
        assert (ended.value.code or 0) == code, printed
        check(printed, words)
        return printed

    return call


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEP_RUNS", str(tmp_path / "runs"))


@pytest.mark.timeout(600)
def test_a_sweep_from_its_launch_to_its_published_winner(sweep: Run, tmp_path: Path) -> None:
    ended = sweep(f"launch {DIGITS}")
    assert (ended["status"], ended["trials"]["finished"]) == ("completed", 2)
    assert sweep("extend quickstart --trials 1 --local")["trials"]["finished"] == 3
    assert len(sweep("results quickstart --reports")) == 3
    assert sweep("simulate quickstart --seeds 1")["searches"][0]["search"].startswith("as it was")
    confirmed = sweep("confirm quickstart --top 2 --trials 4 --local")
    assert confirmed["winner"]["value"] == max(value for row in confirmed["table"] for value in row["values"])
    assert sweep("best quickstart")["confirmed"] is True
    assert sweep("test quickstart")["look"] == 1
    assert {"onnx", "safetensors"} <= set(sweep("export quickstart --to bundle")["formats"])
    data = DigitsDataModule(image_size=20)
    data.setup("fit")
    images, labels = data._arrays("fit")
    for number in range(3):
        folder = tmp_path / "photos" / str(int(labels[number]))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[number].numpy()).save(folder / f"{number}.png")
    assert len(sweep("predict bundle photos --trust")) == 3
    assert set(sweep("evaluate bundle --trust")["metrics"]) >= {"val_acc"}
    assert sweep("evaluate bundle --data photos --trust")["images"] == 3
    assert sweep("replay bundle --trust")["verdict"] in ("identical", "within tolerance")
    assert sweep("publish bundle --to models")["artifact"] is None


def test_a_failed_trial_that_is_retried(sweep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fails.yaml").write_text(
        "objective: {metric: val_loss, mode: min}\nmodel: tests.support.tiny.Tiny\ndata: tests.support.tiny.TinyData\n"
        "trainer: {max_epochs: 1}\nspace: {model.learning_rate: {choice: [0.1]}}\nbudget: {trials: 1}\n"
    )
    with monkeypatch.context() as patch:
        patch.setattr("tests.support.tiny.Tiny.training_step", lambda self, batch, index: 1 / 0)
        failed = sweep("launch fails.yaml --local --no-preflight", code=1)
    assert failed["best"] is None
    assert sweep("why fails --trial 0")["why"]
    assert sweep("retry fails --failed --local")["best"]["trial"] == 0


@pytest.fixture
def held(tmp_path: Path) -> Iterator[RunDirectory]:
    """A run with a trial set aside, as if this process ran it; a stop of it is done at once."""
    events = simulate(small(scheduler={"name": "asha", "grace": 1, "reduction_factor": 2, "promote": True})).events
    last = next(place for place, event in enumerate(events, 1) if event.type == "trial.set_aside")
    run = run_at("tiny")
    run.root.mkdir(parents=True)
    Path(run.journal).write_bytes(b"".join(map(encode, events[:last])))
    lease, ended = acquire(run.root / "lease", after=events[last - 1].lease), threading.Event()

    def answer() -> None:
        while not ended.wait(0.05):
            for request in run.requests.glob("stop*") if run.requests.exists() else ():
                request.unlink()

    thread = threading.Thread(target=answer)
    thread.start()
    yield run
    ended.set()
    thread.join()
    lease.release()


def test_requests_to_a_running_sweep(sweep: Run, held: RunDirectory) -> None:
    waiting = next(row["trial"] for row in sweep("results tiny") if row["status"] == "set_aside")
    assert sweep(f"promote tiny --trial {waiting}")["promoted"] is False
    assert sweep(f"stop tiny --trial {waiting}")["stopped"] == "trial"
    assert sweep("stop tiny --drain")["will_stop"] == ["after the current reports"]
    sweep("stop tiny --at 2h")
    sweep("stop tiny --cancel")
    assert sweep("status tiny")["status"] == "running"


def test_the_page_says_where_it_is_before_it_is_served(sweep: Run, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "open", "--no-browser", "--json"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        check(json.loads(process.stdout.readline()), "open")
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_files_and_plans(sweep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    (tmp_path / "slice.yaml").write_text(json.dumps(SLICE))
    plan = sweep("tpu plan slice.yaml --host 10.0.0.1")
    assert plan["processes"][0]["address"] == "10.0.0.1"
    sweep("tpu manifest slice.yaml --image lab/sweep:1 --claim sweeps")
    assert sweep("tpu launch slice.yaml --gcloud pod --zone z --dry-run")["command"][0] == "gcloud"
    sweep("cluster init local")
    assert sweep("cluster validate cluster.yaml")["kind"] == "local"
    (tmp_path / "wandb.yaml").write_text(
        "program: train.py\nmethod: random\nmetric: {name: val_loss, goal: minimize}\n"
        "parameters: {lr: {min: 0.001, max: 0.1}}\n"
    )
    assert "val_loss" in sweep("import wandb.yaml")["sweep_file"]
    assert sweep("init orchestrator.models.LitModel --data orchestrator.data.DigitsDataModule")["space"]
    assert sweep("plan quickstart --measure --set trainer.max_epochs=1")["measured"]


def test_a_transfer(sweep: Run) -> None:
    for width in (32, 64):
        described = from_mapping(
            {
                "name": f"small-{width}", "seed": width, "objective": {"metric": "loss", "mode": "min"},
                "model": {"class_path": "nowhere.Never", "init_args": {"width": width}}, "data": "nowhere.Data",
                "trainer": {"max_epochs": 3}, "space": {"model.learning_rate": {"log_uniform": [1e-4, 1e-1]}},
                "searcher": "random", "scheduler": "fifo", "budget": {"trials": 40},
            }
        )  # fmt: skip
        run = run_at(f"small-{width}")
        run.root.mkdir(parents=True)
        events = simulate(described, curve=partial(bowl, 0.3 / width)).events
        Path(run.journal).write_bytes(b"".join(map(encode, events)))
    assert sweep("transfer small-32 small-64 --to width=128")["parameter"].endswith("width")


def bowl(best: float, params: Any, epoch: float) -> dict[str, float]:
    import math

    return {"loss": 1 + math.log10(params["model.learning_rate"] / best) ** 2 + math.exp(-epoch)}
