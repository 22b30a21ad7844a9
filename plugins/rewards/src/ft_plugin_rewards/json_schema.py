"""Whether a completion is JSON that a schema allows."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for

from ftk.markers import hookimpl
from ftk.problems import RunError
from ftk.run import Run

from .config import RewardsConfig
from .specs import Reward

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


class Provider:
    @hookimpl
    def ftk_rewards(self, run: Run) -> dict[str, Reward]:
        path = run.config[RewardsConfig].rewards_schema
        return {"json_schema": partial(fits, default=None if path is None else read(path))}


def read(path: str) -> Any:
    """The schema of a file. Raises RunError."""
    try:
        schema = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        validator_for(schema, Draft202012Validator).check_schema(schema)
    except OSError as e:
        raise RunError(f"rewards_schema={path!r} cannot be read: {e.strerror}") from e
    except ValueError as e:
        raise RunError(f"rewards_schema={path!r} is not valid JSON: {e}") from e
    except SchemaError as e:
        raise RunError(f"rewards_schema={path!r} is no JSON schema: {e.message}") from e
    return schema


def fits(
    *, completions: Sequence[str], default: Any, schema: Sequence[Any] | None = None, **columns: Any
) -> list[float | None]:
    """1 or 0; ``None`` for a row without a schema where there is no default. A column's schema may be JSON text."""
    schemas = schema or [None] * len(completions)
    return [valid(text, default if one is None else one) for text, one in zip(completions, schemas, strict=True)]


def valid(text: str, schema: Any) -> float | None:
    if schema is None:
        return None
    if isinstance(schema, str):
        schema = json.loads(schema)
    fenced = _FENCED.findall(text)
    try:
        value = json.loads(fenced[-1] if fenced else text)
    except (ValueError, RecursionError):
        return 0.0
    return float(validator_for(schema, Draft202012Validator)(schema).is_valid(value))
