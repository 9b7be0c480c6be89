"""README.md of a bundle: the model card, with metadata for the Hugging Face Hub at its top."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.bundle.bundle_manifest import CURVE, LIGHTNING
from orchestrator.bundle.preprocessing import shape_text
from orchestrator.policies.budget import amounts
from orchestrator.progress import noun, place
from orchestrator.results.verdict import best_of_search, evaluated, sentences, trained
from orchestrator.results.winner import Winner
from orchestrator.rundir import RunDirectory
from orchestrator.safe_text import markdown, markdown_code
from orchestrator.state import SweepState, spec_in_force
from orchestrator.training.job import model_name

if TYPE_CHECKING:
    from orchestrator.export.write_formats import Exported

_KINDS = {
    "log_probabilities": "log-probabilities of the classes",
    "probabilities": "probabilities of the classes",
    "scores": "scores of the classes; their softmax is the probabilities",
    "values": "values",
}
_CLASSIFIER = """\
```console
$ sweep predict . picture.png
```

```python
import orchestrator

bundle = orchestrator.load_bundle(".")       # verifies every file
print(bundle.predict(["picture.png"])[0])    # the class, its probability, the probabilities of all
```"""
_VALUES = """\
```console
$ sweep evaluate .
```

```python
import orchestrator

bundle = orchestrator.load_bundle(".", trust=True)   # verifies every file; trust: of another user's bundle
module = bundle.module()                 # the LightningModule; builds the classes that config.json names
```"""
_ONNX = """\
```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
outputs = session.run(None, {"input": np.zeros((1, SHAPE), np.TYPE)})[0]
```"""
_PROGRAM = """\
```python
import torch

program = torch.export.load("model.pt2").module()
outputs = program(torch.zeros(1, SHAPE, dtype=torch.TYPE))
```"""


def card(run: RunDirectory, state: SweepState, winner: Winner, training: Mapping[str, Any], exported: Exported) -> str:
    """Return the card's text.

    Args:
        run: the run directory of the search.
        state: the state of the search.
        winner: the exported trial, of the search or of its finals.
        training: the content of config.json.
        exported: the formats of the bundle.
    """
    metric, direction = state.objective.metric, "higher" if state.objective.mode == "max" else "lower"
    parts = [
        _front_matter(state, winner, training, exported),
        f"# {markdown(state.spec['name'])}",
        f"{markdown_code(model_name(training['model']))}, {winner.title}, of the sweep `{run.name}`: "
        f"**{markdown(metric)} {_number(winner.best.value)}** on validation data ({direction} is better).",
        f"![Learning curve]({CURVE})",
        _section("Results", _results(state, winner)),
        _section("Input and output", _input_and_output(exported)),
        _section("Usage", [_snippets(exported)]),
        _section("Data", _data(training, exported)),
        _section("Hyperparameters", [_table("parameter", "value", training["params"]), *_training(training)]),
        _section("Search", _search(state)),
        _section("Formats", _formats(exported)),
        _section("Limits", _limits(state, winner, exported)),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(state: SweepState, winner: Winner, training: Mapping[str, Any], exported: Exported) -> str:
    """Return the Hub's metadata between two ``---``. Values are written as JSON, which is YAML, too."""
    preprocessing = exported.preprocessing
    classifies_images = preprocessing and preprocessing.channels and preprocessing.classifies
    formats = [name for name in exported.present if name != "pt2"]  # the Hub has no tag for pt2
    metadata: dict[str, Any] = {
        "library_name": "lightning",
        "tags": ["lightning", "pytorch", *formats, "hyperparameter-search"],
    }
    if classifies_images:
        metadata["pipeline_tag"] = "image-classification"
    source = training["data"] or training["model"]
    dataset = model_name(source).rsplit(".", 1)[-1]
    logged = winner.trial.reports[winner.best.progress].metrics
    metrics = [
        {"type": _metric_type(name), "name": name, "value": logged[name], "verified": False}
        for name in state.objective.metrics
        if math.isfinite(logged.get(name, math.nan))
    ]
    result = {
        "task": {"type": "image-classification" if classifies_images else "other"},
        "dataset": {"name": dataset, "type": dataset.lower(), "split": "validation"},
        "metrics": metrics,
    }
    metadata["model-index"] = [{"name": state.spec["name"], "results": [result]}]
    return "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in metadata.items()), "---"])


