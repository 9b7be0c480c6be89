"""README.md: the model card, for people and, by the lines at its top, for the Hugging Face Hub."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.bundle.manifest import CURVE
from orchestrator.bundle.preprocessing import shown
from orchestrator.export.front_matter import front_matter
from orchestrator.export.usage_snippets import snippets
from orchestrator.policies.budget import amounts
from orchestrator.results.verdict import best_of_search, sentences
from orchestrator.results.winner import Winner
from orchestrator.rundir import RunDirectory
from orchestrator.safe_text import markdown, markdown_code
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState

if TYPE_CHECKING:
    from orchestrator.export.write_formats import Exported

_KINDS = {
    "log_probabilities": "log-probabilities of the classes",
    "probabilities": "probabilities of the classes",
    "scores": "scores of the classes; their softmax is the probabilities",
    "values": "values",
}


def card(run: RunDirectory, state: SweepState, won: Winner, about: Mapping[str, Any], exported: Exported) -> str:
    """The card's text. ``state`` is the search's, ``won`` the winner with its own; ``about`` is config.json."""
    metric, mode = state.objective.metric, "higher" if state.objective.mode == "max" else "lower"
    parts = [
        front_matter(state, won, about, exported),
        f"# {markdown(state.spec['name'])}",
        f"{markdown_code(about['model']['class_path'])}, {won.title}, of the sweep `{run.name}`: "
        f"**{markdown(metric)} {_number(won.best.value)}** on validation data ({mode} is better).",
        f"![Learning curve]({CURVE})",
        _section("Results", _results(state, won)),
        _section("What it takes and gives", _task(exported)),
        _section("How to use it", [snippets(exported)]),
        _section("Data", _data(about, exported)),
        _section("Hyperparameters", [_table("parameter", "value", about["params"]), *_training(about)]),
        _section("Search", _search(state)),
        _section("Formats", _formats(exported)),
        _section("Limits", _limits(state, won, exported)),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, lines: Iterable[str]) -> str:
    return f"## {title}\n\n" + "\n\n".join(lines)


def _results(state: SweepState, won: Winner) -> list[str]:
    rows = {
        "the search's best score (the best of many, so it flatters)": _searched(state, won),
        "confirmed": _confirmed(state),
        "test data": _tested(state),
    }
    metrics = {name: _number(value) for name, value in won.trial.reports[won.best.epoch].metrics.items()}
    at = f"All that was logged at the exported epoch, {won.best.epoch} of {won.trial.epoch}:"
    return [_table("", state.objective.metric, rows), at, _table("metric", "value", metrics)]


def _searched(state: SweepState, won: Winner) -> str:
    best = state.lowest_loss[0] if state.lowest_loss else state.objective.loss(won.best.value)
    return _number(best_of_search(state.confirmation)["searched"] if state.confirmation else state.objective.loss(best))


def _confirmed(state: SweepState) -> str:
    """The winner, and how far the search's own number was off."""
    return "; ".join(sentences(state.confirmation, state.objective.metric)) if state.confirmation else "not confirmed"


def _tested(state: SweepState) -> str:
    looks = [look for look in state.test_evaluations if look.get("metrics")]
    if not state.test_evaluations:
        return "not looked at"
    times = f"{len(state.test_evaluations)} look{'s' if len(state.test_evaluations) > 1 else ''} so far"
    if not looks:
        return f"{times}, none finished"
    said = ", ".join(f"{name} {_number(value)}" for name, value in looks[-1]["metrics"].items())
    return f"{said} (trial {looks[-1]['trial']} of {looks[-1]['run']}, epoch {looks[-1]['epoch']}; {times})"


