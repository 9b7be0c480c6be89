"""Figures: what is drawn against plain loops over the journal, how it looks, and what hostile names do to it."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from playwright.async_api import Page

from orchestrator.errors import UsageError
from orchestrator.journal import read
from orchestrator.results import Results, read_state
from orchestrator.results.equal_progress import equal_losses
from orchestrator.results.figures import CONFIG, FIGURES, template
from orchestrator.results.figures.contour import contour_of
from orchestrator.results.figures.curves import QUANTILES, curves
from orchestrator.results.figures.figure import BACKGROUND, BEST, CONTINUED, MUTED, STATUSES, axis_limits, escaped
from orchestrator.results.figures.history import history_of
from orchestrator.results.figures.importance import importance_of
from orchestrator.results.figures.parallel import parallel_of
from orchestrator.results.figures.pareto_front import front_of
from orchestrator.results.figures.rungs import rungs_of
from orchestrator.results.figures.timeline import timeline_from, timeline_of
from orchestrator.results.figures.trial_columns import axes, thinned, trials
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState, pareto_front
from tests.chaos.simulate import Case
from tests.support.browser import browse
from tests.support.hostile_names import hostile_run, names
from tests.support.synthetic_runs import invent

Invented = tuple[RunDirectory, SweepState]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Invented:
    return invent(tmp_path_factory.mktemp("runs"), 700)


def simulated(folder: Path, seed: int) -> Invented:
    """A simulated sweep with faults: kills, lost nodes, damaged checkpoints, promotions, populations."""
    run = RunDirectory(folder / f"seed{seed}")
    run.root.mkdir()
    Path(run.journal).write_bytes(Case.of(seed).run().journal)
    return run, SweepState(read(run.journal))


def test_the_best_are_all_there_and_the_rest_evenly(sweep: Invented) -> None:
    found = trials(sweep[1])
    ranked = [trial.number for trial in sweep[1].ranking()]
    assert found.numbers[found.order].tolist() == ranked
    chosen = thinned(found.order, 20, 30)
    assert found.numbers[chosen[:20]].tolist() == ranked[:20]
    assert found.numbers[chosen[-1]] == ranked[-1]
    assert len(set(chosen.tolist())) == 50
    gaps = np.diff([ranked.index(number) for number in found.numbers[chosen[20:]]])
    assert gaps.max() - gaps.min() <= 1
    assert thinned(found.order, 600, 100) is found.order


def test_bands_are_the_quantiles_of_all_trials(sweep: Invented) -> None:
    run, state = sweep
    found = curves(state, most=50)
    assert found
    assert found.bands
    assert len(found.shown) == 100
    by_epoch: dict[int, list[float]] = {}
    for event in read(run.journal):
        if event.type == "segment.reported":
            by_epoch.setdefault(event["epoch"], []).append(event["metrics"]["score"])
    assert found.bands.progress.tolist() == sorted(by_epoch)
    for row, epoch in enumerate(sorted(by_epoch)):
        values = sorted(by_epoch[epoch])
        assert found.bands.counts[row] == len(values)
        for column, share in enumerate(QUANTILES):
            at = share * (len(values) - 1)
            low, high = values[math.floor(at)], values[math.ceil(at)]
            assert found.bands.values[row, column] == pytest.approx(low + (at % 1) * (high - low))


def test_few_trials_are_all_drawn_and_the_winner_last(tmp_path: Path) -> None:
    _, state = invent(tmp_path, 40)
    found = curves(state)
    assert found
    assert found.bands is None
    assert sorted(curve.trial for curve in found.shown) == list(range(40))
    won = state.winner()
    assert won
    assert found.best is found.shown[-1]
    assert found.best.trial == won.number


def test_a_value_that_is_no_number_leaves_a_gap_and_the_trial_can_win(tmp_path: Path) -> None:
    for seed in (3, 12, 30, 44):
        _, state = simulated(tmp_path, seed)
        found = curves(state)
        for curve in found.shown if found else ():
            reports = state.trials[curve.trial].reports
            expected = {e: r.metrics["val_acc"] for e, r in reports.items() if math.isfinite(r.metrics["val_acc"])}
            assert dict(zip(curve.progress.tolist(), curve.values.tolist(), strict=True)) == expected


def test_the_best_so_far_is_that_of_a_loop(sweep: Invented) -> None:
    found = history_of(sweep[1])
    assert found
    best, steps = -math.inf, []
    for number in sorted(sweep[1].trials):
        value = sweep[1].objective.best(sweep[1].trials[number])
        if value and value.value > best:
            best = value.value
            steps.append((number, best))
    assert list(zip(found.steps.tolist(), found.records.tolist(), strict=True)) == steps


def test_rungs_count_every_trial_once(sweep: Invented) -> None:
    found = rungs_of(sweep[1])
    assert [rung.at for rung in found] == [1, 3, 9]
    for rung, after in zip(found, [*found[1:], None], strict=True):
        here = [trial for trial in sweep[1].trials.values() if trial.epoch >= rung.at]
        assert rung.reached == len(here) == sum(rung.fates.values())
        assert rung.fates["continued"] == (after.reached if after else 0)
        stopped = sum(trial.status == "stopped" and trial.epoch == rung.at for trial in here)
        assert rung.fates["stopped"] == stopped


@pytest.mark.parametrize("seed", range(0, 60, 2))
def test_every_figure_of_a_sweep_with_faults(tmp_path: Path, seed: int) -> None:
    run, state = simulated(tmp_path, seed)
    for name, make in FIGURES.items():
        if name == "importance" and seed % 10:
            continue
        found = make(run, state)
        if found:
            assert found.name == name
            assert found.title
            assert found.caption
            json.loads(found.plot.to_json())
    for rung in rungs_of(state):
        assert rung.reached == sum(rung.fates.values())
    _check_timeline(run, state)


def _check_timeline(run: RunDirectory, state: SweepState) -> None:
    """Against the whole journal, read with all its checks."""
    found = timeline_of(run, state)
    assert found
    events = list(read(run.journal))
    starts = [(event["trial"], event["segment"], event.time) for event in events if event.type == "segment.started"]
    assert sorted((span.trial, span.segment, span.started) for span in found.spans) == sorted(starts)
    whole: list[Mapping[str, Any]] = []
    for event in events:
        if event.type == "sweep.launched" and whole:
            whole.append({**whole[-1], "type": "before"})
        whole.append({**event.fields, "type": event.type, "time": event.time})
    known = [
        record
        for record in whole
        if record["type"].startswith(
            ("segment.started", "segment.failed", "sweep.l", "sweep.p", "sweep.comp", "before")
        )
        or record["type"] in ("trial.finished", "trial.stopped", "trial.failed", "trial.set_aside", "trial.promoted")
    ]
    assert timeline_from(known, state) == found
    lanes: dict[tuple[str, int], float] = {}
    for span in found.spans:
        assert span.started >= lanes.get((span.node, span.lane), 0.0)
        assert any(shift.started <= span.started and span.ended <= shift.ended for shift in found.shifts)
        lanes[span.node, span.lane] = span.ended
    last = {span.trial: span.status for span in sorted(found.spans, key=lambda span: span.segment)}
    for number, status in last.items():
        if state.trials[number].status in ("finished", "stopped") and state.trials[number].segments:
            assert status in (state.trials[number].status, "interrupted", "set_aside", "failed")


def test_idle_time_is_what_a_clock_would_find(tmp_path: Path) -> None:
    run, state = invent(tmp_path, 60)
    found = timeline_of(run, state)
    assert found
    (shift,) = found.shifts
    moments = np.linspace(shift.started, shift.ended, 20_001)
    busy = [sum(span.started <= moment < span.ended for span in found.spans) for moment in moments]
    assert found.idle == pytest.approx(1 - np.mean(busy) / shift.slots, abs=0.01)
    assert len({(span.node, span.lane) for span in found.spans}) == shift.slots


def test_a_cut_off_launch_ends_with_its_last_sign_of_life_and_the_pause_is_left_out(tmp_path: Path) -> None:
    def record(type: str, time: float, **fields: Any) -> dict[str, Any]:
        return {"type": type, "time": time, **fields}

    segment = {"trial": 0, "node": "n"}
    story = [
        record("sweep.launched", 10, slots=2),
        record("segment.started", 11, segment=0, **segment),
        record("before", 15),
        record("sweep.launched", 1000, slots=1),
        record("segment.started", 1001, segment=1, **segment),
        record("trial.finished", 1004, **segment),
        record("sweep.completed", 1005),
    ]
    _, state = invent(tmp_path, 3)
    found = timeline_from(story, state)
    assert [(span.started, span.ended, span.status) for span in found.spans] == [
        (11, 15, "interrupted"),
        (1001, 1004, "finished"),
    ]
    assert [(shift.started, shift.ended, shift.slots) for shift in found.shifts] == [(10, 15, 2), (1000, 1005, 1)]
    assert found.idle == pytest.approx(1 - (4 + 3) / (2 * 5 + 1 * 5))
    assert found.running_seconds(1004) == 5 + 4


def test_importance_is_what_optuna_says(tmp_path: Path) -> None:
    _, state = invent(tmp_path, 120)
    found = importance_of(state)
    assert found
    assert found.first == "model.rate"
    assert sum(found.shares.values()) == pytest.approx(1)
    again = importance_of(SweepState(read(tmp_path / "invented" / "journal.jsonl")))
    assert again == found
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    kinds = optuna.distributions
    space = {
        "model.rate": kinds.FloatDistribution(1e-4, 1e-1, log=True),
        "model.width": kinds.IntDistribution(1, 64),
        "model.kind": kinds.CategoricalDistribution(("a", "b", "c")),
        "model.momentum": kinds.FloatDistribution(0, 1),
    }
    equal = equal_losses(state).losses  # of equal progress: what trials that ended early would have had is estimated
    for trial in state.trials.values():
        if trial.number not in equal:
            continue
        here = {name: space[name] for name in trial.params}
        study.add_trial(optuna.trial.create_trial(value=-equal[trial.number], params=trial.params, distributions=here))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=found.quantile)
    theirs = optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(space))
    assert found.shares == pytest.approx(theirs)


def test_importance_of_too_little_is_refused(tmp_path: Path) -> None:
    run, state = invent(tmp_path, 9)
    assert importance_of(state) is None
    assert FIGURES["importance"](run, state) is None
    for report in (report for trial in state.trials.values() for report in trial.reports.values()):
        report.metrics["score"] = 1.0
    state.seq += 1
    with pytest.raises(UsageError, match="ten trials"):
        Results(run).plot.importance()


def test_axes_know_logarithms_categories_and_what_is_not_set(sweep: Invented) -> None:
    found = {axis.name: axis for axis in axes(sweep[1])}
    assert found["model.rate"].log
    assert found["model.kind"].words == ("a", "b", "c")
    for number, trial in sweep[1].trials.items():
        assert 10 ** found["model.rate"].places[number] == pytest.approx(trial.params["model.rate"])
        assert found["model.kind"].words[int(found["model.kind"].places[number])] == trial.params["model.kind"]
        assert math.isnan(found["model.momentum"].places[number]) == ("model.momentum" not in trial.params)
    places, labels = found["model.rate"].ticks()
    assert places == pytest.approx([math.log10(float(label)) for label in labels], abs=0.01)
    drawn = FIGURES["parallel"](*sweep)
    assert drawn
    momentum = next(each for each in drawn.plot.data[0].dimensions if each.label == "momentum")
    assert momentum.ticktext[0] == "not set"
    assert min(momentum.values) == pytest.approx(momentum.tickvals[0])


def test_a_surface_is_the_weighted_mean(sweep: Invented) -> None:
    found = contour_of(sweep[1], "model.rate", "width")
    assert found
    x, y = found.x.places[found.shown], found.y.places[found.shown]
    (low, high), (bottom, top) = found.x.span, found.y.span
    values = found.trials.values[found.shown]
    limits = axis_limits(values, found.trials.mode)
    assert limits
    assert found.log == limits.log
    values = np.clip(values, limits.low, limits.high)
    values = np.log10(values) if limits.log else values
    for row, column in ((0, 0), (7, 30), (20, 18)):
        apart = ((x - found.across[column]) / (high - low)) ** 2 + ((y - found.up[row]) / (top - bottom)) ** 2
        weights = np.exp(-apart / (2 * found.width**2))
        assert found.surface[row, column] == pytest.approx(np.average(values, weights=weights))
    with pytest.raises(UsageError, match=r"'model\.nothing' is not a parameter"):
        contour_of(sweep[1], "model.nothing")


def test_the_frame_leaves_out_what_is_far_out_and_says_so() -> None:
    values = np.array([*np.linspace(0.1, 1.0, 50), 1e9, math.nan, math.inf])
    shown = axis_limits(values, "min")
    assert shown
    assert (shown.low < 0.1, 1.0 < shown.high < 10, shown.beyond) == (True, True, 1)
    turned = axis_limits(-values, "max")
    assert turned
    assert (turned.low, turned.high) == (-shown.high, -shown.low)
    plain = axis_limits(np.array([1.0, 2.0, 3.0]), "min")
    assert plain
    assert (plain.low < 1, plain.high > 3, plain.note) == (True, True, "")
    assert axis_limits(np.array([math.nan]), "min") is None


def test_the_front_is_the_states(tmp_path: Path) -> None:
    for seed in range(2000):
        if Case.of(seed).searcher == "two objectives":
            run, state = simulated(tmp_path, seed)
            found = front_of(state)
            if found and len(found.numbers) > 3:
                break
    assert found
    losses = found.values * [goal.loss(1.0) for goal in found.goals]
    assert found.on == pareto_front({int(n): tuple(row) for n, row in zip(found.numbers, losses, strict=True)})
    assert FIGURES["front"](run, state)


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    run, _ = invent(tmp_path, 3)
    lines = Path(run.journal).read_bytes().splitlines(keepends=True)
    for length in (1, 2, 3, 4):
        Path(run.journal).write_bytes(b"".join(lines[:length]))
        state = read_state(run)
        drawn = {name for name, make in FIGURES.items() if make(run, state)}
        assert drawn <= ({"timeline"} if length == 4 else set())


def test_a_look_of_the_data_class_is_that_of_the_state_now(tmp_path: Path) -> None:
    run, whole = invent(tmp_path, 30)
    state = SweepState()
    for event in read(run.journal):
        state.apply(event)
        if event.seq == 60:
            assert len(trials(state)) == len(state.trials)
    assert len(trials(state)) == len(whole.trials) == 30


def luminance(colour: str) -> float:
    """WCAG's relative luminance."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", [*(style.colour for style in STATUSES.values()), BEST, MUTED, CONTINUED])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_stand_out_from_both_backgrounds(colour: str, theme: Any) -> None:
    assert contrast(colour, BACKGROUND[theme]) >= 3


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_readable(theme: Any) -> None:
    layout = template(theme).layout
    for colour in (layout.font.color, layout.xaxis.tickfont.color, layout.legend.font.color):
        assert contrast(colour, BACKGROUND[theme]) >= 4.5


