"""The spec that a journal holds, as an object; an error names the record that it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import JournalError, SpecError
from orchestrator.spec.sweep_spec import SweepSpec


def spec_of_record(written: Mapping[str, Any], seq: int) -> SweepSpec:
    """Return the spec that record ``seq`` of a journal holds.

    Raises:
        SpecError: It contradicts itself.
        JournalError: A field of it is of another type, or names what is not installed here.
    """
    place = f"record {seq} of the journal"
    try:
        return SweepSpec.model_validate(written)
    except SpecError as error:
        raise SpecError(replace(problem, file=place) for problem in error.problems) from error
    except (TypeError, OverflowError, RecursionError) as error:
        raise JournalError(
            f"{place} holds a spec that cannot be used: {error}", hint="nothing was changed; restore an undamaged copy"
        ) from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, fault["loc"])) or "spec"
        raise JournalError(
            f"{place} holds a spec that cannot be used: `{field}`: {fault['msg']}",
            hint="nothing was changed; restore an undamaged copy",
        ) from error
