"""An audit in words: lines for the terminal, and sentences for ``sweep why``."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.progress import counted, percent, place, span
from orchestrator.results.audit import Audit, Bin, RungAudit
from orchestrator.state import SweepState

_SHOWN = 5


def audit_lines(name: str, audit: Audit, state: SweepState) -> Iterator[str]:
    """Yield the audit of a run, a line each."""
    unit = state.unit
    yield (
        f"{name}: {counted(audit.trials, 'trial')} with a value, {audit.finished} of them trained to the end "
        f"({audit.behind} in the worse half at the first rung)"
    )
    if not audit.stopped:
        yield "no trial was stopped early, so nothing was lost or saved"
        return
    saved = span(round(audit.saved, 2), unit)
    yield f"early stopping saved {saved}, {percent(audit.saved_share)} of training all to the end"
    yield lost_sentence(audit, state)
    likely = sorted(audit.probabilities.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
    if named := [f"trial {number} ({percent(chance)})" for number, chance in likely if chance >= 0.005]:
        yield f"most likely lost: {', '.join(named)}"
    for rung in audit.rungs:
        yield (
            f"{place(rung.rung, unit)}: {counted(rung.entered, 'trial')}, {rung.seen} of them seen to the end; "
            f"the best {percent(rung.share)} hold the trial that ends best with probability {percent(rung.chance)}"
        )
    if audit.unpredictive:
        yield unpredictive_sentence(audit, audit.unpredictive, unit)
    if audit.bins:
        yield f"forecasts of trials that then trained to the end: {', '.join(map(_bin, audit.bins))}"


def lost_sentence(audit: Audit, state: SweepState) -> str:
    """Say how many winners were probably lost, or why nothing can be said."""
    if audit.lost is None or audit.any_lost is None:
        guarded = state.spec["scheduler"]["name"] == "guarded_asha"
        more = "more trials give more controls" if guarded else "scheduler guarded_asha trains such controls"
        return (
            "winners lost: the data cannot say, since at each rung at least four trials must have continued, two of "
            f"them from its worse half; {more}"
        )
    return (
        f"winners probably lost: {audit.lost:.2g} of {counted(audit.stopped, 'trial')}, "
        f"{percent(audit.level)} interval {audit.low} to {audit.high}; "
        f"one or more with probability {percent(audit.any_lost)}"
    )


def unpredictive_sentence(audit: Audit, rung: RungAudit, unit: str) -> str:
    """Say that a rung does not predict here, and what to do about it."""
    advice = f"; with scheduler.grace: {audit.safe_grace:g} they would" if audit.safe_grace else ""
    return (
        f"{place(rung.rung, unit)} does not predict the end here: the best {percent(rung.share)} there hold the trial "
        f"that ends best only with probability {percent(rung.chance)}{advice}"
    )


def trial_sentences(audit: Audit, number: int, unit: str) -> list[str]:
    """Return what the audit says of a trial that ended, or waits, early; nothing of any other."""
    if number not in audit.probabilities:
        return []
    chance = percent(audit.probabilities[number])
    said = [f"Trained to the end it would have beaten the best trial with probability {chance}, by sweep audit."]
    if audit.unpredictive:
        sentence = unpredictive_sentence(audit, audit.unpredictive, unit)
        said.append(f"{sentence[0].upper()}{sentence[1:]}.")
    return said


def _bin(each: Bin) -> str:
    return f"{percent(each.forecast)} came true in {percent(each.observed)} (n = {each.n})"
