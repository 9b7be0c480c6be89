"""What a process may do once, or so many times, in trials that one process runs one after another, as a worker does."""

from __future__ import annotations

import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from orchestrator.training import Job, Report
from orchestrator.training.fit_segment import fit
from tests.support.small_sweeps import tiny_job
from tests.support.tiny import Tiny

REPORT = "\nimport orchestrator\norchestrator.report(step=1, loss=0.5)\n"
START = "import multiprocessing\nmultiprocessing.set_start_method('spawn')\n"
GROUP = """
import os, tempfile, torch
place = os.path.join(tempfile.mkdtemp(), "meet")
torch.distributed.init_process_group("gloo", init_method="file://" + place, rank=0, world_size=1)
"""
RESOLVER = """
from omegaconf import OmegaConf
OmegaConf.register_new_resolver("double", lambda x: 2 * int(x))
assert OmegaConf.create({"a": "${double:3}", "b": "${oc.env:HOME,x}"}).a == 6
"""
HYDRA = "from hydra import initialize\ninitialize(version_base=None, config_path=None)\n"
THREADS = "import torch\ntorch.set_num_interop_threads(1)\n"
GIN = "import gin\ngin.register('f')\ngin.bind('f.x', 1)\n"
ACCELERATE = "from accelerate import state\nstate.AcceleratorState('bf16')\n"
LIBRARIES = {
    # What the two libraries do, as far as a second script notices it.
    "gin": """
names, bound, again = set(), {}, False
def enter_interactive_mode():
    global again
    again = True
def register(name):
    assert again or name not in names, "already exists"
    names.add(name)
def bind(name, value):
    assert name not in bound, "locked"
    bound[name] = value
def clear_config():
    bound.clear()
""",
    "accelerate/__init__": "",
    "accelerate/state": """
class AcceleratorState:
    shared = {}
    def __init__(self, precision):
        assert not self.shared, "AcceleratorState has already been initialized"
        self.shared["precision"] = precision
    @classmethod
    def _reset_state(cls, reset_partial_state=False):
        assert reset_partial_state
        cls.shared.clear()
class GradientState:
    _reset_state = staticmethod(lambda: None)
""",
}


def trial(number: int, folder: Path) -> Job:
    code = {"train": "", "program": str(folder / "train.py"), "command": [], "args": {}}
    return Job(
        trial=number, segment=0, seed=1, metric="loss", model=code, data=None, trainer={},
        folder=str(folder / f"run/trials/{number:04d}"),
    )  # fmt: skip


def reports_of(text: str, folder: Path) -> list[Report]:
    """Run a script as two trials of this process; return what they report."""
    (folder / "train.py").write_text(text + REPORT)
    return [report for number in (0, 1) for report in reported(trial(number, folder))]


def reported(job: Job) -> list[Report]:
    reports: list[Report] = []

    def report(each: Report) -> bool:
        reports.append(each)
        return True

    fit(job, report)
    return reports


@pytest.mark.parametrize(
    "text", [START, GROUP, RESOLVER, THREADS], ids=["start method", "process group", "resolver", "threads"]
)
def test_a_second_script_may_do_what_the_first_has_done(text: str, tmp_path: Path) -> None:
    method = multiprocessing.get_start_method(allow_none=True)
    assert len(reports_of(text, tmp_path)) == 2
    assert multiprocessing.get_start_method(allow_none=True) == method
    assert not torch.distributed.is_initialized()


def test_hydra_may_be_initialized_by_each(tmp_path: Path) -> None:
    pytest.importorskip("hydra", reason="needs Hydra: pip install hydra-core")
    assert len(reports_of(HYDRA, tmp_path)) == 2


