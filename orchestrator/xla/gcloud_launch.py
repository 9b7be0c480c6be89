"""A TPU VM without Ray: the gcloud command that runs one trial on all of its hosts."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence

from orchestrator.errors import UsageError

_METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/attributes"
# As torch_xla reads it: worker-network-endpoints is name:uid:address of each host, by comma.
_PLACE = (
    f"get() {{ curl -sf -H 'Metadata-Flavor: Google' {_METADATA}/$1; }}; "
    "export SWEEP_TPU_WORKER=$(get agent-worker-number) "
    "SWEEP_TPU_HOSTS=$(get worker-network-endpoints | tr , '\\n' | cut -d: -f3 | paste -sd,)"
)


def command(arguments: Sequence[str], *, tpu: str, zone: str) -> list[str]:
    """The gcloud command that runs ``sweep tpu launch --alone`` with these arguments on every host of the TPU VM.

    Raises UsageError where the zone is missing.
    """
    if not zone:
        raise UsageError("--gcloud needs the TPU VM's zone", hint="e.g. --zone us-central2-b")
    there = f"{_PLACE}; {shlex.join(['sweep', 'tpu', 'launch', '--alone', *arguments])}"
    return ["gcloud", "compute", "tpus", "tpu-vm", "ssh", tpu, f"--zone={zone}", "--worker=all", f"--command={there}"]


def run(words: Sequence[str]) -> int:
    """Run a gcloud command; its exit code. Raises UsageError where there is no gcloud."""
    if shutil.which(words[0]) is None:
        raise UsageError("there is no gcloud here", hint="--dry-run prints the command, to be run where there is")
    return subprocess.run(words, check=False).returncode
