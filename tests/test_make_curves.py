"""The tables of learning curves that are shipped, and the program that makes them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.curve_data import Data
from benchmarks.curve_optimizers import SCHEDULES
from benchmarks.curve_tasks import TASKS, Convolution, train
from benchmarks.make_curves import Design, append, finished, groups, missing, table, train_group, write
from benchmarks.search import SHIPPED, load

ROOT = Path(__file__).resolve().parent.parent
DATA = Path("no folder")  # what these tasks read comes with scikit-learn, and with Python
TABLES = sorted(SHIPPED.glob("*.npz"))


@pytest.fixture
def design(tmp_path: Path) -> Design:
    """Eight trainings of three reports."""
    return Design(TASKS["diabetes_mlp"], rows=8, reports=3, seed=0, work=tmp_path / "work")


def keep(design: Design, *, backwards: bool = False, count: int | None = None) -> None:
    """Train groups of rows, and keep them as the program does."""
    data, lacking = design.task.read(DATA), missing(design)[:count]
    for rows in reversed(lacking) if backwards else lacking:
        append(design.file, *train_group(design, rows, data))


def test_a_training_leaves_the_process_as_it_was(design: Design) -> None:
    before = torch.get_num_threads()
    keep(design, count=1)
    assert torch.get_num_threads() == before
    assert float(torch.tensor(1e-310, dtype=torch.float64) / 2) > 0, "denormal numbers are not flushed to zero"


def test_the_same_seed_makes_the_same_bytes_in_any_order(design: Design, tmp_path: Path) -> None:
    other = replace(design, work=tmp_path / "other")
    keep(design)
    keep(other, backwards=True)
    write(design, tmp_path / "first")
    write(other, tmp_path / "second")
    first, second = ((tmp_path / out / "diabetes_mlp.npz").read_bytes() for out in ("first", "second"))
    assert first == second
    reseeded = replace(design, seed=1, work=tmp_path / "reseeded")
    keep(reseeded)
    assert not np.array_equal(table(reseeded)["diabetes_mlp/valid"], table(design)["diabetes_mlp/valid"])


def test_a_table_has_the_form_that_the_benchmark_reads(design: Design, tmp_path: Path) -> None:
    keep(design)
    assert "8 rows x 3 reports, 10 hyperparameters" in write(design, tmp_path)
    (task,) = load(tmp_path / "diabetes_mlp.npz")
    assert (task.name, len(task.losses), task.epochs) == ("diabetes_mlp", 8, 3)
    assert task.points.shape == (8, 10)
    with np.load(tmp_path / "diabetes_mlp.npz") as arrays:
        assert arrays["diabetes_mlp/param_names"].tolist() == list(TASKS["diabetes_mlp"].space)


def test_a_training_that_diverges_is_nan_from_there_on(design: Design) -> None:
    space = design.task.space | {"learning_rate": {"const": 1e4}, "optimizer": {"const": "sgd"}}
    wild = replace(design, rows=2, task=replace(design.task, space=space))
    keep(wild)
    assert np.isnan(table(wild)["diabetes_mlp/valid"].astype(float)).all()


def test_networks_train_together_as_each_would_alone(design: Design) -> None:
    """The sizes of a network's own PyTorch module and optimizer are the reference; dropout and order are left out."""
    data = design.task.read(DATA)
    every = Data(data.inputs[:16], data.targets[:16], data.valid_inputs, data.valid_targets)
    known = {"schedule": "cosine", "dropout": 0.0, "batch_size": 16, "width": 8, "activation": "tanh", "huber": 1e9}
    for name in OPTIMIZERS:
        rates = [3e-4, 1e-2, 3e-2]
        numbers = {"optimizer": name, "one_minus_momentum": 0.1, "weight_decay": 0.05}
        members = [known | numbers | {"learning_rate": rate} for rate in rates]
        together = train(design.task, every, members, 0, 6)
        torch.manual_seed(0)
        models = [design.task.network(params, every) for params in members]
        alone = [alone_with(model, every, params, 6) for model, params in zip(models, members, strict=True)]
        assert np.allclose(together, alone, rtol=1e-4), name


def alone_with(model: torch.nn.Module, data: Data, params: dict[str, Any], steps: int) -> list[float]:
    optimizer, losses = OPTIMIZERS[params["optimizer"]](model.parameters()), []
    for step in range(steps):
        for each in optimizer.param_groups:
            each["lr"] = params["learning_rate"] * SCHEDULES[params["schedule"]](step / steps)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(data.inputs), data.targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            losses.append(torch.nn.functional.mse_loss(model(data.valid_inputs), data.valid_targets).item())
    return losses


