"""What each command prints with ``--json``: one form a command, from which its JSON schema is made.

A command that fails prints `Failure` instead, on stdout as well, and its exit code is not 0.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from orchestrator.engine.search_comparison import Figures
from orchestrator.plan.costs import Costs
from orchestrator.results.audit import Audit
from orchestrator.results.run_overview import RunSummary
from orchestrator.results.size_law import Interval
from orchestrator.results.status import SweepStatus
from orchestrator.rundir.startup import Phase
from orchestrator.sweep.machine_checks import MachineCheck

__all__ = ["FORMS", "Failure", "json_schemas"]

Numbers = dict[str, float | None]


class Place(TypedDict):
    """Where a problem is; what does not apply is empty or null."""

    file: str
    line: int | None
    column: int | None
    path: str


class FailureProblem(TypedDict):
    """One of the problems of a sweep file."""

    message: str
    place: Place | None
    hint: str


class FailureDetails(TypedDict):
    """What went wrong. ``transient``: the same command may succeed later. ``problems``: all of a sweep file."""

    code: str
    message: str
    place: Place | None
    hint: str
    transient: bool
    problems: list[FailureProblem]


class Failure(TypedDict):
    """An error, on stdout."""

    error: FailureDetails


class Best(TypedDict):
    """The winner; its value is also under the metric's own name."""

    trial: int
    metric: str
    value: float
    epoch: float
    progress: float
    unit: str
    params: dict[str, Any]
    checkpoint: str | None
    confirmed: bool


class FinalsWinner(TypedDict):
    """The winner of the finals: ``configuration`` is its trial in the search, ``trial`` the best one of the finals."""

    configuration: int
    trial: int
    epoch: float
    progress: NotRequired[float]
    value: float


class Finalist(TypedDict):
    """A finalist: its value in the search, those of the finals, and the interval of their mean."""

    configuration: int
    searched: float
    trials: list[int]
    values: list[float]
    failed: int
    mean: float | None
    low: float | None
    high: float | None
    probability: float


class Confirmation(TypedDict):
    """The result of the finals, the best first; ``clear`` if the first is the best with that confidence."""

    folder: NotRequired[str]
    level: float
    confidence: float
    clear: bool
    optimism: float | None
    first: int
    winner: FinalsWinner
    table: list[Finalist]
    journal: int


class RunEnd(TypedDict):
    """How a run stands once the command that ran it ends."""

    name: str
    directory: str
    status: str
    reason: str
    trials: dict[str, int]
    best: Best | None
    confirmation: Confirmation | None
    notices: list[str]


class Detached(TypedDict):
    """With ``--detach``: the process that runs the sweep."""

    name: str
    directory: str
    process: int
    log: str


class Submitted(TypedDict):
    """With ``--cluster``: the job."""

    name: str
    job: str
    runs: str | None
    files: int
    bytes: int
    not_uploaded: list[str]


class Starting(TypedDict):
    """A run that has no journal yet."""

    name: str
    status: str
    directory: str
    starting: list[Phase]


class StoppedBy(TypedDict):
    """Where a trial was stopped and by which rule; further keys are the numbers that the rule compared."""

    rule: str
    epoch: float
    progress: float


class ReportRow(TypedDict):
    """A report of a trial; each metric is a further key."""

    trial: int
    epoch: float
    progress: float
    step: float
    samples: float
    seconds: float


class TrialRow(TypedDict):
    """A trial in the ranking; the fields of several seeds and several objectives only where there are such."""

    rank: int
    trial: int
    status: str
    params: dict[str, Any]
    best: float | None
    at: float | None
    epoch: float | None
    progress: float
    epochs: float
    rung: float | None
    checkpoint: str | None
    busy: float
    waited: float
    seconds: float
    segments: int
    stopped_by: StoppedBy | None
    error: str | None
    configuration: NotRequired[int]
    mean: NotRequired[float | None]
    std: NotRequired[float | None]
    n: NotRequired[int]
    also: NotRequired[Numbers]
    front: NotRequired[bool]


class Why(TypedDict):
    """The story of a trial."""

    trial: int
    why: list[str]
    last_lines: NotRequired[list[str]]


class Verified(TypedDict):
    """The findings, and with ``--repair`` the copy and the record that it lacks."""

    records: int
    suggestions: int
    decisions: int
    checkpoints: int
    bytes: int
    violations: list[str]
    notes: list[str]
    repaired: NotRequired[str]
    dropped: NotRequired[str]


