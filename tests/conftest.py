"""What every test may count on: its own environment, its own folder of runs, and no Ray but one of its own."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import s3 as s3_server
from tests.support.host_sweeps import net, unbroken
from tests.support.markers import IN_FULL, examples
from tests.support.one_host_cluster import shared_address, where
from tests.support.paths import ROOT
from tests.support.ray_sweeps import nothing_is_left

pytest_plugins = ["tests.support.tiers"]
__all__ = ["net", "nothing_is_left", "shared_address", "unbroken", "where"]  # fixtures

# Each takes a second or more. Not Ray and MLflow, which few tests need and which start threads.
LATE_IMPORTS = (
    "lightning",
    "torchvision",
    "optuna",
    "sklearn.datasets",
    "onnxruntime",
    "onnxscript",
    "matplotlib.pyplot",
)

# Set while pytest collects, before a test file can import Ray or W&B, which read some of this when imported.
for name in ["RAY_ADDRESS", "RAY_NAMESPACE", "WANDB_API_KEY", "SWEEP_RUNS", "PL_GLOBAL_SEED", "FORCE_COLOR"]:
    os.environ.pop(name, None)
os.environ.update(
    RAY_AUTH_MODE="disabled",  # else a local ray.init() writes a token into the home directory
    RAY_TMPDIR=tempfile.mkdtemp(prefix="sw", dir="/tmp"),  # short: Ray's Unix sockets allow 107 characters
    RAY_USAGE_STATS_ENABLED="0",
    WANDB_MODE="offline",
    NO_COLOR="1",
    OMP_NUM_THREADS="1",  # on busy cores a second thread makes a small step 30 times as long
    SWEEP_NO_PREFLIGHT="1",  # it costs a process a launch; tests/test_code_run.py is about it
    XDG_CONFIG_HOME=tempfile.mkdtemp(prefix="sw", dir="/tmp"),  # a key of the tests' own
)
# The same examples each time: whether a change lands must not hang on a draw. The nightly job draws anew.
settings.register_profile(
    "tests",
    derandomize=not IN_FULL,
    deadline=None,
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tests")
# Inherited by what a test starts; under nohup, or in the background of a script, they would be ignored there.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def no_ray_left_behind() -> Iterator[None]:
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()
    shutil.rmtree(os.environ["RAY_TMPDIR"], ignore_errors=True)
    shutil.rmtree(os.environ["XDG_CONFIG_HOME"], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def late_imports() -> None:
    """In a run with workers, import first what tests import in their bodies: none of them is charged for it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        with warnings.catch_warnings(action="ignore"):
            for module in LATE_IMPORTS:
                importlib.import_module(module)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Runs go to the test's own folder, and what a test sets (a fit sets PL_GLOBAL_SEED) is gone in the next."""
    monkeypatch.setenv("SWEEP_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("SWEEP_SECRETS", raising=False)  # a module that is imported may name a webhook
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server for all tests; it starts in 2 s."""
    with s3_server.server() as endpoint:
        yield endpoint


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The URL of an empty bucket on a real S3 server, for this process and those that it starts."""
    for name, value in s3_server.environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bucket = f"test-{uuid.uuid4()}"
    s3_server.make_bucket(s3_endpoint, bucket)
    return f"s3://{bucket}"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the checkout with data and cluster tools too large to commit; skips where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}, which holds data too large to commit")
    return folder


@pytest.fixture(scope="session")
def cifar10(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """The official CIFAR-10 files."""
    folder = tmp_path_factory.mktemp("cifar10")
    subprocess.run([sys.executable, str(shared / "data" / "unpack_cifar10.py"), str(folder)], check=True)
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The machine's own Chromium or Chrome, for `browser.browse`; skips where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("needs Chromium or Chrome: apt install chromium")
    return program