@pytest.mark.parametrize("text", [GIN, ACCELERATE], ids=["gin", "accelerate"])
def test_what_libraries_keep_is_forgotten(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By stand-ins of libraries that are no dependency: their modules stay loaded from one script to the next."""
    for name, source in LIBRARIES.items():
        path = tmp_path / "site-packages" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    loaded = ("gin", "accelerate", "accelerate.state")
    try:
        assert len(reports_of(text, tmp_path)) == 2
        assert any(name in sys.modules for name in loaded)
    finally:
        for name in loaded:
            sys.modules.pop(name, None)


def test_one_name_twice_in_one_script_is_still_an_error(tmp_path: Path) -> None:
    twice = RESOLVER + "OmegaConf.register_new_resolver('double', lambda x: x)\n"
    for _ in range(2):
        with pytest.raises(ValueError, match="already registered"):
            reports_of(twice, tmp_path)


LOOKED_FOR = """
import importlib.util
assert importlib.util.find_spec("tensorboardX")
from tensorboardX import SummaryWriter
SummaryWriter().add_scalar("loss", 0.25, 1)
"""


def test_a_library_that_is_looked_for_before_it_is_imported_is_listened_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``transformers`` and ``accelerate`` look whether W&B and TensorBoard are there."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboardX"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "train.py").write_text(LOOKED_FOR)
    assert [each.metrics["loss"] for each in reported(trial(0, tmp_path))] == [0.25]


AT_EXIT = """
import atexit, pathlib
notes = pathlib.Path(__file__).with_name("notes")
def note(words):
    with notes.open("a") as file:
        file.write(words + "\\n")
atexit.register(note, "first")
atexit.register(note, "second")
atexit.register(lambda: 1 / 0)
atexit.register(note.__call__, "never")
atexit.unregister(note.__call__)
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)\n"], ids=["end", "exit"])
def test_what_a_script_registers_for_its_end_is_called_there(
    end: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.py").write_text(AT_EXIT + REPORT + end)
    assert len(reported(trial(0, tmp_path))) == 1
    assert (tmp_path / "notes").read_text() == "second\nfirst\n"
    assert "ZeroDivisionError" in capsys.readouterr().err


COMPILED: list[float] = []
"""The share of dropout of each graph that was compiled."""
MODULE = """
import lightning as L, torch
from tests.support.tiny import TinyData

class Module(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
    def training_step(self, batch, index):
        return torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
    def validation_step(self, batch, index):
        self.log("val_loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

graphs = []
def backend(graph, inputs):
    graphs.append(graph)
    return graph.forward

def compiled():
    return torch.compile(Module(), backend=backend)
"""
FIT = """
trainer = L.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False)
trainer.fit(compiled(), TinyData())
assert graphs
"""


class Dropping(Tiny):
    """A network that is compiled for its share of dropout."""

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()

        def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
            COMPILED.append(share)
            return graph.forward

        net = nn.Sequential(nn.Linear(2, 1), nn.Dropout(share))
        self.layer = torch.compile(net, backend=backend)  # type: ignore[assignment]


def test_a_network_is_compiled_however_many_trials_came_before(tmp_path: Path) -> None:
    """`torch.compile` keeps at most eight versions of a function, and runs it uncompiled for any further network."""
    shares = [number / 20 for number in range(1, 13)]
    for number, share in enumerate(shares):
        model = {"class_path": f"{__name__}.Dropping", "init_args": {"share": share}}
        reported(replace(tiny_job(tmp_path, trial=number, epochs=1), model=model))
    assert list(dict.fromkeys(COMPILED)) == shares


def test_a_script_may_fit_what_torch_compile_returns(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(MODULE + FIT)
    reports = reported(replace(trial(0, tmp_path), metric="val_loss"))
    assert [report.epoch for report in reports] == [1, 2]


def test_a_sweep_file_may_name_a_function_that_returns_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compiled_net.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = {"class_path": "compiled_net.compiled", "init_args": {}}
    assert [report.epoch for report in reported(replace(tiny_job(tmp_path), model=model))] == [1, 2]
    assert sys.modules.pop("compiled_net").graphs