def _metric_type(metric: str) -> str:
    """Return the Hub's type of a metric, as far as its name tells."""
    return "accuracy" if metric.removeprefix("val_") in ("acc", "accuracy") else metric.removeprefix("val_")


def _section(title: str, lines: Iterable[str]) -> str:
    return f"## {title}\n\n" + "\n\n".join(lines)


def _results(state: SweepState, winner: Winner) -> list[str]:
    confirmation = state.confirmation
    rows = {
        "best score of the search (the best of many, so optimistic)": _search_score(state, winner),
        "confirmed": "; ".join(sentences(confirmation, state.objective.metric)) if confirmation else "not confirmed",
        "test data": _test_score(state),
    }
    metrics = {name: _number(value) for name, value in winner.trial.reports[winner.best.progress].metrics.items()}
    at, total = (place(progress, state.unit) for progress in (winner.best.progress, winner.trial.progress))
    heading = f"All metrics of the exported report, at {at}; the trial's last one was at {total}:"
    return [_table("", state.objective.metric, rows), heading, _table("metric", "value", metrics)]


def _search_score(state: SweepState, winner: Winner) -> str:
    if state.confirmation:
        return _number(best_of_search(state.confirmation)["searched"])
    best = state.lowest_loss[0] if state.lowest_loss else state.objective.loss(winner.best.value)
    return _number(state.objective.loss(best))


def _test_score(state: SweepState) -> str:
    finished = [evaluation for evaluation in state.test_evaluations if evaluation.get("metrics")]
    if not state.test_evaluations:
        return "not evaluated"
    times = f"{len(state.test_evaluations)} evaluation{'s' if len(state.test_evaluations) > 1 else ''} so far"
    if not finished:
        return f"{times}, none finished"
    last = finished[-1]
    scores = ", ".join(f"{name} {_number(value)}" for name, value in last["metrics"].items())
    return f"{scores} ({evaluated(last)}; {times})"


def _input_and_output(exported: Exported) -> list[str]:
    preprocessing = exported.preprocessing
    if preprocessing is None:
        return [f"Unknown: {markdown(exported.missing.get('preprocessing', 'there were no data'))}."]
    source = f"`{shape_text(preprocessing.input_shape)}` {preprocessing.input_type}"
    target = f"`{shape_text(preprocessing.output_shape)}` float32"
    lines = [f"Input: {source}. Output: {target}: {_KINDS[preprocessing.kind]}."]
    if preprocessing.channels:
        scaling = ", scaled in an unknown way"
        if preprocessing.mean:
            scaling = f", then (x − {list(preprocessing.mean)}) / {list(preprocessing.std or ())}"
        lines.append(
            f"An input is an image of {preprocessing.channels} channels, {preprocessing.height} x "
            f"{preprocessing.width} pixels, in [0, 1]{scaling}. `preprocessing.json` holds the same for programs."
        )
    if preprocessing.classifies:
        lines.append(f"Classes: {', '.join(map(markdown, preprocessing.labels))}.")
    return lines


def _snippets(exported: Exported) -> str:
    """Return commands and code that use the formats of the bundle: with this package, and without it."""
    preprocessing = exported.preprocessing
    images = preprocessing is not None and preprocessing.classifies and preprocessing.mean is not None
    runnable = [name for name in ("onnx", "pt2") if name in exported.present]
    parts = [_CLASSIFIER if images and runnable else _VALUES]
    if preprocessing is not None and runnable:
        shape = ", ".join(str(size) for size in preprocessing.input_shape[1:])
        snippet = _ONNX if runnable[0] == "onnx" else _PROGRAM
        snippet = snippet.replace(", SHAPE", f", {shape}" if shape else "")
        parts.append(snippet.replace("TYPE", preprocessing.input_type))
    return "\n\n".join(parts)


