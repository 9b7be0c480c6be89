"""Run one batch of a sweep's code in a process of its own while the launch prepares, and read what it found.

The user's code runs in `orchestrator.training.code_check`, whose process imports torch and Lightning while the launch
does. A stamp in the user's cache folder records a run that passed: it is not repeated as long as spec, code and
versions are the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.errors import Problem, SpecError
from orchestrator.secrets import masked
from orchestrator.seeds import trial_seed
from orchestrator.spec import SweepSpec, apply
from orchestrator.training import Job
from orchestrator.training.check_finding import RULES, Finding
from orchestrator.training.class_loading.argument_checks import configurations
from orchestrator.training.machine_info import versions

_MADE = {"model", "data", "optimizer", "lr_scheduler", "objects", "train", "program", "command", "args", "trainer"}
_TRIED = {*_MADE, "space", "objective", "constraints"}
OFF = "SWEEP_NO_PREFLIGHT"
"""Set to 1 in the environment, no launch runs the user's code beforehand."""

_MOST_PROBES = 200
_MODULE = "orchestrator.training.code_check"
_PATIENCE_SECONDS = 15.0
_LONGEST_SECONDS = 120.0
_RECORDED = ("sweep-orchestrator", "torch", "torchvision", "torchmetrics", "lightning", "numpy")
_PATHS: Mapping[str, tuple[str, ...]] = {"data": ("data",), "objective": ("objective", "metric")}


def is_off() -> bool:
    """Return whether the environment asks for launches without a run of the user's code."""
    return os.environ.get(OFF, "") not in ("", "0")


def _patience() -> float:
    """Return how many seconds a launch waits for the finding: 15, and more if other programs keep the machine busy."""
    waiting = os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(_LONGEST_SECONDS, _PATIENCE_SECONDS * max(1.0, waiting))


class CodeRun:
    """The process that runs one batch, from its start until `close`; entered, it is closed at the end.

    It starts at once, unless a run that passed is on record, and imports the libraries until `begin`.

    Args:
        spec: the sweep, as it is written.
        roots: folders that the user's modules are imported from.
    """

    def __init__(self, spec: SweepSpec, roots: Sequence[str]) -> None:
        self._spec, self._roots = spec, list(roots)
        self._began = time.monotonic()
        self._folder = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._doubts: list[Problem] = []
        self._stamp = _stamp_file(spec, self._roots)
        if not _is_stamped(self._stamp):
            self._start()

    def __enter__(self) -> CodeRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _start(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="sweep-check-")
        self._answer = Path(self._folder) / "answer"
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": "", OFF: "1"}
        with self._answer.open("wb") as answer:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", _MODULE],
                stdin=subprocess.PIPE, stdout=answer, stderr=subprocess.DEVNULL, env=environment,
                start_new_session=True,
            )  # fmt: skip

    def begin(self, spec: SweepSpec) -> None:
        """Let the process run the code, now that classes and arguments are right and shipped data are there.

        ``spec`` has full import paths. A second call does nothing.
        """
        self._spec = spec
        if self._process is None or self._process.stdin is None or self._process.stdin.closed:
            return
        parts = {"job": asdict(_job(spec)), "probes": _probes(spec)}
        request = json.dumps({**parts, "roots": self._roots, "folder": self._folder})
        with contextlib.suppress(OSError), self._process.stdin as pipe:  # the process may have died
            pipe.write(request.encode())

    @property
    def is_running(self) -> bool:
        """Whether `require` would wait."""
        return self._process is not None and self._process.poll() is None

    def require(self, doubts: Sequence[Problem]) -> None:
        """Wait for the finding, as long as a launch may wait, and print a warning for what is unclear.

        ``doubts`` is what the source of the code lets one suspect; a run that passed has cleared them up.

        The wait is at most `_patience`; where the machine is so slow that the launch itself has taken longer since the
        start of the process, it is as long as that. A finding that comes later is printed.

        Raises:
            SpecError: Every trial would fail.
        """
        if self._process is None:
            return
        self._doubts = list(doubts)
        try:
            self._process.wait(max(time.monotonic() - self._began, _patience()))
        except subprocess.TimeoutExpired:
            threading.Thread(target=self._print_late, name="code run", daemon=True).start()
            return
        finding = self._finding(self._process)
        self.close()
        if finding.outcome == "refused":
            raise SpecError([self._problem(finding)])
        self._conclude(finding)

    def _problem(self, finding: Finding) -> Problem:
        door = "train" if self._spec.train else "program" if self._spec.program else "command"
        path = _PATHS.get(finding.rule, (door if self._spec.is_code else "model",))
        if finding.rule == "arguments":
            path = _place_of(self._spec, finding.message) or path
        run = "the code was tried" if self._spec.is_code else "one batch was run"
        message = f"{finding.message} ({run} before the start: {RULES[finding.rule]})"
        hint = f"{finding.hint}; --no-preflight launches without this check"
        return Problem(masked(message), masked(hint), path, **self._spec.locate(path))

    def _conclude(self, finding: Finding) -> None:
        for note in finding.notes:
            print(f"notice: {masked(note)}", file=sys.stderr)
        if finding.outcome == "passed":
            _write_stamp(self._stamp, finding.files or {})
        else:
            run = "the code was tried" if self._spec.is_code else "one batch was run"
            print(f"warning: {masked(f'{run} before the start: {finding.message}')}", file=sys.stderr)
            print(f"hint: {masked(finding.hint)}", file=sys.stderr)
            warn_of(self._doubts)

    def _print_late(self) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired, OSError):
            process.wait(_LONGEST_SECONDS)
            finding = self._finding(process)
            if self._process is process:  # the sweep has not ended meanwhile
                self._conclude(finding)
                self.close()

    def _finding(self, process: subprocess.Popen[bytes]) -> Finding:
        """Return what the process printed; ``unclear`` if it died."""
        try:
            return Finding(**json.loads(self._answer.read_text()))
        except (OSError, ValueError, TypeError):
            message = f"its process ended with exit code {process.returncode}"
            return Finding("unclear", "", message, "the sweep goes on; a trial may end in the same way")

    def close(self) -> None:
        """End the process and all that it has started, and remove its folder."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def warn_of(doubts: Sequence[Problem]) -> None:
    """Print what the source of the user's code lets one suspect."""
    for doubt in doubts:
        print(f"warning: {masked(str(doubt))}", file=sys.stderr)