class LogLines(TypedDict):
    """What one process of a trial has printed."""

    trial: int
    segment: int
    rank: int
    file: str
    lines: list[str]


class PlanForm(TypedDict):
    """The counts of a sweep, and with ``--measure`` its costs."""

    name: str
    trials: int | None
    longest: float | None
    scheduler: str
    most: float | None
    expected: float | None
    rungs: dict[str, int]
    limits: dict[str, Any]
    finals: int
    configurations: int | None
    unit: str
    max_epochs: int | None
    measured: NotRequired[Costs]


class Comparison(TypedDict):
    """Searches that were compared."""

    best: float
    searches: list[Figures]
    notes: list[str]


class Stopped(TypedDict):
    """A stop: now, at a later time, or taken back."""

    name: str
    driver: NotRequired[str]
    stopped: NotRequired[str]
    trial: NotRequired[int | None]
    will_stop: NotRequired[list[str]]
    cancelled: NotRequired[int]


class Promoted(TypedDict):
    """A promotion; false if the driver has not read it yet."""

    name: str
    trial: int
    promoted: bool


class Synced(TypedDict):
    """What trackers have not received."""

    name: str
    not_sent: list[str]


class Archived(TypedDict):
    """Whether the run is left out of lists."""

    name: str
    archived: bool


class Renamed(TypedDict):
    """The run under its new name."""

    name: str
    directory: str
    before: str


class Removed(TypedDict):
    """A run that was removed, or whose checkpoints were."""

    name: str
    checkpoints: int | None
    bytes: int | None
    left: list[str]


class Used(TypedDict):
    """The bytes that a run takes."""

    name: str
    total: int
    checkpoints: int
    logs: int
    bundles: int
    journal: int
    other: int


class Tested(TypedDict):
    """A look at the test set."""

    look: int
    of: str
    metrics: dict[str, Any]


class Exported(TypedDict):
    """A bundle, its formats, and why others are missing."""

    folder: str
    formats: list[str]
    missing: dict[str, str]
    seconds: float


class ClassProbability(TypedDict):
    """A class of an image."""

    label: str
    probability: float


class ImageClasses(TypedDict):
    """The classes of an image, the most probable first."""

    image: str
    classes: list[ClassProbability]


class ImageError(TypedDict):
    """How well a model that reproduces images does so."""

    image: str
    mean_squared_error: float


class Continued(TypedDict):
    """A text, and the text as a model of characters continues it."""

    text: str
    continued: str


class Validated(TypedDict):
    """The metrics on validation data, and those that the bundle has on record."""

    metrics: Numbers
    recorded: Numbers


class FolderScore(TypedDict):
    """The score on a folder: by class how many are correct of how many; mistakes as class, prediction, count."""

    images: int
    accuracy: float
    classes: dict[str, tuple[int, int]]
    confused: list[tuple[str, str, int]]


class Replayed(TypedDict):
    """A training again: ``objective`` is the recorded value and the new one, null where it is not finite."""

    verdict: Literal["identical", "within tolerance", "differs"]
    epochs: int
    objective: tuple[float | None, float | None]
    where: list[str]
    environment: list[str]


class Published(TypedDict):
    """Where a bundle was published."""

    folder: str | None
    artifact: str | None


class File(TypedDict):
    """A file that was written."""

    file: str


class StudyFile(TypedDict):
    """An Optuna storage that was written."""

    name: str
    file: str


class SweepFileText(TypedDict):
    """The text of a sweep file."""

    sweep_file: str


class FirstSweepFile(TypedDict):
    """A sweep file that was written; ``seconds`` are those of an epoch."""

    file: str
    name: str
    space: list[str]
    seconds: float | None


class OpenPage(TypedDict):
    """The address of the live page, as soon as it is served, and the token of programs: ``Authorization: Bearer``."""

    url: str
    port: int
    token: str


class Manifest(TypedDict):
    """The text of a manifest."""

    kind: str
    manifest: str


class ClusterFile(TypedDict):
    """A cluster file that is valid."""

    file: str
    name: str
    kind: str
    to_do: list[str]


class Token(TypedDict):
    """The file of a token."""

    file: str
    created: bool
    fingerprint: str


class Nodes(TypedDict):
    """The nodes of a cluster by name."""

    file: NotRequired[str]
    nodes: list[str]


