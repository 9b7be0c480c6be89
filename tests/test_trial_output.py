"""What a trial prints is in its log, masked and capped."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from orchestrator.engine.capped_log import HEAD, TAIL, CappedLog
from orchestrator.engine.output_capture import OutputCapture
from orchestrator.results.log_reader import Followed, logs
from orchestrator.results.warning_digest import digest
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState, Trial
from orchestrator.training import Job

KEY = "q8Zk2LmP9xWvT4rB7nYc"


def job_in(folder: Path, trial: int = 7) -> Job:
    trial_folder = folder / "trials" / f"{trial:04d}"
    trial_folder.mkdir(parents=True)
    return Job(trial, 0, 0, "val_loss", {"class_path": "m.M"}, None, {}, str(trial_folder))


def from_c(line: str) -> None:
    libc = ctypes.CDLL(None)
    libc.puts(line.encode())
    libc.fflush(None)


@pytest.mark.filterwarnings("always")
def test_everything_that_a_segment_prints_is_in_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SERVICE_API_KEY", KEY)
    job = job_in(tmp_path)
    with OutputCapture(job) as output, output.noting():
        print("a line")
        from_c(f"from C with {KEY}")
        subprocess.run([sys.executable, "-S", "-c", "print('from a process')"], check=True)
        os.write(2, b"\x1b[31mred\x1b[0m \x1b[2Jcleared\n10%\r50%\r100%\n")
        logging.getLogger("mine").warning("logged %d", 1)
        logging.getLogger("mine").warning("logged %d", 2)
        warnings.warn("warned", stacklevel=1)
    print("not of the trial")
    text = Path(job.folder, "logs", "segment_0.log").read_text()
    expected = ["a line", "from C with ***", "from a process", r"red \x1b[2Jcleared", "100%"]
    assert [line for line in text.splitlines() if line in expected] == expected
    assert KEY not in text
    assert "not of the trial" not in text
    assert "10%" not in text
    noted = "".join(path.read_text() for path in (tmp_path / "warnings").iterdir())
    assert noted.count("logged") == 1, "alike ones are noted once"
    assert '"category": "UserWarning"' in noted


def test_the_next_segment_has_a_log_of_its_own(tmp_path: Path) -> None:
    for trial, word in enumerate(("first", "second")):
        with OutputCapture(job_in(tmp_path, trial)):
            os.write(1, word.encode())
    logs = [path.read_text() for path in sorted(tmp_path.glob("trials/*/logs/*.log"))]
    assert logs == ["first\n", "second\n"]


def test_alike_warnings_are_one_sentence(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    (tmp_path / "warnings").mkdir()
    records = [
        {"trial": n, "text": f"loss {n}.5 is high\x1b[2J", "category": "UserWarning", "place": "m.py:3"} for n in (0, 1)
    ]
    records += [{"trial": 1, "text": "no data", "category": "ERROR", "place": "m.py:9"}]
    odd = [{"trial": 99, "text": "x"}, [], {"trial": "1"}, {"trial": 1, "text": 3, "category": "", "place": ""}]
    for name, some in (("a", records[:1]), ("b", records[1:] + odd)):
        (tmp_path / f"warnings/{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in some) + "{torn")
    state = SweepState()
    state.trials.update({n: Trial(n, {}, "random", n) for n in range(3)})
    assert digest(run, state) == [
        "1 of 3 trials logged an error: no data (m.py:9)",
        r"2 of 3 trials warned: loss 0.5 is high\x1b[2J (m.py:3)",
    ]


def test_a_log_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "logs" / "segment_0.log")
    for part in range(400):
        log.feed(b"".join(b"line %07d of many\n" % (part * 1000 + number) for number in range(1000)))
        log.flush()
    log.feed(b"the last words")
    log.flush(last=True)
    lines = log.path.read_text().splitlines()
    assert log.path.stat().st_size < HEAD + TAIL + 200
    assert lines[0] == "line 0000000 of many"
    assert lines[-2:] == ["line 0399999 of many", "the last words"]
    marker = next(line for line in lines if line.startswith("---"))
    left_out = int(marker.split()[4].replace(",", ""))
    assert left_out + len(lines) - 1 == 400_001, "no line is lost uncounted"
    numbers = [int(line.split()[1]) for line in lines if line.startswith("line")]
    assert numbers == sorted(numbers)


def test_new_lines_are_followed_over_what_is_left_out(tmp_path: Path) -> None:
    run, path = RunDirectory(tmp_path), tmp_path / "trials/0003/logs/segment_0.log"
    path.parent.mkdir(parents=True)
    (path.parent / "segment_0.rank1.log").write_text("of another rank\n")
    (tmp_path / "trials/0004").symlink_to("/etc")
    followed = Followed(run, last=1)
    path.write_text("one\ntwo\n")
    assert [text.lines for text in followed.new_lines([3, 4, 5])] == [["two"]]
    assert followed.new_lines([3]) == []
    path.write_text("one\ntwo\n--- left out here: 5 lines, 0.1 MB ---\neight\x1b[2J\n")
    marker, line = followed.new_lines([3])[0].lines
    assert (marker.split()[4], line) == ("5", r"eight\x1b[2J")
    path.write_text("one\ntwo\n--- left out here: 6 lines, 0.1 MB ---\nnine\n")
    assert followed.new_lines([3])[0].lines == ["nine"]
    assert [log.rank for log in logs(run, [3])] == [0, 1]