OPTIMIZERS: dict[str, Any] = {
    "sgd": partial(torch.optim.SGD, momentum=0.9, weight_decay=0.05),
    "adamw": partial(torch.optim.AdamW, betas=(0.9, 0.99), weight_decay=0.05),
    "rmsprop": partial(torch.optim.RMSprop, momentum=0.9, weight_decay=0.05),
}


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_that_of_pytorch(stride: int) -> None:
    images, convolution = torch.randn(4, 3, 9, 9), Convolution(3, 5, 3, padding=1, stride=stride)
    assert torch.allclose(convolution(images), torch.nn.Conv2d.forward(convolution, images), atol=1e-5)


def test_a_torn_line_is_trained_again_and_another_design_is_refused(design: Design) -> None:
    keep(design, count=3)
    whole, kept = design.file.read_text(), len(finished(design))
    design.file.write_text(whole[:-9])
    assert len(finished(design)) == kept - 1
    keep(design)
    assert not missing(design)
    with pytest.raises(SystemExit, match="another design"):
        finished(replace(design, reports=4))


def started(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.make_curves", "diabetes_mlp", "--rows", "40", "--reports", "20"]
    places = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    return subprocess.Popen(
        [*command, *places, *arguments],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def records(tmp_path: Path) -> list[dict[str, Any]]:
    file = tmp_path / "work" / "diabetes_mlp.jsonl"
    lines = file.read_text().splitlines()[1:] if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_program_continues_without_repeating(tmp_path: Path, how: signal.Signals) -> None:
    program = started(tmp_path, "--jobs", "1")
    until = time.monotonic() + 120
    while len(records(tmp_path)) < 5 and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(program.pid, how)
    _, said = program.communicate(timeout=60)
    kept = records(tmp_path)
    assert 5 <= len(kept) < 40
    assert how == signal.SIGKILL or "the same command continues" in said
    output, said = started(tmp_path, "--jobs", "2").communicate(timeout=250)
    assert "40 rows x 20 reports" in output, said
    assert records(tmp_path)[: len(kept)] == kept
    assert sorted(record["row"] for record in records(tmp_path)) == list(range(40))
    unbroken = Design(TASKS["diabetes_mlp"], rows=40, reports=20, seed=0, work=tmp_path / "unbroken")
    keep(unbroken)
    with np.load(tmp_path / "out" / "diabetes_mlp.npz") as made:
        assert np.array_equal(made["diabetes_mlp/valid"], table(unbroken)["diabetes_mlp/valid"], equal_nan=True)


def test_schedules_go_from_a_first_rate_to_a_last_one() -> None:
    for name, rate in SCHEDULES.items():
        assert max(rate(step / 100) for step in range(100)) == pytest.approx(1.0, abs=0.02), name
        assert (rate(0.0) < 0.05) == ("warmup" in name)
        assert (rate(0.99) < 0.05) == (name != "constant")


def test_tables_are_shipped() -> None:
    assert len(TABLES) >= 7
    assert {path.stem for path in TABLES} <= set(TASKS)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_shipped_table_is_small_and_of_the_present_tasks(path: Path) -> None:
    (task,) = load(path)
    known = TASKS[path.stem]
    assert (task.name, task.epochs) == (path.stem, known.reports)
    assert len(task.losses) >= 500
    assert path.stat().st_size <= 300_000
    arrays = contents(path)
    assert arrays["params"].dtype == arrays["valid"].dtype == np.float16
    assert ((arrays["params"] >= 0) & (arrays["params"] <= 1)).all()
    assert arrays["param_names"].tolist() == list(known.space)
    drawn = Design(known, len(task.losses), known.reports, 0, Path()).points()
    columns = [list(known.space).index(name) for name in ("learning_rate", "one_minus_momentum", "weight_decay")]
    assert np.allclose(arrays["params"][:, columns], drawn[:, columns], atol=1e-3)
    after = np.maximum.accumulate(np.isnan(arrays["valid"]), axis=1)
    assert np.array_equal(after, np.isnan(arrays["valid"]))  # who diverged stays so


@pytest.mark.parametrize("name", ["diabetes_mlp", pytest.param("digits_cnn", marks=pytest.mark.slow)])
def test_a_shipped_row_is_what_the_program_trains(name: str) -> None:
    """The first reports of three rows of four: another processor rounds otherwise, and in some the difference grows."""
    shipped = contents(SHIPPED / f"{name}.npz")["valid"].astype(float)
    design = Design(TASKS[name], len(shipped), TASKS[name].reports, 0, Path())
    rows = min(groups(design), key=len)
    same = [
        np.allclose(np.array(record["losses"][:2], float), shipped[record["row"], :2], rtol=1e-3, equal_nan=True)
        for record in train_group(design, rows, design.task.read(DATA))
    ]
    assert len(same) >= 25
    assert sum(same) >= 0.75 * len(same)


def contents(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as arrays:
        return {key.partition("/")[2]: arrays[key] for key in arrays.files}
