"""The shipped language model and its text: what it may see, how it is scheduled, and where a pass continues."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.nn import functional as F

from orchestrator.data import PythonTextDataModule
from orchestrator.data.python_text import CHARACTERS, VOCABULARY, TokenBatches, encode
from orchestrator.models import LitGPT
from orchestrator.models.gpt import CausalAttention

SMALL: dict[str, Any] = {"context": 16, "width": 16, "layers": 2, "heads": 2}


def fitted(folder: Path, model: LitGPT, data: PythonTextDataModule | None = None, **options: Any) -> L.Trainer:
    quiet: dict[str, Any] = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
        "enable_checkpointing": False,
    }
    given = {"max_epochs": 1, "limit_train_batches": 8, "limit_val_batches": 1, "num_sanity_val_steps": 0, **options}
    trainer = L.Trainer(accelerator="cpu", default_root_dir=folder, **quiet, **given)
    trainer.fit(model, data or PythonTextDataModule(batch_size=4, context=16, seed=1))
    return trainer


def test_the_default_has_some_800_000_parameters() -> None:
    assert 780_000 < sum(weight.numel() for weight in LitGPT().parameters()) < 840_000
    assert LitGPT().hparams["vocabulary"] == VOCABULARY


def test_a_position_sees_itself_and_earlier_ones_only() -> None:
    torch.manual_seed(0)
    model = LitGPT(**SMALL).eval()
    tokens = torch.randint(0, VOCABULARY, (1, 16))
    changed = tokens.clone()
    changed[0, 9] = (changed[0, 9] + 1) % VOCABULARY
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :9], after[:, :9])
    assert not torch.allclose(before[:, 9:], after[:, 9:])


def test_attention_is_the_softmax_of_scaled_products() -> None:
    torch.manual_seed(0)
    attention = CausalAttention(width=16, heads=2, dropout=0.0)
    x = torch.randn(2, 5, 16)
    queries, keys, values = attention.project_in(x).chunk(3, dim=-1)
    heads = []
    for head in (slice(0, 8), slice(8, 16)):
        scores = queries[..., head] @ keys[..., head].transpose(1, 2) / math.sqrt(8)
        scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
        heads.append(F.softmax(scores, -1) @ values[..., head])
    torch.testing.assert_close(attention(x), attention.project_out(torch.cat(heads, -1)))


def test_the_rate_rises_and_then_falls_as_a_cosine() -> None:
    model = LitGPT(**SMALL, warmup=0.1, final_rate=0.2)
    rates = [model._rate(step, 100) for step in range(101)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.6)
    assert rates[100] == pytest.approx(0.2)
    assert LitGPT(**SMALL, warmup=0.0)._rate(0, 100) == 1.0


def test_matrices_alone_decay(tmp_path: Path) -> None:
    model = LitGPT(**SMALL, weight_decay=0.3)
    trainer = fitted(tmp_path, model)
    decayed, others = trainer.optimizers[0].param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    assert {weight.ndim for weight in decayed["params"]} == {2}
    assert {weight.ndim for weight in others["params"]} == {1}
    assert sum(map(len, (decayed["params"], others["params"]))) == len(list(model.parameters()))


def test_it_learns_and_counts_its_tokens(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trainer = fitted(tmp_path, LitGPT(**SMALL, learning_rate=1e-2), limit_train_batches=40)
    assert trainer.callback_metrics["val_loss"] < 3.6 < math.log(VOCABULARY)
    assert trainer.callback_metrics["tokens_seen"] == 40 * 4 * 16


@pytest.mark.slow
def test_a_resumed_training_counts_on(tmp_path: Path) -> None:
    trainer = fitted(tmp_path, LitGPT(**SMALL))
    trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    loaded = LitGPT.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert loaded.tokens_seen == 8 * 4 * 16
    fitted(tmp_path, loaded)
    assert loaded.tokens_seen == 2 * 8 * 4 * 16


@pytest.mark.parametrize("arguments", [{"width": 10, "heads": 4}, {"warmup": 1.0}, {"layers": 0}])
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        LitGPT(**{**SMALL, **arguments})


def test_a_longer_input_is_refused() -> None:
    with pytest.raises(ValueError, match="17 positions"):
        LitGPT(**SMALL)(torch.zeros(1, 17, dtype=torch.int64))


def test_a_text_and_its_tokens() -> None:
    assert [CHARACTERS[token] for token in encode("a ~\n")] == ["a", " ", "~", "\n"]
    assert int(encode("é")[0]) == VOCABULARY - 1


def test_each_window_comes_once_a_pass_in_an_order_of_its_own() -> None:
    text = torch.arange(161)
    batches = TokenBatches(text, batch_size=3, context=16, seed=1)
    passes = []
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        found = list(batches)
        assert len(found) == len(batches) == 4
        assert all(torch.equal(targets, inputs + 1) for inputs, targets in found)
        passes.append(torch.cat([inputs[:, 0] for inputs, _ in found]).tolist())
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(0, 160, 16))
    assert passes[0] != passes[1]
    plain = TokenBatches(text, batch_size=3, context=16)
    assert [int(inputs[0, 0]) for inputs, _ in plain] == [0, 48, 96, 144]


@pytest.mark.parametrize("cut", range(4))
def test_a_pass_continues_at_its_place(cut: int) -> None:
    made = [TokenBatches(torch.arange(161), batch_size=3, context=16, seed=1) for _ in range(2)]
    whole = [inputs for inputs, _ in made[0]]
    begun = iter(made[0])
    for _ in range(cut):
        next(begun)
    made[1].load_state_dict(made[0].state_dict())
    rest = [inputs for inputs, _ in made[1]]
    assert len(rest) == len(whole) - cut
    assert all(map(torch.equal, rest, whole[cut:]))
    assert len(list(made[1])) == len(whole)  # the next pass is whole


def test_a_pass_that_is_left_early_or_after_its_last_batch_is_followed_by_a_whole_one() -> None:
    """Lightning asks for as many batches as there are, and never for the end: each second validation was empty."""
    batches = TokenBatches(torch.arange(161), batch_size=3, context=16)
    for count in (len(batches), 2, len(batches)):
        begun = iter(batches)
        assert [int(next(begun)[0][0, 0]) for _ in range(count)] == [0, 48, 96, 144][:count]
        assert batches.state_dict() == {"batches": count % len(batches)}


def test_every_validation_of_a_pass_and_every_pass_is_whole(tmp_path: Path) -> None:
    seen: list[int] = []

    class Validations(L.Callback):
        def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            seen.append(trainer.fit_loop.epoch_loop.val_loop.batch_progress.current.completed)

    options = {"limit_train_batches": 4, "val_check_interval": 2, "limit_val_batches": 1.0, "max_epochs": 2}
    model = LitGPT(**{**SMALL, "context": 256, "layers": 1})
    data = PythonTextDataModule(batch_size=16, context=256, seed=1)
    fitted(tmp_path, model, data, callbacks=[Validations()], **options)
    assert seen == [len(data.val_dataloader())] * 4
    assert model.tokens_seen == 2 * 4 * 16 * 256


def test_the_parts_of_the_text_do_not_overlap() -> None:
    data = PythonTextDataModule(batch_size=64, context=32, seed=1)
    parts = [loader.text for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())]
    assert len(parts[0]) == 8 * len(parts[1]) == 8 * len(parts[2])
    assert len({part.data_ptr() for part in parts}) == 3
    assert sum(map(len, parts)) > 300_000
    assert "statement" in "".join([*CHARACTERS, "?"][token] for token in parts[1])
