"""A sweep as a Slurm batch script: a Ray cluster on the nodes of one allocation, and the sweep on it."""

from __future__ import annotations

import hashlib
import math
import re
import shlex
from dataclasses import dataclass

from orchestrator.cluster.manifest import Manifest, label
from orchestrator.cluster.rules import HEALTH
from orchestrator.errors import UsageError
from orchestrator.spec import SweepSpec, to_yaml

_TIME = re.compile(r"(?:\d+-)?\d{1,2}(?::\d{2}){0,2}|\d+")
_WORD = re.compile(r"[\w.,:+-]+")


@dataclass(frozen=True)
class Allocation:
    """A request for an allocation.

    Args:
        nodes: Whole nodes, each for ``trials`` at once.
        time: The limit in Slurm's format: 24:00:00, or 2-12 for two days and a half.
        runs: A folder that all nodes see, or a URL in object storage.
        partition: The partition; empty for the site's default.
        token: The token's file, on a file system that all nodes see.
    """

    runs: str
    nodes: int = 2
    time: str = "24:00:00"
    trials: int = 1
    partition: str = ""
    token: str = "$HOME/.sweep/token"


class Slurm(Manifest):
    """A batch script."""

    name = "slurm"
    summary = "A Slurm batch script."
    Options = Allocation

    @classmethod
    def render(cls, spec: SweepSpec, options: Allocation) -> str:
        """Return the script. Raises UsageError as `slurm`."""
        return slurm(spec, options)


def slurm(spec: SweepSpec, options: Allocation) -> str:
    """Return the script. Raises UsageError if Slurm could not parse the time or the partition."""
    for text, pattern, what, example in (
        (options.time, _TIME, "time", "24:00:00"),
        (options.partition or "x", _WORD, "partition", "gpu"),
    ):
        if not pattern.fullmatch(text):
            raise UsageError(f"{text!r} is no {what} of Slurm's", hint=f"e.g. {example}")
    file = to_yaml(spec).rstrip("\n")
    values = {
        "DIRECTIVES": "\n".join(f"#SBATCH {line}" for line in _directives(spec, options)),
        "NAME": shlex.quote(spec.name),
        "RUNS": shlex.quote(options.runs),
        "TOKEN": _path(options.token),
        "HEALTH": " ".join(f"RAY_health_check_{key}={value}" for key, value in HEALTH.items()),
        "END": f"END-{hashlib.sha256(file.encode()).hexdigest()[:16]}",  # a line that is not in the file
        "SPEC": file,
    }
    return re.sub(r"@([A-Z]+)@", lambda mark: values[mark[1]], _SCRIPT)  # in one pass: a value may hold a mark


def _path(text: str) -> str:
    """Return a path as a word of a shell, whose home folder is that of the job."""
    match = re.match(r"(?:\$HOME|\$\{HOME\}|~)/", text)
    return f'"$HOME"/{shlex.quote(text[match.end() :])}' if match else shlex.quote(text)


def _directives(spec: SweepSpec, options: Allocation) -> list[str]:
    gpus = spec.resources.gpus_of(options.trials)
    return [
        f"--job-name={label(spec.name)}",
        f"--nodes={options.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={max(1, math.ceil(spec.resources.cpu_count * options.trials))}",
        *([f"--gpus-per-node={gpus}"] if gpus else []),
        *([f"--partition={options.partition}"] if options.partition else []),
        f"--time={options.time}",
        "--exclusive",
        "--output=%x-%j.log",
        "--open-mode=append",
        "--requeue",
        "--signal=B:TERM@180",
    ]


_SCRIPT = """\
#!/usr/bin/env bash
@DIRECTIVES@
# A Ray cluster on the nodes of this allocation, and a sweep on it. Three minutes before the time is up the sweep is
# paused, and the job queued again, which resumes it. Submit this from a shell in which `sweep` runs.
set -euo pipefail

name=@NAME@
runs=@RUNS@
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=@TOKEN@ RAY_USAGE_STATS_ENABLED=0
export SWEEP_RUNS="$runs"
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" # srun does not take it from sbatch, since Slurm 22.05
sweep cluster token --token "$RAY_AUTH_TOKEN_PATH"

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ip=$(srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 10000))
# Short, for the names of Ray's sockets are limited; its own, for another job's Ray may run on the node.
folder=/tmp/sweep-$SLURM_JOB_ID
room=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --disable-usage-stats --block)

# Each step ends with the job, so nothing has to be stopped by name.
env @HEALTH@ \\
  srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \\
  ray start --head --node-ip-address="$ip" --port="$port" --temp-dir="$folder" --include-dashboard=false "${room[@]}" &
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  sweep cluster wait 1 --address "$ip:$port"
  srun --overlap --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" \\
    ray start --address="$ip:$port" "${room[@]}" &
fi
sweep cluster wait "$SLURM_JOB_NUM_NODES" --address "$ip:$port"

if sweep status "$name" > /dev/null 2>&1; then
  sweep resume "$name" --trust --address "$ip:$port" &
else
  spec=$(mktemp --suffix=.yaml)
  cat > "$spec" <<'@END@'
@SPEC@
@END@
  sweep launch "$spec" --address "$ip:$port" &
fi
driver=$!
out_of_time=
trap 'out_of_time=yes; kill -TERM "$driver"' TERM
code=0
wait "$driver" || code=$?
if [ -n "$out_of_time" ]; then
  wait "$driver" || true
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""
