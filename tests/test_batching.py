"""Half the micro-batch and twice the accumulation: the same training in less memory, or a plain no."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from orchestrator.errors import UsageError
from orchestrator.training import class_loading
from orchestrator.training.class_loading.micro_batches import smaller_batches


class Points(L.LightningDataModule):
    """64 points, so that all batch sizes here make whole optimizer steps; shuffled."""

    def __init__(self, batch_size: int = 32, name: str = "") -> None:
        super().__init__()
        self.batch_size = batch_size
        generator = torch.Generator().manual_seed(5)
        self.points = TensorDataset(torch.randn(64, 8, generator=generator), torch.arange(64) % 4)

    def train_dataloader(self) -> Any:
        return DataLoader(self.points, self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.points, self.batch_size)


class Handed(Points):
    """Hands its arguments on."""

    def __init__(self, extra: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class Required(Points):
    def __init__(self, batch_size: int) -> None:
        super().__init__(batch_size)


class Unsized(L.LightningDataModule):
    pass


class Layers(L.LightningModule):
    """Two layers with a normalisation that looks at one sample at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 4))
        self.samples = 0

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        self.samples += len(batch[0])
        return nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.layers(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Loading(Layers):
    """Brings its own loaders."""

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()


def _spec(cls: type, **arguments: Any) -> dict[str, Any]:
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": arguments}


def _trained(model: dict[str, Any], data: dict[str, Any] | None, trainer: dict[str, Any]) -> tuple[Layers, L.Trainer]:
    L.seed_everything(3)
    module, points = class_loading.build(model), class_loading.build(data or {})
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    plain = L.Trainer(
        **{**silent, "enable_model_summary": False, "num_sanity_val_steps": 0, "max_epochs": 3, **trainer}
    )
    plain.fit(module, points)
    return module, plain


@pytest.mark.parametrize("halvings", [1, 4])
@pytest.mark.parametrize(
    "trainer",
    [{}, {"accumulate_grad_batches": 2}, {"limit_train_batches": 1, "gradient_clip_val": 0.5}, {"max_steps": 3}],
    ids=["plain", "accumulating", "limited", "max_steps"],
)
def test_it_trains_to_the_same_weights(trainer: dict[str, Any], halvings: int) -> None:
    model, data = _spec(Layers), _spec(Points, batch_size=32)
    whole, reference = _trained(model, data, trainer)
    smaller = smaller_batches(model, data, trainer, halvings)
    assert smaller is not None
    assert smaller[1] == _spec(Points, batch_size=32 // 2**halvings)
    parts, plain = _trained(*smaller)
    assert (plain.global_step, parts.samples) == (reference.global_step, whole.samples)
    for (name, one), other in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)
    start = Layers().state_dict()["layers.0.weight"]
    assert not torch.allclose(start, whole.state_dict()["layers.0.weight"], atol=1e-2), "it has learnt something"
    torch.testing.assert_close(plain.callback_metrics["val_loss"], reference.callback_metrics["val_loss"])


def test_where_the_batch_size_is_found() -> None:
    plain, sized = _spec(Layers), _spec(Loading, batch_size=8)

    def sizes(model: dict[str, Any], data: dict[str, Any] | None) -> tuple[Any, Any]:
        found = smaller_batches(model, data, {}, 1)
        assert found is not None
        return found[0]["init_args"].get("batch_size"), (found[1] or {}).get("init_args", {}).get("batch_size")

    assert sizes(sized, _spec(Points, batch_size=16)) == (8, 8), "the data's comes first"
    assert sizes(sized, _spec(Points)) == (4, None), "what is given comes before what is the default"
    assert sizes(_spec(Loading), _spec(Points)) == (None, 16)
    assert sizes(plain, {"class_path": _spec(Points)["class_path"]}) == (None, 16)
    assert sizes(plain, _spec(Handed)) == (None, 16)
    assert sizes(_spec(Loading), None) == (32, None)
    assert sizes(_spec(Loading), _spec(Unsized)) == (32, None)
    assert sizes(plain, {"class_path": "orchestrator.data.DigitsDataModule"})[1] is not None


def test_what_is_given_is_not_changed_and_nothing_else_is() -> None:
    given = (_spec(Layers), _spec(Points, batch_size=32, name="x"), {"max_epochs": 3, "limit_train_batches": 0.5})
    kept = deepcopy(given)
    found = smaller_batches(*given, 3)
    assert given == kept
    assert found == (kept[0], _spec(Points, batch_size=4, name="x"), {**kept[2], "accumulate_grad_batches": 8})


def test_what_counts_batches_grows_with_them() -> None:
    trainer = {"limit_train_batches": 10, "limit_val_batches": 1.0, "val_check_interval": 5, "max_steps": 7}
    found = smaller_batches(_spec(Layers), _spec(Points), trainer, 1)
    assert found is not None
    assert found[2] == {
        "limit_train_batches": 20,
        "limit_val_batches": 1.0,
        "val_check_interval": 10,
        "max_steps": 7,
        "accumulate_grad_batches": 2,
    }


SCHEDULER = {
    "class_path": "lightning.pytorch.callbacks.GradientAccumulationScheduler",
    "init_args": {"scheduling": {4: 2}},
}


@pytest.mark.parametrize(
    ("data", "trainer", "halvings"),
    [
        (_spec(Unsized), {}, 1),
        (None, {}, 1),
        (_spec(Required), {}, 1),
        (_spec(Points, batch_size=1), {}, 1),
        (_spec(Points, batch_size=32), {}, 6),
        (_spec(Points, batch_size=24), {}, 4),
        (_spec(Points, batch_size=33), {}, 1),
        (_spec(Points, batch_size=0), {}, 1),
        (_spec(Points, batch_size=32.0), {}, 1),
        (_spec(Points, batch_size=None), {}, 1),
        (_spec(Points, batch_size=True), {}, 0),
        (_spec(Points), {"accumulate_grad_batches": {0: 2}}, 1),
        (_spec(Points), {"callbacks": [SCHEDULER]}, 1),
        (_spec(Points), {"callbacks": SCHEDULER}, 1),
        (_spec(Points), {"fast_dev_run": True}, 1),
        (_spec(Points), {}, -1),
    ],
)
def test_where_it_cannot_be_it_says_none(data: dict[str, Any] | None, trainer: dict[str, Any], halvings: int) -> None:
    assert smaller_batches(_spec(Layers), data, trainer, halvings) is None


def test_a_class_that_is_not_there_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        smaller_batches(_spec(Layers), {"class_path": "no.such.Data", "init_args": {}}, {}, 1)
