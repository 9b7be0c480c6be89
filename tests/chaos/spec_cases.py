"""Fuzzed sweep files: each case is made from (seed, number) alone, so that these two replay it."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

RICH = """\
name: rich
seed: 3
objective: {metric: val/acc, mode: max}
model:
  class_path: my_package.Model
  init_args:
    encoder: {class_path: my_package.Encoder, init_args: {hidden: 8, activation: relu}}
    layers: [1, 2.5, true, null, "text", {a: [b, c]}]
data: my_package.Data
trainer:
  max_epochs: 3
  callbacks: [my_package.Callback, {class_path: my_package.Other, init_args: {patience: 3}}]
space:
  model.encoder.hidden: {log_int: [8, 256]}
  model.encoder.activation: {choice: [relu, gelu, {class_path: my_package.Act}]}
  model.slope: {uniform: [0.0, 1.0], step: 0.25, when: {model.encoder.activation: [relu, gelu]}}
  model.noise: {normal: [0.0, 2.0], step: 0.5}
  model.scale: {log_normal: [0, 1.5], when: {model.slope: 0.25}}
  model.width: {int: [1, 9], step: 2}
  model.learning_rate: {log_uniform: [1e-5, 1e-1]}
  trainer.callbacks.1.patience: {const: 4}
  data.batch_size: {choice: [32, 64]}
searcher: {name: tpe, startup_trials: 5, multivariate: false}
scheduler: asha
budget: {trials: 10, wall_clock: 1h30m}
resources: {cpus: 0.5, gpus: 2, concurrent: 3}
checkpoints: {keep_top: 3, quota: 20GB}
recovery: {stalled_after: 30m}
tracking: {wandb: {project: rich, mode: offline, entity: null}}
"""
WANDB = """\
program: train.py
name: a search
method: bayes
metric: {name: val_loss, goal: minimize, target: 0.1}
run_cap: 12
early_terminate: {type: hyperband, max_iter: 27, s: 2, eta: 3}
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 0.1}
  wide: {distribution: q_log_uniform, min: 1, max: 5, q: 2}
  batch_size: {values: [32, 64], probabilities: [0.5, 0.5]}
  epochs: {value: 5}
  width: {distribution: q_uniform, min: 1.5, max: 10, q: 0.5}
  noise: {distribution: q_normal, mu: 0, sigma: 1, q: 0.1}
  odd: {distribution: inv_log_uniform, min: 1, max: 2}
  optimizer: {parameters: {name: {values: [adam, sgd]}, momentum: 0.9}}
"""
LIGHTNING_CLI = """\
seed_everything: 3
fit:
  trainer:
    accelerator: auto
    logger: null
    callbacks:
    - {class_path: lightning.pytorch.callbacks.EarlyStopping, init_args: {monitor: val_acc, mode: max}}
    max_epochs: 3
    fast_dev_run: false
  model: {class_path: my_package.Model, init_args: {learning_rate: 1e-3}}
  data: my_package.Data
  ckpt_path: x.ckpt
  optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1}}