def test_statuses_differ_in_more_than_colour() -> None:
    for part in ("symbol", "hatch"):
        assert max(Counter(getattr(style, part) for style in STATUSES.values()).values()) == 1


@pytest.mark.slow
def test_ten_thousand_trials_are_drawn_in_six_seconds_and_six_megabytes(tmp_path: Path) -> None:
    run, state = invent(tmp_path, 10_000, epochs=50)
    began, size = time.process_time(), 0
    for make in FIGURES.values():
        found = make(run, state)
        size += len(found.plot.to_json()) if found else 0
    assert time.process_time() - began <= 6
    assert size <= 6e6
    parallel, shown = parallel_of(state), curves(state)
    assert parallel
    assert len(parallel.shown) == 2000
    assert shown
    assert len(shown.shown) == 300


@pytest.mark.slow
def test_two_thousand_hostile_names_stay_words(tmp_path: Path) -> None:
    run = hostile_run(tmp_path, names())
    state = read_state(run)
    for make in FIGURES.values():
        found = make(run, state)
        assert found is None or not raw(found.plot.to_plotly_json())


def raw(part: Any, key: str = "") -> list[str]:
    """Texts in a figure that plotly would read as markup: any tag but our own line break, and control characters.

    The ticks of parallel coordinates it takes as they are.
    """
    if isinstance(part, dict):
        taken = (
            ("meta", "ticktext") if "range" in part and "values" in part else ("meta",)
        )  # parallel's ticks are plain
        return [text for key, item in part.items() if key not in taken for text in raw(item, key)]
    if isinstance(part, list | tuple):
        return [text for item in part for text in raw(item, key)]
    if not isinstance(part, str) or key == "hovertemplate":
        return []
    plain = part.replace("<br>", "") if key == "text" else part
    return [part] if any(c in plain for c in "<>$") or not plain.isprintable() else []


