"""Every fenced block of the pages: sweep files are valid, Python runs, commands are known, and the cheap ones run.

What a block needs, or why it is not run, an HTML comment before it says: see tests/support/doc_blocks.py.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import orchestrator.sweep.api as in_python
from docs import check_links
from orchestrator import Sweep, cli
from orchestrator.errors import SpecError
from orchestrator.policies import build_scheduler, build_searcher
from orchestrator.spec import Finalists, SweepSpec, load
from orchestrator.state import merge_spec
from orchestrator.sweep import confirm, launch
from orchestrator.training import class_loading
from tests.support.doc_blocks import Block, blocks_of, fault, words
from tests.support.paths import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

LANGUAGES = {"console", "bash", "python", "toml", "yaml", "text", ""}
READING = {"status", "list", "results", "why", "best", "verify", "plan", "schema"}
NOT_RUN_AT_MOST = 3
PAGES = [page for page in check_links.pages(ROOT) if page.parent.name != "reference"]
BLOCKS = [block for page in PAGES for block in blocks_of(page, ROOT)]
# A fragment of a sweep file is valid where it is with this, and the space's parameters of this with a model of its own.
BASE: dict[str, Any] = {
    "objective": {"metric": "val_acc", "mode": "max"},
    "model": "orchestrator.models.LitModel",
    "data": "orchestrator.data.DigitsDataModule",
    "trainer": {"max_epochs": 9},
}
SPACE = {"model.learning_rate": {"log_uniform": [1e-4, 1e-1]}, "model.dropout": {"uniform": [0.0, 0.5]}}


def those(*languages: str) -> list[Any]:
    return [pytest.param(block, id=str(block)) for block in BLOCKS if block.language in languages]


def pages_of(chosen: Callable[[Block], bool]) -> list[Any]:
    found = dict.fromkeys(block.page for block in BLOCKS if chosen(block))
    return [
        pytest.param([block for block in BLOCKS if block.page == page and chosen(block)], id=page) for page in found
    ]


def is_cheap(command: str) -> bool:
    parts = words(command)
    sweep = len(parts) > 1 and Path(parts[0]).name == "sweep"
    return sweep and parts[1] in READING and not {"--measure", "--out"} & set(parts)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with ``quickstart`` in it: a real sweep of twelve trials, each epoch of two batches."""
    runs = tmp_path_factory.mktemp("finished")
    quick = ["trainer.max_epochs=2", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"]
    launch(load("quickstart", quick), runs, local=True)
    return runs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a page's reader is, with the files of both examples in it."""
    folder = tmp_path / "reader"
    for example in ("own_module", "tutorial"):
        shutil.copytree(ROOT / "docs/examples" / example, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SWEEP_RUNS", "runs")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    yield folder
    for module in ("my_model", "lit"):
        sys.modules.pop(module, None)


@pytest.fixture
def here(finished: Path, folder: Path) -> Path:
    """The same with a finished run."""
    shutil.copytree(finished, folder / "runs")
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page's Python launches is a real sweep, but in this process, and of three short trials."""

    def short(spec: SweepSpec, runs: Any = None, **options: Any) -> Any:
        few = {"budget": {"trials": 3}, "trainer": {"max_epochs": 1, "limit_train_batches": 3}}
        return launch(SweepSpec.model_validate(merge_spec(spec.model_dump(), few)), runs, **{**options, "local": True})

    finals = partial(confirm, local=True, finalists=Finalists(top=1, trials=3))
    monkeypatch.setattr(in_python, "launch", short)
    monkeypatch.setattr(in_python, "confirm", lambda name, runs, **_: finals(name, runs))


def call(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command of the page in this process, on a finished run of the name that it says; its exit code."""
    parts = words(command)
    if parts[1] not in ("plan", "list", "schema") and not (folder / "runs" / parts[2]).exists():
        shutil.copytree(folder / "runs/quickstart", folder / "runs" / parts[2])
    monkeypatch.setattr(sys, "argv", ["sweep", *parts[1:]])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def part_of_a_sweep_file(text: str) -> str:
    """The fragment as a whole file: with what it leaves out taken from ``BASE``."""
    yaml = YAML()
    fragment = yaml.load(text)
    space = {} if "model" in fragment else {"space": SPACE}
    whole = StringIO()
    yaml.dump({**BASE, **space, **fragment}, whole)
    return whole.getvalue()


def check_yaml(text: str, folder: Path) -> None:
    """Raises SpecError where a sweep file, or a part of one, would be refused before anything starts."""
    file = folder / "sweep.yaml"
    file.write_text(text if "objective:" in text else part_of_a_sweep_file(text))
    spec = load(file)
    problems = class_loading.check(spec)
    if problems:
        raise SpecError(problems)
    build_searcher(spec), build_scheduler(spec)


@pytest.mark.parametrize("blocks", pages_of(lambda block: bool(block.commands())))
def test_every_command_of_a_page_is_known_with_its_options(blocks: list[Block]) -> None:
    wrong = [f"{block}: {line}: {said}" for block in blocks for line in block.commands() if (said := fault(line, ROOT))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", pages_of(lambda block: not block.kind and any(map(is_cheap, block.commands()))))
def test_commands_that_read_do_so(
    blocks: list[Block], here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (line for block in blocks for line in block.commands() if is_cheap(line)):
        code = call(command, here, monkeypatch)
        out, err = capsys.readouterr()
        assert code in (0, None), (command, err)
        assert out.strip() or err.startswith("no runs in "), command


@pytest.mark.parametrize("block", those("yaml"))
def test_sweep_files_and_their_parts_are_valid(block: Block, folder: Path) -> None:
    check_yaml(block.text, folder)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", pages_of(lambda block: block.language == "python" and block.kind in ("", "run")))
@pytest.mark.usefixtures("small")
def test_python_runs(blocks: list[Block], here: Path) -> None:
    """In order, in one namespace a page."""
    told: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        if block.kind == "run":
            told |= {"sweep": lambda: {"sweep": Sweep.from_file("quickstart", name="mine")}}[block.what]()
        exec(compile("\n" * block.line + block.text, block.page, "exec"), told)


@pytest.mark.parametrize("block", those("bash"))
def test_shell_is_well_formed(block: Block) -> None:
    answer = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize("block", [pytest.param(block, id=str(block)) for block in BLOCKS if block.kind == "not run"])
def test_a_block_that_is_not_run_says_why(block: Block) -> None:
    assert len(block.what.split()) > 2, f"{block}: {block.what!r} is no reason"
    pytest.skip(f"{block} is not run: {block.what}")


def test_every_block_is_of_a_known_kind_and_few_are_not_run() -> None:
    assert [str(block) for block in BLOCKS if block.language not in LANGUAGES] == []
    assert [str(block) for block in BLOCKS if block.kind == "not run"][NOT_RUN_AT_MOST:] == []


def test_the_tests_that_pages_name_take_their_blocks() -> None:
    named = {(block.page, block.what) for block in BLOCKS if block.kind == "run by"}
    assert [f"{page}: {test}" for page, test in sorted(named) if not runs_it(page, test)] == []


def runs_it(page: str, test: str) -> bool:
    file = ROOT / test
    text = file.read_text() if re.fullmatch(r"tests/test_\w+\.py", test) and file.exists() else ""
    return page in text and "blocks" in text


# Of the tests themselves: what is planted is found.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sweep why quickstart --trail 3", "No such option: --trail"),
        ("sweep explain quickstart", "no command explain"),
        ("sweep rename", "Missing argument"),
        ("sweep cluster valdate", "no command cluster valdate"),
        ("sweep cluster validate --strict", "No such option: --strict"),
        ("sweep cluster validate cluster.yaml", ""),
        ("sweep why quickstart --trial best", "a valid integer"),
        (".venv/bin/sweep launch cifar10 --sett a=1", "No such option: --sett"),
        ("sweep results quickstart --jsn | head", "No such option: --jsn"),
        ("make quickstrat", "no target quickstrat"),
        ("cd docs/example", "no folder docs/example"),
        ("python -m benchmarks_of_none", "no module benchmarks_of_none"),
        ("python nowhere.py", "no file nowhere.py"),
        ("sweeep list", "no program sweeep"),
        ("sweep list 'open", "No closing quotation"),
        ('sweep confirm "$name" --trials "${TRIALS:-15}" # as often as it takes', ""),
        ("RAY=1 sweep launch cifar10 --set a=1 > out.txt", ""),
        ("sweep --help", ""),
    ],
)
def test_a_wrong_command_is_found(command: str, said: str) -> None:
    found = fault(command, ROOT)
    assert said in found if said else not found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budget: {trails: 3}", "trails"),
        ("space:\n  model.learning_rat: {uniform: [0, 1]}", "learning_rat"),
        ("model: {class_path: orchestrator.models.LitModel, init_args: {hidden: 3}}", "hidden"),
        ("searcher: {name: race, points: [{model.width: 3}]}", "model.width"),
    ],
)
def test_a_wrong_part_of_a_sweep_file_is_found(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=said):
        check_yaml(text, tmp_path)


def test_blocks_and_the_comments_that_govern_them_are_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n<!-- run by: tests/test_x.py -->\n\nText.\n\n```console\n$ sweep list \\\n    --json\nout\n```\n\n"
        "<!-- not run: needs a cluster -->\n```python\n1 / 0\n```\n\n- item\n\n  ```bash\n  # no\n  ls\n  ```\n"
    )
    one, two, three = blocks_of(page, tmp_path)
    assert (one.line, one.kind, one.what, one.commands()) == (6, "run by", "tests/test_x.py", ["sweep list  --json"])
    assert (two.language, two.kind, two.what, two.text) == ("python", "not run", "needs a cluster", "1 / 0\n")
    assert (three.kind, three.commands()) == ("run by", ["ls"])
    assert not runs_it("docs/bundles.md", "tests/test_docs.py")


@pytest.mark.slow
def test_broken_python_is_found_at_its_line(here: Path) -> None:
    block = Block("docs/x.md", 7, "python", "from my_model import Regressor\nRegressor(no=1)\n")
    with pytest.raises(TypeError) as raised:
        test_python_runs([block], here)
    assert Path(str(raised.traceback[-1].path)).name == "x.md"
    assert raised.traceback[-1].lineno == 8  # of the file's lines, from 0


@pytest.mark.slow
def test_a_command_that_fails_is_found(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("sweep why quickstart --trial 99", here, monkeypatch) not in (0, None)