"""
BAITS = ("antigravity.Bait", "this.Bait", "turtledemo.Bait", "idlelib.idle.Bait", "my_package.Model")
"""Import paths that must stay words: of modules that nothing else imports."""

WORDS = (
    "model", "data", "trainer", "space", "name", "class_path", "init_args", "when", "step", "choice", "const", "int",
    "uniform", "log_uniform", "log_int", "normal", "log_normal", "grid", "asha", "budget", "trials", "callbacks",
    "searcher", "random", "objective", "metric", "mode", "parameters", "fit", "seed_everything", "ckpt_path", "",
    "model.learning_rate", "trainer.callbacks.0", "model.a.b.c", "model.", ".", "..", "model..x", "__class__", "<<",
    "../../etc", "\x00", "\x85", "\u2028", "\u202e", "\ufeff", "ключ", "𝒶", "\ud800", "a\nb", "²", "١٢", "-", "*",
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 0.0, -0.0, 0.5, 1e-320, 5e-324, 1e308, 1.7976931348623157e308, -1e308, math.nan, math.inf, -math.inf,
    2**31, 2**32, 2**53 + 1, 2**63, 2**64, -(2**63), 10**30, 10**309, 10**3990, 1e-9, 0.1, 1e22, True, False, None,
)  # fmt: skip
TEXTS = (
    "1e999", "-1e999", ".inf", "-.INF", ".nan", "0x" + "f" * 5000, "0o" + "7" * 9000, "9" * 5000, "1" * 3999, "1_000",
    "2001-01-01", "yes", "no", "~", "null", "4h", "99999999999999999999d", "9" * 400 + "h", "0s", "20GB",
    "9" * 400 + "GB", "1.5B", "١h", "!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!set {a}",
    "!!binary aGk=", "!!timestamp 2001-01-01", "!!float 1", "!!int x", "!<tag:x> 1", "! 1", "!!str 1", "!!omap [a: 1]",
    "&a 1", "*a", "&a [*a]", "&a {b: *a}", "{<<: *a}", "? [a]\n: b", "? {a: b}", "|\n x", ">-\n x\n\n y", "|99\n x",
    '"\\uD800"', '"\\U00110000"', '"\\UFFFFFFFF"', '"\\xzz"', '"\\0"', "'", '"', "[", "]", "{", "}", "[[[[",
    "- - - - a",
    "%YAML 1.1\n---",
    "%YAML 99999999999999999999.1\n---", "%YAML 1\n---", "%TAG ! tag:x,2000:\n---", "%TAG !! !\n---", "---", "...",
    "--- a\n--- b", "# c", "\t", "@", "`", "!", "&", "*", "!!", "? ", ": ", "- ", "<<: {a: 1}", "=", "\r", "\x0b",
)  # fmt: skip
BYTES = (
    b"\x00", b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80",
    b"\x80", b"\xc2\x85", b"\xe2\x80\xa8", b"\x1b[2J", b"\x7f", b"\r\n", b"\r", b"\x0c",
)  # fmt: skip
DOMAINS = ("uniform", "log_uniform", "int", "log_int", "choice", "normal", "log_normal", "const")


@dataclass(frozen=True)
class Case:
    """A file's content and how it is read: by ``load`` with overrides, or by ``import_file``."""

    content: bytes
    overrides: tuple[str, ...] = ()
    name: str | None = None
    imported: bool = False


