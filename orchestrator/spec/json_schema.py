"""The published JSON schema, from which editors complete and check sweep files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from orchestrator import registry
from orchestrator.spec import presets
from orchestrator.spec.progress_section import CODE_FIELDS
from orchestrator.spec.sweep_spec import SweepSpec

_PARTS = {"searcher": "searchers", "scheduler": "schedulers"}
_SECTIONS = {"Tracking": "trackers", "Notification": "notifiers"}
"""Parts whose keys are names of plug-ins, and their kinds."""


def json_schema(*, warn: Callable[[str], object] | None = None) -> dict[str, Any]:
    """Return the sweep file's schema, draft 2020-12. It knows shapes; the arguments of classes are checked later.

    Args:
        warn: include the plug-ins of installed packages, and call this with a sentence for each that cannot be used.
            Without it the schema holds the built-in ones alone.
    """
    plugins, sections = (
        {part: registry.load_all(kind, warn or _fail, installed=warn is not None) for part, kind in kinds.items()}
        for kinds in (_PARTS, _SECTIONS)
    )
    options = [
        plugin.Options
        for classes in (*plugins.values(), *sections.values())
        for plugin in classes.values()
        if _is_model(plugin.Options)
    ]
    references, definitions = models_json_schema([(model, "validation") for model in (SweepSpec, *options)])
    definitions = definitions["$defs"]
    schema = definitions.pop("SweepSpec")
    for model in options:
        _accept_earlier_names(definitions[model.__name__]["properties"], getattr(model, "renamed", {}))
    properties = schema["properties"]
    for part, classes in plugins.items():
        mapping = {name: references[plugin.Options, "validation"]["$ref"] for name, plugin in classes.items()}
        union = {
            "oneOf": [{"$ref": reference} for reference in mapping.values()],
            "discriminator": {"propertyName": "name", "mapping": mapping},
        }
        bare = [
            name
            for name, plugin in classes.items()
            if not any(field.is_required() for field in plugin.Options.model_fields.values())
        ]
        properties[part]["anyOf"] = [union, {"enum": bare, "description": "With its defaults."}]
    for section, classes in sections.items():
        definitions[section]["additionalProperties"] = False
        listed = definitions[section].setdefault("properties", {})
        for name, plugin in classes.items():
            if _is_model(plugin.Options):
                optional = not any(field.is_required() for field in plugin.Options.model_fields.values())
                form = {"$ref": references[plugin.Options, "validation"]["$ref"]}
            else:
                optional, form = False, TypeAdapter(plugin.Options).json_schema()
            listed[name] = {
                "anyOf": [*([{"type": "boolean"}] if optional else []), form, {"type": "null"}],
                "default": None,
                "description": plugin.summary,
                **({"examples": list(plugin.examples)} if plugin.examples else {}),
            }
    bare_class = {"type": "string", "pattern": definitions["ClassSpec"]["properties"]["class_path"]["pattern"]}
    definitions["ClassSpec"] = {
        "anyOf": [definitions["ClassSpec"], {**bare_class, "description": "A bare import path."}]
    }
    properties["finalists"]["anyOf"].append({"type": "integer", "minimum": 1})
    properties["repeats"]["anyOf"] = [{"$ref": properties["repeats"].pop("$ref")}, {"type": "integer", "minimum": 1}]
    properties["resources"]["anyOf"] = [{"$ref": properties["resources"].pop("$ref")}, {"const": "auto"}]
    properties["resources"]["default"] = "auto"
    properties["progress"]["anyOf"] = [{"$ref": properties["progress"].pop("$ref")}, {"type": "string"}]
    properties[presets.KEY] = presets.SCHEMA
    properties["seed_everything"] = {"type": ["integer", "boolean"], "description": "LightningCLI's name for seed."}
    # A file has a name of its own, and what it trains is a model, a function or a script.
    schema["required"] = [name for name in schema["required"] if name not in ("name", "model")]
    schema["anyOf"] = [{"required": [name]} for name in ("model", *CODE_FIELDS)]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": dict(sorted(definitions.items())),
        **schema,
        "title": "Sweep file",
    }


def _accept_earlier_names(properties: dict[str, Any], renamed: Mapping[str, str]) -> None:
    """Add the names that fields had in earlier versions, as deprecated."""
    for earlier, present in renamed.items():
        form = {key: value for key, value in properties[present].items() if key not in ("examples", "title")}
        properties[earlier] = {**form, "description": f"Earlier name of {present}.", "deprecated": True}


def _is_model(options: Any) -> bool:
    return isinstance(options, type) and issubclass(options, BaseModel)


def _fail(message: str) -> None:
    raise AssertionError(f"a built-in plug-in cannot be used: {message}")