@pytest.mark.slow
def test_hostile_names_do_nothing_in_a_browser(tmp_path: Path, chromium: str) -> None:
    bad = names(60)
    renamed = {"score": bad[2]}
    renamed |= {f"model.{name}": f"model.{bad[at]}" for name, at in (("rate", 0), ("width", 5), ("momentum", 54))}
    renamed |= {"a": bad[2] + "a", "b": bad[9] + "b", "c": "$x^2$", "node0": bad[7], "node1": bad[36]}
    run, state = invent(tmp_path, 60, renamed=renamed)
    drawn = {name: found.plot for name, make in FIGURES.items() if (found := make(run, state))}
    assert {"learning_curves", "history", "importance", "parallel", "slices", "contour", "rungs", "timeline"} <= set(
        drawn
    )
    page = tmp_path / "page.html"
    parts = [plot.to_html(full_html=False, include_plotlyjs=name == "learning_curves", config=CONFIG)
             for name, plot in drawn.items()]  # fmt: skip
    page.write_text('<meta charset="utf-8"><body>' + "".join(parts), encoding="utf-8", errors="surrogatepass")

    async def visit(tab: Page) -> tuple[list[str], int, bool, list[str]]:
        said: list[str] = []
        tab.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda asked: said.append(asked.url) if asked.url.startswith("http") else None)
        await tab.goto(page.as_uri())
        await tab.wait_for_function(f"document.querySelectorAll('.main-svg').length >= {len(drawn)}")
        await tab.wait_for_timeout(500)
        found = await tab.locator(".svg-container a:not(.modebar-btn):not([rel]), .svg-container img, iframe").count()
        hurt = await tab.evaluate("'pwned' in window")
        texts = await tab.evaluate("[...document.querySelectorAll('svg text')].map(text => text.textContent)")
        return said, found, hurt, texts

    said, elements, hurt, texts = browse(chromium, visit)
    assert said == []
    assert elements == 0
    assert hurt is False
    assert any("<img src=x onerror=pwned=1>" in text for text in texts)
    assert not [text for text in texts if "&lt;" in text or "&#" in text]  # seen are the names, not their escapes


def test_labels_are_short_and_plain() -> None:
    assert escaped("<b>&$\x1b") == "&lt;b&gt;&amp;&#36;\\x1b"
    assert escaped("x" * 100, 10) == "x" * 9 + "…"


def test_one_diverged_trial_flattens_nothing() -> None:
    values = np.array([0.02, 0.03, 0.05, 0.04, 0.06, 9.8e7])
    limits = axis_limits(values, "min")
    assert limits
    assert not limits.log
    assert limits.high < 0.3
    assert limits.note == " 1 outlier is outside the axes."
    spread = axis_limits(np.array([0.02, 0.5, 4.0, 60.0, 900.0, 9.8e7]), "min")
    assert spread
    assert spread.log
    assert spread.scale["type"] == "log"
    assert spread.scale["range"][0] == pytest.approx(math.log10(spread.low))


def test_a_wrong_figure_lists_the_right_ones(sweep: Invented) -> None:
    plot = Results(sweep[0]).plot
    with pytest.raises(AttributeError, match=r"did you mean 'importance'\? figures: learning_curves, history, import"):
        plot.importances()
    assert repr(plot).startswith("<figures of 'invented': learning_curves")
