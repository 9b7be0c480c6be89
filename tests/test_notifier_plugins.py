"""Notifiers by registry: each is one class, and one of an installed package is told of a sweep's end."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from orchestrator import registry
from orchestrator.errors import SpecError, UsageError
from orchestrator.notify import Notifier, notification_problems
from orchestrator.notify.messages import note
from orchestrator.notify.target import Target, deliver, title
from orchestrator.spec import SweepSpec, from_mapping, json_schema
from tests.support.plugins import write_package

MINIMAL = {"name": "a", "model": "a.B", "space": {"model.x": {"choice": [1]}},
           "objective": {"metric": "m", "mode": "min"}}  # fmt: skip
FILE = """
from pathlib import Path

from orchestrator.errors import Problem
from orchestrator.notify.target import Target


class File(Target):
    name = "file"
    summary = "Append each note to a file."
    Options = str

    @classmethod
    def problems(cls, options):
        if not Path(options).parent.is_dir():
            yield Problem(f"there is no folder for {options}")

    @classmethod
    def deliver(cls, options, note, canceled):
        with open(options, "a") as file:
            file.write(note.text + "\\n")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "installed"
    folder.mkdir()
    write_package(folder, "sweep-file", modules={"sweep_file_note": FILE, "sweep_bad_note": "import no_such_library\n"},
                  entry_points={"sweep_orchestrator.notifiers": {"file": "sweep_file_note:File",
                                                                 "bad": "sweep_bad_note:Bad"}})  # fmt: skip
    monkeypatch.syspath_prepend(str(folder))


def spec(**notify: object) -> SweepSpec:
    return from_mapping({**MINIMAL, "notify": [notify]})


@pytest.mark.parametrize("name", registry.names("notifiers", installed=False))
def test_each_notifier_keeps_the_contract(name: str) -> None:
    target = registry.load("notifiers", name)
    assert issubclass(target, Target)
    assert target.summary.endswith(".")
    options = TypeAdapter(target.Options)
    read = options.validate_python(target.examples[0])
    assert options.dump_python(read, exclude_unset=True) == target.examples[0]
    notification = spec(**{name: target.examples[0]}).notify[0]
    assert (notification.notifier, notification.options) == (name, read)
    assert title(notification)
    assert name in json_schema()["$defs"]["Notification"]["properties"]


def test_a_notifier_of_an_installed_package_is_told(package: None, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    notification = spec(file=str(file)).notify[0]
    assert SweepSpec.model_validate(spec(file=str(file)).model_dump()).notify[0] == notification
    deliver(notification, note("finished", "a", "finished"), threading.Event())
    notifier = Notifier([notification], "a")
    notifier.notify(note("failed", "a", "failed"))
    notifier.close()
    assert file.read_text() == "sweep a finished\nsweep a failed\n"
    (problem,) = notification_problems(spec(file="/no/such/folder/notes").notify)
    assert problem.path == ("notify", 0, "file")


def test_one_that_is_broken_or_misspelt_is_named(package: None) -> None:
    with pytest.raises(UsageError, match=r"notifier 'bad' of package sweep-file 1.0 .* No module named"):
        spec(bad="x")
    with pytest.raises(SpecError, match=r"(?s)unknown key 'fil'.*did you mean file\?"):
        spec(fil="x")
    with pytest.raises(SpecError, match="specify one target: bad or command or email or file or webhook"):
        spec(on=["finished"])
    earlier = from_mapping({**MINIMAL, "notify": [{"webhook": None, "command": ["true"], "on": ["failed"]}]})
    assert earlier == spec(command=["true"], on=["failed"]), "as journals of 0.1.0 have it"
