"""A training process that trains nothing: it speaks the protocol of the real one, and goes wrong as it is told.

For the tests of what is around it. Told by ``model.init_args``: ``pause`` seconds an epoch, ``fault`` and the ``rank``
that has it at ``at`` epochs. Rank 0 writes checkpoints and reports; the others wait for its end, as in a collective.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from orchestrator.durable_files import fingerprint
from orchestrator.training import Checkpoint, Job, Report
from orchestrator.xla.slice_trial import HostChannel


def interpreter(folder: Path) -> Path:
    """A program to name in ``SWEEP_TPU_PYTHON`` that runs this, whatever it is asked to run."""
    program = folder / "python"
    root = Path(__file__).resolve().parents[2]
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path[:0] = [{str(root)!r}]\n"
        "import tests.support.tpu_payload as p\np.main()\n"
    )
    program.chmod(0o755)
    return program


def main() -> None:
    host = HostChannel()
    order = host.order()
    job, process = Job.from_text(order["job"]), order["process"]
    told = job.model["init_args"]
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "seen.txt").open("a") as file:
        file.write(f"{job.segment} {process['rank']} {process['address']} {os.environ['RANK']} {os.getpid()}\n")
    print(f"process {process['rank']} is here", flush=True)
    start = job.checkpoint["epoch"] if job.checkpoint else 0
    done = folder / f"done-{job.segment}"
    for epoch in range(start + 1, job.trainer["max_epochs"] + 1):
        time.sleep(float(told.get("pause", 0.0)))
        if told.get("rank", 0) == process["rank"] and told.get("at", 1) == epoch and told.get("fault"):
            break_down(host, told, folder)
        if process["rank"] == 0:
            if not host.report(Report(epoch, metrics(job.trial, epoch), written(job, epoch))):
                break
        else:
            wait_for(done, host) if epoch == job.trainer["max_epochs"] else None
    done.touch()
    host.send(ended=True)
    os._exit(0)


def metrics(trial: int, epoch: int) -> dict[str, float]:
    return {"val_loss": 1.0 / (epoch + trial)}


def written(job: Job, epoch: int) -> Checkpoint:
    path = job.checkpoints / f"epoch={epoch:04d}-segment={job.segment}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{job.trial} {epoch}")
    size, digest = fingerprint(path)
    return Checkpoint(path.relative_to(job.run_directory).as_posix(), size, digest, epoch)


def wait_for(path: Path, host: HostChannel) -> None:
    while not path.exists():
        time.sleep(0.02)


def break_down(host: HostChannel, told: dict[str, Any], folder: Path) -> None:
    once = folder / "broke"
    if told["fault"].endswith("_once") and once.exists():
        return
    once.touch()
    fault = told["fault"].removesuffix("_once")
    if fault == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "raise":
        host.send(failed={"kind": "user", "message": "ValueError: the user's own mistake", "fingerprint": "f"})
        os._exit(0)
    elif fault == "refuse":
        host.send(refused="planned 4 XLA devices, found 2", hint="is it the slice?")
        os._exit(0)
    elif fault == "hang":
        time.sleep(3600)
