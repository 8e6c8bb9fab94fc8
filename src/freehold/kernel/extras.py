"""Optional dependencies: imported when first needed, and asked for by name where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from freehold.kernel.errors import OperatorError


def need(module: str, extra: str) -> Any:
    """Import a module of an extra. Raises OperatorError `config.extra_missing` with the line that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise OperatorError(
            f"{module.partition('.')[0]!r} is not installed.",
            code="config.extra_missing",
            hint=f"Install it with: pip install 'freehold[{extra}]'",
        ) from None
