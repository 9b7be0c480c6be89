"""The published JSON schema, from which editors complete and check sweep files."""

from __future__ import annotations

from typing import Any

from orchestrator.spec.sweep_spec import SweepSpec


def json_schema() -> dict[str, Any]:
    """The sweep file's schema, draft 2020-12. It knows shapes; that classes take their arguments is checked later."""
    schema = SweepSpec.model_json_schema()
    definitions, properties = schema["$defs"], schema["properties"]
    bare = {"type": "string", "pattern": definitions["ClassSpec"]["properties"]["class_path"]["pattern"]}
    definitions["ClassSpec"] = {"anyOf": [definitions["ClassSpec"], {**bare, "description": "A bare import path."}]}
    for part in ("searcher", "scheduler"):
        names = sorted({*properties[part]["discriminator"]["mapping"]} - {"sampler"})  # that one needs a class
        union = {key: properties[part].pop(key) for key in ("oneOf", "discriminator")}
        properties[part]["anyOf"] = [union, {"enum": names, "description": "With its defaults."}]
    properties["finalists"]["anyOf"].append({"type": "integer", "minimum": 1})
    properties["repeats"]["anyOf"] = [{"$ref": properties["repeats"].pop("$ref")}, {"type": "integer", "minimum": 1}]
    properties["seed_everything"] = {"type": ["integer", "boolean"], "description": "LightningCLI's name for seed."}
    schema["required"] = [name for name in schema["required"] if name != "name"]  # a file has a name of its own
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Sweep file"}
