"""Estimate what a sweep takes before it is launched.

plan(spec)             trials, rungs and epochs, at once and without torch
measure(spec, plan)    hours, memory, disk and cost, after a few training steps in separate processes
settle(spec)           numbers for ``resources: auto``; the share of a GPU is measured the same way
"""

from __future__ import annotations

from orchestrator.plan.costs import Costs, measure
from orchestrator.plan.gpu_sharing import settle
from orchestrator.plan.trial_counts import Plan, plan

__all__ = ["Costs", "Plan", "measure", "plan", "settle"]