def _task(exported: Exported) -> list[str]:
    found = exported.preprocessing
    if found is None:
        return [f"Not known: {markdown(exported.missing.get('preprocessing', 'there were no data to see'))}."]
    takes = f"Takes `{shown(found.input_shape)}` {found.input_type}; gives `{shown(found.output_shape)}` float32: "
    lines = [f"{takes}{_KINDS[found.kind]}."]
    if found.channels:
        scaled = (
            f", then (x − {list(found.mean)}) / {list(found.std or ())}" if found.mean else ", not known how scaled"
        )
        lines.append(
            f"An input is a picture of {found.channels} channels, {found.height} x {found.width} pixels, "
            f"in [0, 1]{scaled}. `preprocessing.json` says the same to programs."
        )
    if found.classifies:
        lines.append(f"Classes: {', '.join(map(markdown, found.labels))}.")
    return lines


def _data(about: Mapping[str, Any], exported: Exported) -> list[str]:
    found = exported.validation
    if about["data"] is None:
        source = "The module brings its own loaders."
    else:
        source = f"{markdown_code(about['data']['class_path'])} with {_json(about['data'].get('init_args') or {})}."
    if found.sha256 is None:
        return [source, f"Split sizes and digest are not known: {markdown(str(found.reason))}."]
    sizes = f"Training: {found.training or 'not known how many'} samples; validation: {found.validation}. "
    return [source, f"{sizes}SHA-256 of the validation data: `{found.sha256}`."]


def _training(about: Mapping[str, Any]) -> list[str]:
    arguments = f"Model arguments: {_json(about['model'].get('init_args') or {})}."
    return [arguments, f"Trainer: {_json(about['trainer'])}. Seed of the trial: {about['seed']}."]


def _search(state: SweepState) -> list[str]:
    spec = SweepSpec.model_validate(state.spec)
    spent = amounts(spec, state)
    words = {"gpu_hours": "GPU-hours", "cost": "cost", "epochs": "epochs", "trials": "trials"}
    cost = [f"{words[name]} {value:.4g}" for name, value in spent.items() if name in words]
    hours = f"hours {spent['wall_clock'] / 3600:.3g}, trial-hours {state.trial_seconds / 3600:.3g}"
    how = f"Searcher `{spec.searcher.name}`, scheduler `{spec.scheduler.name}`, seed {spec.seed}"
    repeats = state.repeats["seeds"]
    seeds = f", {repeats} seeds a configuration" if repeats > 1 else ""
    space = {name: json.dumps(domain) for name, domain in state.spec.get("space", {}).items()}
    return [f"{how}{seeds}. Spent: {', '.join(cost)}, {hours}.", _table("parameter", "domain", space)]


def _formats(exported: Exported) -> list[str]:
    rows = {name: _parity(exported, name) for name in exported.present}
    rows["model.ckpt"] = (
        f"the checkpoint; `load_from_checkpoint` needs more arguments ({exported.loads})"
        if exported.loads
        else "the checkpoint, as it was"
    )
    missing = [f"- without {name}: {markdown(reason)}" for name, reason in exported.missing.items()]
    return [_table("format", "beside the checkpoint", rows), *(["\n".join(missing)] if missing else [])]


def _parity(exported: Exported, name: str) -> str:
    found = exported.parity.get(name)
    if found is None:
        return "the same weights"
    classes = "" if found.argmax_equal is None else f", same class for all but {found.ties} ties"
    sizes = ", ".join(found.batches)
    return f"at most {found.max_difference:.1g} off on {found.samples} samples in batches of {sizes}{classes}"


def _limits(state: SweepState, won: Winner, exported: Exported) -> list[str]:
    lines = ["It was judged on data like that above, and on nothing else; other data may give other scores."]
    if not won.confirmed:
        lines.append("The score is that of the best of many trials on the data that chose it: expect less elsewhere.")
    if not state.test_evaluations:
        lines.append("It was never run on test data.")
    if exported.parity:
        lines.append("The formats were compared in float32 on a CPU; on other hardware rounding differs.")
    return ["\n".join(f"- {line}" for line in lines)]


def _table(left: str, right: str, rows: Mapping[str, Any]) -> str:
    head = f"| {left} | {right} |\n| --- | --- |"
    return "\n".join([head, *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items())])


def _json(value: Any) -> str:
    return markdown_code(json.dumps(value, default=str))


def _cell(value: Any) -> str:
    return markdown(str(value))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