def _job(spec: SweepSpec) -> Job:
    """Return a trial with the parameters of one configuration, drawn as a first trial's would be."""
    model, data, trainer = apply(spec, spec.space.sample(random.Random(spec.seed)))
    return Job(
        trial=0,
        segment=0,
        seed=trial_seed(spec.seed, 0),
        metric=spec.objective.metric,
        required=[goal.metric for goal in spec.objective.also] + [bound.metric for bound in spec.constraints],
        model=model.model_dump(),
        data=data.model_dump() if data else None,
        trainer=trainer,
        folder="",
        threads=1,
    )


def _probes(spec: SweepSpec) -> list[dict[str, Any]]:
    """Return the arguments of configurations in which every domain of a script takes its ends, or each choice."""
    if not (spec.program or spec.command):
        return []
    return [apply(spec, params)[0].model_dump()["args"] for params in islice(configurations(spec), _MOST_PROBES)]


def _place_of(spec: SweepSpec, message: str) -> tuple[str, ...]:
    """Return where the sweep file names the option that a script's parser refuses; empty if it is not one of its."""
    for section, names in (("space", spec.space), ("args", spec.args)):
        for name in sorted(names, key=len, reverse=True):
            if re.search(rf"(?<![\w.-])(--)?{re.escape(name)}(?![\w-])", message):
                return section, name
    return ()


def _stamp_file(spec: SweepSpec, roots: list[str]) -> Path:
    """Return the file that records a passed run of this spec with these versions."""
    parts = spec.model_dump(mode="json", include=_TRIED)
    content = [parts, spec.seed, roots, str(Path.cwd()), versions(_RECORDED), sys.version]
    digest = sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "sweep-orchestrator" / "passed" / f"{digest}.json"


def _is_stamped(stamp: Path) -> bool:
    """Return whether the run is recorded and no file of the user's code has changed since."""
    try:
        files = json.loads(stamp.read_text())
        return all(sha256(Path(file).read_bytes()).hexdigest() == digest for file, digest in files.items())
    except (OSError, ValueError, AttributeError):
        return False


def _write_stamp(stamp: Path, files: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        beside = stamp.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(dict(files)))
        beside.replace(stamp)
