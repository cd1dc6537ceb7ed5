# SPDX-License-Identifier: Apache-2.0
"""Planned calls: an operator made ready for one shape."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from weft import _core
from weft.group import handle_of


class _Planning:
    """Stands for the group or context while the operator's function plans instead of computing."""

    def __init__(self, place: Any):
        self._place = place
        self._handle = _core.Planner(handle_of(place))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)


class Planned:
    """Base of planned calls, one class for each operator. It takes the operands of the operator's function, of which shapes,
    dtypes and options count; run() takes the same ones again and skips what planning does. It keeps its group alive; close()
    of the group ends it. Errors: those of the function; ValueError if run() gets what was not planned."""

    _function: ClassVar[Callable[..., Any]]
    _place_name: ClassVar[str]

    def __init_subclass__(cls, *, function: Callable[..., Any]) -> None:
        cls._function = staticmethod(function)
        signature = inspect.signature(function)
        cls._place_name = "group" if "group" in signature.parameters else "context"
        cls.__signature__ = signature
        cls.__doc__ = cls.__doc__ or f"weft.{function.__name__}, planned: see there and weft.Planned."

    def __init__(self, *operands: Any, **keywords: Any):
        self._place = keywords.pop(self._place_name, None)
        planning = _Planning(self._place)
        self._function(*operands, **keywords, **{self._place_name: planning})
        self._handle = planning._handle.planned

    def __getattr__(self, name: str) -> Any:  # rank and ranks, for the function
        if name in ("rank", "ranks"):
            return getattr(self._place, name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def run(self, *operands: Any, **keywords: Any) -> Any:
        """The function with these operands and keywords, but for group= and context=. Collective if the operator is."""
        return self._function(*operands, **keywords, **{self._place_name: self})

    def describe(self) -> str:
        """Kernels, tiles, memory: one fact a line, for people."""
        return self._handle.describe()