def _data(training: Mapping[str, Any], exported: Exported) -> list[str]:
    validation, data = exported.validation, training["data"]
    source = "The module brings its own loaders."
    if data is not None:
        source = f"{markdown_code(data['class_path'])} with {_json(data.get('init_args') or {})}."
    if validation.sha256 is None:
        return [source, f"Split sizes and digest are unknown: {markdown(str(validation.reason))}."]
    sizes = f"Training: {validation.training or 'unknown number of'} samples; validation: {validation.validation}. "
    return [source, f"{sizes}SHA-256 of the validation data: `{validation.sha256}`."]


def _training(training: Mapping[str, Any]) -> list[str]:
    model = training["model"]
    arguments = f"Model arguments: {_json(model.get('init_args') or model.get('args') or {})}."
    return [arguments, f"Trainer: {_json(training['trainer'])}. Seed of the trial: {training['seed']}."]


def _search(state: SweepState) -> list[str]:
    spec = spec_in_force(state)
    spent = amounts(spec, state)
    words = {"gpu_hours": "GPU-hours", "cost": "cost", "trials": "trials"}
    cost = [f"{words[name]} {value:.4g}" for name, value in spent.items() if name in words]
    cost.append(f"{noun(state.unit)} {trained(state)}")
    hours = f"hours {spent['wall_clock'] / 3600:.3g}, trial-hours {state.trial_seconds / 3600:.3g}"
    method = f"Searcher `{spec.searcher.name}`, scheduler `{spec.scheduler.name}`, seed {spec.seed}"
    repeats = state.repeats["seeds"]
    seeds = f", {repeats} seeds a configuration" if repeats > 1 else ""
    space = {name: json.dumps(domain) for name, domain in state.spec.get("space", {}).items()}
    return [f"{method}{seeds}. Spent: {', '.join(cost)}, {hours}.", _table("parameter", "domain", space)]


def _formats(exported: Exported) -> list[str]:
    rows = {name: _parity(exported, name) for name in exported.present}
    rows["model.ckpt"] = (
        f"the checkpoint; `load_from_checkpoint` needs more arguments ({exported.loads})"
        if exported.loads
        else "the checkpoint, unchanged"
    )
    if exported.has_own:
        rows[LIGHTNING] = "the checkpoint for `load_from_checkpoint(path, weights_only=False)`; reading it runs code"
    missing = [f"- without {name}: {markdown(reason)}" for name, reason in exported.missing.items()]
    return [_table("format", "compared with the checkpoint", rows), *(["\n".join(missing)] if missing else [])]


def _parity(exported: Exported, name: str) -> str:
    parity = exported.parity.get(name)
    if parity is None:
        return "the same weights" if name == "safetensors" else "not compared"
    classes = "" if parity.argmax_equal is None else f", same class for all but {parity.ties} ties"
    sizes = ", ".join(parity.batches)
    return f"at most {parity.max_difference:.1g} off on {parity.samples} samples in batches of {sizes}{classes}"


def _limits(state: SweepState, winner: Winner, exported: Exported) -> list[str]:
    lines = ["The model was evaluated on the data above only; scores on other data may differ."]
    if not winner.confirmed:
        lines.append("The score is the best of many trials on the data that selected it; expect a lower one elsewhere.")
    if not state.test_evaluations:
        lines.append("The model was never run on test data.")
    if exported.parity:
        lines.append("The formats were compared in float32 on a CPU; rounding differs on other hardware.")
    return ["\n".join(f"- {line}" for line in lines)]


def _table(name_header: str, value_header: str, rows: Mapping[str, Any]) -> str:
    head = f"| {name_header} | {value_header} |\n| --- | --- |"
    return "\n".join([head, *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items())])


def _json(value: Any) -> str:
    return markdown_code(json.dumps(value, default=str))


def _cell(value: Any) -> str:
    return markdown(str(value))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