class ClusterNode(TypedDict):
    """A node; ``resources`` are the CPU and GPU counts that Ray schedules by."""

    name: str
    address: str
    alive: bool
    head: bool
    resources: dict[str, float]


class ClusterJob(TypedDict):
    """A job that was submitted."""

    id: str
    status: str
    sweep: str


class ClusterStatus(TypedDict):
    """The nodes and jobs of a cluster."""

    nodes: list[ClusterNode]
    jobs: list[ClusterJob]


class MovedParameter(TypedDict):
    """A parameter of the transfer: its optimum by size, its exponent, and the range that is proposed."""

    name: str
    optima: dict[str, Interval]
    exponent: Interval
    predicted: Interval
    low: float
    high: float
    log: bool
    refused: str


class TransferForm(TypedDict):
    """The search that is proposed for a larger model; ``spec`` is its sweep file."""

    parameter: str
    size: float
    moved: list[MovedParameter]
    points: list[dict[str, Any]]
    level: float
    trials: dict[str, int]
    left: list[str]
    notices: list[str]
    spec: dict[str, Any]


class TpuProcess(TypedDict):
    """One training process: where it runs, its devices and its environment."""

    host: int
    address: str
    rank: int
    local_rank: int
    world: int
    runtime: str
    device_type: str
    devices: int
    own: int
    env: dict[str, str]
    unset: list[str]


class TpuPlan(TypedDict):
    """The processes of a trial's slices."""

    tpu: str
    accelerator_type: str
    topology: str
    slices: int
    hosts: int
    chips_a_host: int
    runtime: str
    command: str
    processes: list[TpuProcess]


class Command(TypedDict):
    """With ``--dry-run``: the command."""

    command: list[str]


_RUN = RunEnd | Detached | Submitted
FORMS: dict[str, Any] = {
    "launch": _RUN,
    "resume": _RUN,
    "retry": _RUN,
    "extend": _RUN,
    "stop": Stopped,
    "promote": Promoted,
    "sync": Synced,
    "plan": PlanForm,
    "status": SweepStatus | Starting,
    "results": list[TrialRow] | list[ReportRow],
    "best": Best,
    "why": Why,
    "audit": Audit,
    "verify": Verified,
    "logs": list[LogLines],
    "watch": SweepStatus | Starting,
    "report": File,
    "open": OpenPage,
    "simulate": Comparison,
    "confirm": Confirmation | Detached | Submitted,
    "test": Tested,
    "export": Exported,
    "predict": list[ImageClasses | ImageError | Continued],
    "evaluate": Validated | FolderScore,
    "replay": Replayed,
    "publish": Published,
    "export-optuna": StudyFile,
    "list": list[RunSummary],
    "tag": list[str],
    "note": str,
    "archive": Archived,
    "rename": Renamed,
    "rm": list[Removed],
    "du": list[Used],
    "import": SweepFileText,
    "transfer": TransferForm,
    "init": FirstSweepFile,
    "schema": dict[str, Any],
    "doctor": list[MachineCheck],
    "cluster init": File,
    "cluster validate": ClusterFile,
    "cluster token": Token,
    "cluster manifest": Manifest,
    "cluster wait": Nodes,
    "cluster up": Nodes,
    "cluster status": ClusterStatus,
    "cluster down": Nodes,
    "tpu plan": TpuPlan,
    "tpu manifest": Manifest,
    "tpu launch": RunEnd | Command,
}
_OPEN = ("Best", "ReportRow", "StoppedBy")  # have further keys: metrics, and what a rule compared


def json_schemas() -> dict[str, Any]:
    """Return one JSON schema, draft 2020-12, with a definition for each command and for ``error``."""
    adapters = {name: TypeAdapter(form) for name, form in {**FORMS, "error": Failure}.items()}
    references, shared = TypeAdapter.json_schemas(
        [(name, "serialization", adapter) for name, adapter in adapters.items()], ref_template="#/$defs/{model}"
    )
    definitions = shared.get("$defs", {})
    for name, definition in definitions.items():
        if definition.get("type") == "object" and "properties" in definition and name not in _OPEN:
            definition["additionalProperties"] = False
    commands = {f"sweep {name}" if name != "error" else name: form for (name, _), form in references.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What sweep prints with --json",
        "$defs": {**dict(sorted(definitions.items())), **commands},
    }
