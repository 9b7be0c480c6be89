"""Modules that use Lightning's features at random equal a plain Trainer, interrupted or not, to the bit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.exact_runs import judge
from tests.support.random_cases import draw_case

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

SAMPLE, ALL, BLOCK = 20, 300, 20


@pytest.mark.parametrize("seed", range(SAMPLE))
def test_a_random_module_is_exact_or_refused(seed: int, tmp_path: Path) -> None:
    verdict = judge(draw_case(seed), tmp_path)
    assert verdict.faults == []


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, ALL, BLOCK))
def test_many_random_modules_are_exact_or_refused(first: int, tmp_path: Path) -> None:
    verdicts = {seed: judge(draw_case(seed), tmp_path / str(seed)) for seed in range(first, first + BLOCK)}
    assert {seed: verdict.faults for seed, verdict in verdicts.items() if verdict.faults} == {}
    outcomes = Counter(verdict.outcome for verdict in verdicts.values())
    assert outcomes["exact"] >= 0.7 * BLOCK, outcomes


def test_the_cases_use_every_feature_and_are_fixed_by_their_seeds() -> None:
    cases = [draw_case(seed) for seed in range(ALL)]
    assert cases == [draw_case(seed) for seed in range(ALL)]
    plans = [case.model["init_args"]["plan"] for case in cases]
    readings = [
        plan["data"] if case.data is None else case.data["init_args"]["reading"]
        for case, plan in zip(cases, plans, strict=True)
    ]
    used = Counter(each["class_path"].rpartition(".")[2] for case in cases for each in case.trainer["callbacks"])
    used += Counter(name for case in cases for name in case.trainer)
    used += Counter(each["kind"] for plan in plans for each in plan.get("schedulers", ()))
    used += Counter(each["name"] for plan in plans for each in plan["optimizers"])
    used += Counter(name for plan in plans for name in (*plan["hooks"], *plan["metrics"], *plan))
    used += Counter(str(value) for reading in readings for value in (*reading.values(), *reading))
    rare = [feature for feature in FEATURES if used[feature] < 3]
    assert rare == []


FEATURES = [
    *("StochasticWeightAveraging", "EMAWeightAveraging", "ModelPruning", "QuickFinder", "BatchSizeFinder", "Thaw"),
    *("EarlyStopping", "ModelCheckpoint", "GradientAccumulationScheduler", "LearningRateMonitor", "OddState", "Draws"),
    *("accumulate_grad_batches", "gradient_clip_val", "limit_train_batches", "check_val_every_n_epoch", "max_steps"),
    *("reload_dataloaders_every_n_epochs", "val_check_interval", "precision", "manual", "exit", "Unwritable"),
    *("step", "cosine", "onecycle", "plateau", "warmup", "chained", "own", "lambda", "cyclic", "restarts"),
    *("sgd", "adam", "lbfgs", "odd", "noise", "skip_rest", "freeze", "state", "extra_state", "own_callback"),
    *("nan", "inf", "dtypes", "collection", "large", "torchmetrics", "step_epoch", "workers", "persistent", "list"),
    *("iterable", "weighted", "generator", "own batches", "numpy", "python", "torch", "split", "by_epoch", "max_size"),
]
