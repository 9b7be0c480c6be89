"""Functions that a sweep trains, of the kinds that people have."""

from __future__ import annotations

import argparse
import os
import signal
from collections import UserDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import orchestrator


def counts(rate: float, epochs: int = 4) -> None:
    """Report ``rate + 1 / epoch``, and resume from the number of epochs."""
    folder = orchestrator.restore()
    done = int((folder / "done").read_text()) if folder else 0
    for epoch in range(done + 1, epochs + 1):
        with orchestrator.checkpoint() as saved:
            (saved / "done").write_text(str(epoch))
        orchestrator.report(step=epoch, loss=rate + 1 / epoch, resumed=done)


def killed_once(rate: float, mark: str, epochs: int = 4) -> None:
    """As `counts`, but the process is killed in epoch 3 of the first trial that gets there."""
    folder = orchestrator.restore()
    done = int((folder / "done").read_text()) if folder else 0
    for epoch in range(done + 1, epochs + 1):
        if epoch == 3 and not Path(mark).exists():
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with orchestrator.checkpoint() as saved:
            (saved / "done").write_text(str(epoch))
        orchestrator.report(step=epoch, loss=rate + 1 / epoch, resumed=done)


def objective(cfg: Any) -> float:
    return float((cfg.rate - 0.5) ** 2 + cfg["optim"]["momentum"])


def metrics(rate: float) -> dict[str, float]:
    return {"loss": rate, "other": 1.0}


@dataclass
class Optim:
    lr: float = 0.1


@dataclass
class Config:
    rate: float
    optim: Optim = field(default_factory=Optim)


class Model(BaseModel):
    rate: float
    width: int = 3


def of_dataclass(cfg: Config) -> float:
    assert isinstance(cfg, Config)
    assert isinstance(cfg.optim, Optim)
    return cfg.rate + cfg.optim.lr


def of_pydantic(cfg: Model) -> float:
    assert isinstance(cfg, Model)
    return cfg.rate


def of_namespace(args: argparse.Namespace) -> float:
    assert isinstance(args, argparse.Namespace)
    return float(args.rate)


def of_dict(config: dict[str, Any]) -> float:
    assert type(config) is dict
    return float(config["rate"])


def silent(rate: float) -> None:
    pass


def backwards(rate: float) -> None:
    for step in (3, 2, 1):
        orchestrator.report(step=step, loss=rate)


NOT_A_FUNCTION = UserDict[str, int]()
