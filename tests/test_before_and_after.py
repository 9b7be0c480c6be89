"""docs/before-and-after.md: each command of the page, in its order, on the example that it names."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import cli, load_results
from orchestrator.results.verify import check
from tests.support.page_blocks import blocks
from tests.support.paths import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.timeout(900),
]

PAGE = "docs/before-and-after.md"
Run = Callable[[str], str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command of the page in this process, in a copy of the example's folder; its standard output."""
    folder = Path(shutil.copytree(ROOT / "docs/examples/own_module", tmp_path / "mine"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(line: str) -> str:
        words = shlex.split(line)
        local = ["--local"] if words[1] in ("launch", "extend") else []
        monkeypatch.setattr(sys, "argv", [*words, *local])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert ended.value.code in (0, None), err
        return out

    return call


def commands() -> dict[str, str]:
    """Each command of the page, and what the page shows of its output."""
    told: dict[str, str] = {}
    for block in blocks(PAGE, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                told[line[2:]] = ""
            else:
                told[list(told)[-1]] += f"{line}\n"
    return told


def test_every_command_of_the_page_does_what_it_says(run: Run) -> None:
    page = commands()
    assert [command.split()[1] for command in page] == ["plan", "plan", "launch", "extend", "extend", "launch"]
    paper, measured, launched, more, longer, warm = page
    assert run(paper) == page[paper]
    costs = run(measured)
    assert costs.startswith(page[paper])
    for word in ("fastest and largest corner", "slowest corner", "hours: ", "cost: ", "memory: ", "checkpoints: "):
        assert word in costs, costs
    run(launched)
    assert len(load_results("own-module").state.trials) == 8
    run(more)
    assert len(load_results("own-module").state.trials) == 12
    run(longer)
    state = load_results("own-module").state
    assert max(trial.epoch for trial in state.trials.values()) == 18
    assert state.spec["trainer"]["max_epochs"] == 18
    run(warm)
    second = load_results("own-module-2")
    assert second.state.warm_start_trials == 12
    assert check(load_results("own-module").run).violations + check(second.run).violations == []
    assert json.loads(run("sweep status own-module --json"))["budget"]["trials"] == 12