@cache
def corpus() -> tuple[bytes, ...]:
    """The shipped files, the broken ones, and one rich file of each kind that is read."""
    files = sorted((*ROOT.glob("search_spaces/*.yaml"), *ROOT.glob("tests/broken_specs/*.yaml")))
    written = [text.encode() for text in (RICH, WANDB, LIGHTNING_CLI)]
    return (*(path.read_bytes() for path in files), *(written * (len(files) // 6)))


@cache
def trees() -> tuple[Any, ...]:
    """What the well-formed ones of the corpus hold, as plain values."""
    from orchestrator.errors import SpecError
    from orchestrator.spec.yaml_document import read

    found = []
    for content in corpus():
        try:
            found.append(read(content, "")[0].data)
        except SpecError:
            continue
    return tuple(tree for tree in found if isinstance(tree, dict))


def case(seed: int, number: int) -> Case:
    """The case of that number."""
    rng = random.Random(f"{seed}:{number}")
    make = rng.choices((_bytes, _structured, _spaces, _hostile), (4, 4, 2, 1))[0]
    content = make(rng)
    overrides = tuple(_override(rng) for _ in range(rng.randint(1, 3))) if rng.random() < 0.15 else ()
    name = rng.choice((*WORDS, "fine")) if rng.random() < 0.05 else None
    return Case(content, overrides, name, imported=rng.random() < (0.5 if b"parameters" in content else 0.15))


def _bytes(rng: random.Random) -> bytes:
    """A file with some of its bytes changed."""
    content = bytearray(rng.choice(corpus()))
    for _ in range(rng.choice((1, 1, 2, 3, 5, 9, 20))):
        at, end = sorted((rng.randint(0, len(content)), rng.randint(0, len(content))))
        end = min(end, at + rng.choice((1, 3, 10, 60)))
        kind = rng.randrange(9)
        if kind == 0 and content:
            content[min(at, len(content) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
        elif kind == 2:
            del content[at:end]
        elif kind == 3:
            del content[at:]
        elif kind == 4:
            content[at:at] = content[at:end] * rng.choice((1, 2, 50))
        elif kind == 5:
            content[at:at] = rng.choice(BYTES)
        elif kind == 6:
            content[at:end] = rng.choice(TEXTS).encode("utf-8", "surrogatepass")
        elif kind == 7:
            content[at:end] = rng.choice(rng.choice(corpus()).splitlines(keepends=True) or [b""])
        else:
            content[at:end] = b"%d" % rng.choice((0, -1, 10**20, 10**400))
    return bytes(content)


def _structured(rng: random.Random) -> bytes:
    """A well-formed file whose values, keys and types are not what they should be."""
    tree = json.loads(json.dumps(rng.choice(trees())))
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        _mutate(tree, rng)
    return written(tree).encode()


def _mutate(tree: Any, rng: random.Random) -> None:
    """Change one entry somewhere in ``tree``, in place."""
    places = _places(tree)
    holder, key = rng.choice(places) if places else (tree, None)
    if key is None:
        return
    other, other_key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key], other[other_key] = json.loads(json.dumps([other[other_key], holder[key]]))
    elif kind == 2 and isinstance(holder, dict):
        holder[rng.choice(WORDS)] = holder.pop(key)
    elif kind == 3 and isinstance(holder, dict):
        holder[rng.choice((*WORDS, *map(str, other)))] = json.loads(json.dumps(holder[key]))
    elif kind == 4 and isinstance(holder[key], list):
        holder[key] *= rng.choice((0, 2, 30))
    else:
        holder[key] = _value(rng)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in ``tree``."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [(tree, key) for key in keys] + [place for key in keys for place in _places(tree[key])]


def _value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(8)
    if kind < 3:
        return rng.choice(NUMBERS)
    if kind < 5 or depth > 3:
        return rng.choice((*WORDS, *TEXTS, *BAITS))
    if kind == 5:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 6:
        return {rng.choice(WORDS): _value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return {"class_path": rng.choice(BAITS), "init_args": {rng.choice(WORDS): _value(rng, depth + 1)}}


def _spaces(rng: random.Random) -> bytes:
    """A spec with a space of domains at the limits of what numbers can be."""
    names = [
        f"{rng.choice(('model', 'data', 'trainer'))}.{rng.choice('abcdefgh')}{i}" for i in range(rng.randint(1, 6))
    ]
    space = {name: _domain(rng, names) for name in names}
    tree: dict[str, Any] = {
        "objective": {"metric": "val_loss", "mode": "min"}, "model": "m.M", "data": "m.D", "space": space,
        "searcher": rng.choice(("grid", "tpe", "random")),
    }  # fmt: skip
    return written(tree).encode()


def _domain(rng: random.Random, names: list[str]) -> Any:
    kind = rng.choice(DOMAINS)
    count = 2 if kind not in ("choice", "const") else rng.randint(0, 6)
    numbers = [rng.choice(NUMBERS) if rng.random() < 0.5 else rng.choice((1, 2, 3, 0.5, 1e-3)) for _ in range(count)]
    ordered = sorted(n for n in numbers if type(n) in (int, float) and n == n)
    arguments = ordered if len(ordered) == count and rng.random() < 0.8 else numbers
    domain: dict[str, Any] = {kind: _value(rng) if kind == "const" else arguments}
    if rng.random() < 0.4 and kind not in ("choice", "const"):
        domain["step"] = rng.choice((*NUMBERS, 1, 1, 0.1, 0.5))
    if rng.random() < 0.2:
        domain["when"] = {rng.choice(names): rng.choice((1, [1, 2], 0.5, _value(rng)))}
    return domain


def _hostile(rng: random.Random) -> bytes:
    """A file made to exhaust whoever reads it, or to make it do something."""
    return rng.choice(HOSTILE)(rng, rng.choice((3, 30, 49, 60, 1000, 20_000))).encode("utf-8", "surrogatepass")


def _spec(inside: str) -> str:
    return f"objective: {{metric: m, mode: min}}\n{inside}\nmodel: m.M\n"


def _bomb(rng: random.Random, n: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * rng.choice((1, 9)))}]" for i in range(1, min(n, 60))]
    return "\n".join(lines)


HOSTILE: tuple[Callable[[random.Random, int], str], ...] = (
    _bomb,
    lambda rng, n: _spec("trainer: {a: " + "[" * n + "]" * n + "}"),
    lambda rng, n: "{a: " * n + "1" + "}" * n,
    lambda rng, n: "[" * n * 10,
    lambda rng, n: "\n".join(" " * i + "a:" for i in range(min(n, 1000))),
    lambda rng, n: "- " * n + "a",
    lambda rng, n: "? " * n + "a",
    lambda rng, n: _spec("space: {model." + "a." * n + "b: {const: 1}}"),
    lambda rng, n: _spec("space: {" + ", ".join(f"model.p{i}: {{choice: [1, 2]}}" for i in range(n)) + "}"),
    lambda rng, n: _spec("space: {" + ", ".join(f"model.p{i}: {{const: 1, when: {{model.q{i}: 1}}}}"
                                                for i in range(n)) + "}"),
    lambda rng, n: _spec("searcher: grid\nspace: {" + ", ".join(
        f"model.p{i}: {{choice: [1, 2, 3, 4], when: {{model.p{i - 1}: [1, 2, 3, 4]}}}}" if i
        else "model.p0: {choice: [1, 2, 3, 4]}" for i in range(min(n, 200))) + "}"),
    lambda rng, n: _spec("space: {" + ", ".join(f"model.p{i}: {{const: 1, when: {{model.p{(i + 1) % n}: 1}}}}"
                                                for i in range(n)) + "}"),
    lambda rng, n: _spec("space: {" + ", ".join(f"p{i}: 1" for i in range(n)) + "}"),
    lambda rng, n: _spec("space: {model.a: {choice: [" + ", ".join(map(str, range(n))) + "]}}"),
    lambda rng, n: _spec("trainer: {callbacks: [" + ", ".join(f"{{class_pth: a.B{i}}}" for i in range(n)) + "]}"),
    lambda rng, n: _spec("\n".join(f"unknown{i}: 1" for i in range(n))),
    lambda rng, n: _spec("\n".join("seed: 1" for i in range(n))),
    lambda rng, n: _spec(f"name: {'a' * n * 40}"),
    lambda rng, n: _spec(f"modell: {'a b ' * n * 10}"),
    lambda rng, n: _spec(f"{'mode' * n * 10}: 1"),
    lambda rng, n: _spec("\n" * n * 40),
    lambda rng, n: _spec("#" * n * 40),
    lambda rng, n: _spec("# x\n" * n * 10),
    lambda rng, n: _spec("trainer: {a: " + '"' + "\\n x" * n * 5 + '"}'),
    lambda rng, n: _spec("trainer:\n  a: " + "word\n    " * n * 5),
    lambda rng, n: _spec("trainer:\n  a: |\n" + "    line\n" * n * 4),
    lambda rng, n: _spec(f"seed: 0x{'f' * n}"),
    lambda rng, n: _spec(f"seed: {'9' * n}"),
    lambda rng, n: _spec(f"seed: 1.{'0' * n}e-{'9' * n}"),
    lambda rng, n: _spec(f"resources: {{cpus: {'9' * min(n, 3999)}}}"),
    lambda rng, n: _spec(f"recovery: {{stalled_after: {'1d' * n}}}"),
    lambda rng, n: _spec(f"checkpoints: {{quota: {'9' * n}TB}}"),
    lambda rng, n: f"parameters: {{{'a: {parameters: {' * min(n, 60)}}}" + "}" * min(n, 60) * 2,
    lambda rng, n: "method: grid\nparameters: {" + ", ".join(f"p{i}: {{values: [1, 2]}}" for i in range(n)) + "}",
    lambda rng, n: _spec(rng.choice(TEXTS)),
    lambda rng, n: rng.choice(TEXTS) + "\n" + _spec(""),
    lambda rng, n: _spec(f"trainer: {{a: {rng.choice(TEXTS)}}}"),
    lambda rng, n: _spec(f"data: {rng.choice(BAITS)}\nspace: {{model.class_path: {{choice: [{', '.join(BAITS)}]}}}}"),
)  # fmt: skip


def _override(rng: random.Random) -> str:
    keys = (
        "model", "data.x", "trainer.callbacks.0.patience", "budget.trials", "space.model.lr", "space", "name", "seed",
        "trainer", "searcher.name", "scheduler.grace_epochs", "", ".", "a.", "a..b", "model.init_args.layers.3",
        "trainer.callbacks." + "9" * 5000, "trainer.callbacks.²", "model." + "a." * rng.choice((3, 60, 5000)) + "b",
        "tracking.wandb.project", "objective.metric", rng.choice(WORDS), "checkpoints.quota", "model.class_path.x",
    )  # fmt: skip
    value = rng.choice((*TEXTS, *BAITS, written(_value(rng)), written(_value(rng)), "[" * 60, "{a: 1, a: 2}"))
    return f"{rng.choice(keys)}{rng.choice(('=', '=', '=', '==', '', ' = '))}{value}"


def written(value: Any) -> str:
    """Plain values as YAML in flow style; keys and text in JSON's quotes, so that anything can be written."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    return json.dumps(value)
