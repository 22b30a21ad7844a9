"""The ``optim_args`` string."""

import ast


def parse_optim_args(text: str | None) -> dict[str, object]:
    """``"momentum=0.9, nesterov=True"`` as keyword arguments; values that are no Python literals stay strings.

    Raises ValueError for a part without a name and a value, or a name that is given twice.
    """
    arguments: dict[str, object] = {}
    for part in filter(None, (p.strip() for p in (text or "").split(","))):
        name, sep, value = (p.strip() for p in part.partition("="))
        if not (sep and name.isidentifier() and value):
            raise ValueError(f"optim_args: {part!r} is not a name and a value")
        if name in arguments:
            raise ValueError(f"optim_args: {name!r} is given twice")
        arguments[name] = _literal(value)
    return arguments


def _literal(value: str) -> object:
    if value.lower() in ("true", "false", "none"):
        value = value.capitalize()
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
