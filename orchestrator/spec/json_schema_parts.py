"""JSON schemas for the parts that pydantic cannot describe: the space and the trainer."""

from __future__ import annotations

from typing import Any

_NUMBERS = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_POSITIVE = {**_NUMBERS, "items": {"type": "number", "exclusiveMinimum": 0}}
_INTEGERS = {**_NUMBERS, "items": {"type": "integer"}}
_POSITIVE_INTEGERS = {**_NUMBERS, "items": {"type": "integer", "minimum": 1}}
_STEP = {"type": "number", "exclusiveMinimum": 0, "description": "Only values that are whole steps apart."}
_INTEGER_STEP = {**_STEP, "type": "integer"}
_WHEN = {
    "type": "object",
    "description": "The parameter exists only where another one has this value, or one of these values.",
    "minProperties": 1,
}


def _form(kind: str, description: str, arguments: dict[str, Any], step: dict[str, Any] | None) -> dict[str, Any]:
    options = {"step": step} if step else {}
    return {
        "type": "object",
        "title": kind,
        "description": description,
        "properties": {kind: {**arguments, "description": description}, **options, "when": _WHEN},
        "required": [kind],
        "additionalProperties": False,
    }


DOMAIN_SCHEMA: dict[str, Any] = {
    "oneOf": [
        _form("uniform", "A float in [low, high], all equally likely.", _NUMBERS, _STEP),
        _form("log_uniform", "A float in [low, high], every order of magnitude equally likely.", _POSITIVE, _STEP),
        _form("int", "An integer in [low, high], both included.", _INTEGERS, _INTEGER_STEP),
        _form("log_int", "An integer in [low, high], every order of magnitude equally likely.", _POSITIVE_INTEGERS,
              _INTEGER_STEP),
        _form("choice", "One of the values listed.", {"type": "array", "minItems": 1}, None),
        _form("normal", "A float from the normal distribution [mean, std].", _NUMBERS, _STEP),
        _form("log_normal", "A float whose logarithm is normal [mean, std].", _NUMBERS, _STEP),
        _form("const", "One fixed value, on record as a parameter.", {}, None),
    ]
}  # fmt: skip

SPACE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {
            "type": "object",
            "patternProperties": {r"^(model|data|trainer)\..+$": DOMAIN_SCHEMA},
            "additionalProperties": False,
        },
        {"type": "null"},
    ]
}

_CALLBACK = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"class_path": {"type": "string"}, "init_args": {"type": ["object", "null"]}},
            "required": ["class_path"],
            "additionalProperties": False,
        },
    ]
}

TRAINER_SCHEMA: dict[str, Any] = {
    "type": ["object", "null"],
    "properties": {
        "max_epochs": {"type": ["integer", "null"], "description": "Epochs of a trial; 10 by default."},
        "max_steps": {"type": ["integer", "null"], "description": "Optimizer steps of a trial, at most."},
        "max_time": {"description": "Time of a trial, at most: 00:01:30:00 is an hour and a half."},
        "precision": {"description": "auto: the fastest that is safe on the device; else as lightning.Trainer has it."},
        "callbacks": {"anyOf": [{"type": "array", "items": _CALLBACK}, _CALLBACK, {"type": "null"}]},
        "gradient_clip_val": {"type": ["number", "null"], "description": "Gradients are clipped to this norm."},
        "accumulate_grad_batches": {"type": ["integer", "null"], "description": "Batches to one optimizer step."},
        "accelerator": {"description": "cpu, gpu, auto …; auto by default."},
        "devices": {"description": "How many devices, or which; auto by default."},
        "limit_train_batches": {"type": ["number", "null"], "description": "Training batches of an epoch, at most."},
        "limit_val_batches": {"type": ["number", "null"], "description": "Validation batches, at most."},
    },
}
