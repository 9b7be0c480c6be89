"""Hypothesis strategies for specs of sweeps: every section, any values that a sweep file can hold."""

from __future__ import annotations

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.spec import SweepSpec, from_mapping
from tests.support.domain_strategies import domains, finite, positive, values

NAMES = st.sampled_from(["a", "b", "learning_rate", "x1", "on", "null_", "é"])
PREFIXES = st.sampled_from(["model", "data", "trainer"])
ARGUMENTS = st.dictionaries(st.text(min_size=1, max_size=6), values, max_size=3)
METRICS = st.sampled_from(["val_loss", "val/acc", "1", "y", "null", "a: b", "- c", "#d", "é"])
SEARCHERS = st.one_of(
    st.sampled_from(["random", "parzen", "tpe", "grid", "sobol"]).map(lambda name: {"name": name}),
    st.builds(lambda n, m: {"name": "tpe", "startup_trials": n, "multivariate": m}, st.integers(1, 99), st.booleans()),
    st.builds(lambda n: {"name": "parzen", "startup_trials": n}, st.integers(1, 99)),
)  # fmt: skip
SCHEDULERS = st.one_of(
    st.sampled_from(["fifo", "asha", "frontier", "median", "patience"]).map(lambda name: {"name": name}),
    st.builds(lambda r, p: {"name": "asha", "reduction_factor": r, "promote": p}, st.integers(2, 9), st.booleans()),
    st.builds(lambda d: {"name": "patience", "min_delta": d}, st.floats(0, 1)),
)
BUDGETS = st.fixed_dictionaries(
    {},
    optional={
        "trials": st.integers(1, 500),
        "epochs": st.integers(1, 10_000),
        "wall_clock": st.sampled_from(["4h", "90s", 1.5, "1h30m"]),
        "target": finite,
    },
)
CALLBACKS = st.lists(
    st.fixed_dictionaries({"class_path": st.just("lightning.pytorch.callbacks.Timer"), "init_args": ARGUMENTS}),
    max_size=2,
)
TRAINERS = st.fixed_dictionaries(
    {"max_epochs": st.integers(30, 90)},
    optional={"gradient_clip_val": positive, "precision": st.sampled_from(["32-true", 16]), "callbacks": CALLBACKS},
)
SECTIONS: dict[str, Any] = {
    "seed": st.integers(0, 2**32 - 1),
    "data": st.fixed_dictionaries({"class_path": st.just("my.Data"), "init_args": ARGUMENTS}),
    "trainer": TRAINERS,
    "searcher": SEARCHERS,
    "scheduler": SCHEDULERS,
    "budget": BUDGETS,
    "repeats": st.integers(1, 3),
    "finalists": st.integers(1, 5),
    "constraints": st.lists(
        st.fixed_dictionaries({"metric": st.just("other"), "max": finite}), max_size=1
    ),
    "resources": st.fixed_dictionaries({}, optional={"cpus": st.integers(0, 8), "gpus": st.sampled_from([0, 0.5, 2])}),
    "checkpoints": st.fixed_dictionaries({}, optional={"keep_top": st.integers(1, 9), "quota": st.just("20GB")}),
    "share": st.just("group"),
    "recovery": st.fixed_dictionaries({"stalled_after": st.sampled_from([None, "1h", 90.5])}),
    "tracking": st.sampled_from([{}, {"tensorboard": True}, {"tensorboard": {"flush_secs": 9}}]),
    "notify": st.sampled_from([[], [{"webhook": "$HOOK"}], [{"command": "say done", "on": ["new_best"]}]]),
}  # fmt: skip


@st.composite
def spaces(draw: Any) -> dict[str, Any]:
    """A space; a second parameter may depend on the first one's value."""
    space: dict[str, Any] = {}
    for prefix, name in draw(st.lists(st.tuples(PREFIXES, NAMES), max_size=4, unique=True)):
        space[f"{prefix}.{name}"] = draw(domains()).to_yaml()
    names = list(space)
    if len(names) > 1 and "choice" in space[names[0]] and draw(st.booleans()):
        space[names[1]]["when"] = {names[0]: space[names[0]]["choice"][:1]}
    return space


@st.composite
def specs(draw: Any) -> SweepSpec:
    """A spec that is accepted."""
    written = draw(st.fixed_dictionaries({}, optional=SECTIONS))
    written["space"] = draw(spaces())
    written["name"] = draw(st.sampled_from(["a", "1e3", "null", "0x1f", "no", "2024.01"]))
    written["objective"] = {"metric": draw(METRICS), "mode": draw(st.sampled_from(["min", "max"]))}
    written["model"] = {"class_path": "my.Net", "init_args": draw(ARGUMENTS)}
    try:
        return from_mapping(written)
    except SpecError:
        assume(False)
        raise
