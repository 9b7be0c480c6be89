"""What every searcher and scheduler of the registry must do, the built-in ones and a package's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import registry
from orchestrator.policies import build_scheduler, build_searcher
from orchestrator.results.verify import replay
from orchestrator.results.why import stop_reason, why
from orchestrator.spec import SweepSpec, json_schema, options_class
from orchestrator.state import SweepState
from orchestrator.testing import Crash, Faults, Simulated, simulate
from tests.chaos.simulate import story
from tests.support.event_log import Log
from tests.support.extending_page import install_unbuilt

PLUGINS = [(kind, name) for kind in ("searchers", "schedulers") for name in registry.names(kind, installed=False)]
PLUGINS += [("searchers", "corners"), ("schedulers", "margin")]
HEAVY = {"gp", "ray"}  # they import torch or ray, and take seconds
NAMES = pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, id=f"{kind}-{name}", marks=[pytest.mark.slow] if name in HEAVY else [])
        for kind, name in PLUGINS
    ],
)
FIELD = {"searchers": "searcher", "schedulers": "scheduler"}
FOREIGN = {"sampler", "ray"}  # a library's own class, whose cost is the library's
TRIALS, EPOCHS = 6, 3


@pytest.fixture(autouse=True, scope="module")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package of docs/extending.md, found by its entry points."""
    folder = tmp_path_factory.mktemp("site")
    install_unbuilt(folder)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


def written(kind: str, name: str) -> dict[str, Any]:
    """The plug-in with its defaults, and each required option as its example has it."""
    fields = options_class(kind, name).model_fields.items()
    return {"name": name, **{field: info.examples[0] for field, info in fields if info.is_required()}}


def described(kind: str, name: str, trials: int = TRIALS) -> SweepSpec:
    parts: dict[str, Any] = {"searcher": "random", "scheduler": "fifo", FIELD[kind]: written(kind, name)}
    return SweepSpec.model_validate(
        {
            "name": "s",
            "seed": 3,
            "objective": {"metric": "loss", "mode": "min"},
            "model": "some.Model",
            "trainer": {"max_epochs": EPOCHS},
            "space": {"model.learning_rate": {"uniform": [0.0005, 0.0105], "step": 0.0005}},
            "budget": {"trials": trials},
            **parts,
        }
    )


def curve(params: Any, epoch: float) -> dict[str, float]:
    return {"loss": abs(params["model.learning_rate"] - 0.004) * 200 + 1 / epoch}


def dies(state: SweepState, event: Any) -> None:
    if event.type == "segment.reported":
        raise Crash


def run(spec: SweepSpec, **options: Any) -> Simulated:
    return simulate(spec, curve=curve, seed=3, **options)


@NAMES
def test_an_interrupted_sweep_decides_as_an_unbroken_one_and_replays(kind: str, name: str) -> None:
    spec = described(kind, name)
    unbroken = run(spec)
    interrupted = run(spec, faults=Faults(deaths=10_000), observer=dies)
    assert story(interrupted.events) == story(unbroken.events)
    assert not interrupted.violations
    assert replay(spec, unbroken.events) == []
    assert replay(spec, interrupted.events) == []
    assert unbroken.state.status == "completed"
    assert 3 <= len(unbroken.state.trials) <= TRIALS


@NAMES
def test_the_journal_holds_plain_json(kind: str, name: str) -> None:
    for event in run(described(kind, name)).events:
        assert json.loads(json.dumps(event.fields)) == event.fields, event


@NAMES
def test_every_trial_is_explained_in_words(kind: str, name: str) -> None:
    state = run(described(kind, name)).state
    plugin = registry.load(kind, name)
    for number, trial in state.trials.items():
        sentences = why(state, number)
        assert all(sentence[0].isupper() and sentence[-1] in ".)" for sentence in sentences), sentences
        assert not any(word in " ".join(sentences) for word in ("None", "{", "Traceback")), sentences
        if trial.stopped_by:
            assert len(stop_reason(trial.stopped_by).split()) >= 4
    assert " " in (plugin.__doc__ or "").strip()
    assert plugin.Options.__doc__


@NAMES
def test_options_survive_json_and_are_in_the_schema(kind: str, name: str) -> None:
    spec = described(kind, name)
    options = getattr(spec, FIELD[kind])
    dumped = json.loads(json.dumps(spec.model_dump(mode="json")))
    assert SweepSpec.model_validate(dumped) == spec
    assert type(options) is registry.load(kind, name).Options
    assert SweepSpec.model_validate({**dumped, FIELD[kind]: options}) == spec
    schema = json_schema(warn=pytest.fail)
    mapping = schema["properties"][FIELD[kind]]["anyOf"][0]["discriminator"]["mapping"]
    if not registry.load(kind, name).offered:
        assert name not in mapping
        return
    reference = mapping[name]
    described_fields = schema["$defs"][reference.rsplit("/", 1)[-1]]["properties"]
    for field, info in type(options).model_fields.items():
        assert field == "name" or info.description, field
        assert field in described_fields


@NAMES
def test_a_wrong_option_is_refused_with_the_right_name(kind: str, name: str) -> None:
    from orchestrator.errors import SpecError
    from orchestrator.spec import from_mapping

    spec = described(kind, name).model_dump(mode="json", exclude_defaults=True)
    spec |= {"searcher": "random", "scheduler": "fifo", FIELD[kind]: {**written(kind, name), "no_such_option": 1}}
    with pytest.raises(SpecError, match=f"unknown key 'no_such_option' in {FIELD[kind]}"):
        from_mapping(spec)


@NAMES
def test_a_decision_costs_no_more_after_many_trials(kind: str, name: str) -> None:
    """Counted in calls of Python functions, so that a busy machine does not matter."""
    if name in FOREIGN:
        pytest.skip("the library's own class")
    few, many = (cost(kind, name, trials) for trials in (60, 480))
    assert many <= 12 * few + 200, (few, many)


def cost(kind: str, name: str, trials: int) -> int:
    """Return the calls that the decision after so many trials takes."""
    spec, log = described(kind, name, trials + 1), Log()
    policy: Any = build_searcher(spec) if kind == "searchers" else build_scheduler(spec)
    params = {"model.learning_rate": 0.001}
    for trial in range(trials):
        policy.observe(log.add("trial.suggested", trial=trial, params=params, by=""))
        for epoch in (1, 2):
            metrics = {"loss": (trial * 37 % 101) / epoch}
            policy.observe(log.add("segment.reported", trial=trial, segment=0, epoch=epoch, metrics=metrics))
        policy.observe(log.add("trial.finished", trial=trial, segment=0))
    if kind == "searchers":
        return calls(lambda: policy.suggest(trials))
    policy.observe(log.add("trial.suggested", trial=trials, params=params, by=""))
    metrics = {"loss": 7.0}
    report = log.add("segment.reported", trial=trials, segment=0, epoch=1, metrics=metrics)
    return calls(lambda: (policy.observe(report), policy.judge(trials, 1), policy.promote(last=False)))


def calls(decide: Callable[[], object]) -> int:
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        decide()
    finally:
        sys.setprofile(None)
    return count


def test_the_third_party_plugins_are_no_part_of_the_tree() -> None:
    assert not {"corners", "margin"} & {*registry.names("searchers", installed=False)}
    assert Path(sys.modules[registry.load("schedulers", "margin").__module__].__file__ or "").name == "sweep_margin.py"
