"""What a handler may know about its run."""

from __future__ import annotations

from typing import Any, Final

from .errors import Cancelled


class _Drop:
    """The type of DROP."""

    _only: _Drop | None = None

    def __new__(cls) -> _Drop:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "tuskd.DROP"

    def __reduce__(self) -> tuple[type[_Drop], tuple[()]]:
        return (_Drop, ())


# A stage handler returns this for an item that ends here.
DROP: Final = _Drop()


class Context:
    """Give a parameter this type and the handler gets it: `def add(a, b, context: Context)`.

    id: 16 bytes. type: of the task, or the stage handler's name. attempt: from 1. trace, baggage:
    the W3C texts that the caller sent, or None. Any thread.
    """

    __slots__ = ("_cancelled", "attempt", "baggage", "id", "trace", "type")

    def __init__(self, id: bytes, type: str, attempt: int, attributes: dict[int, Any] | None):
        self.id = id
        self.type = type
        self.attempt = attempt
        self.trace: str | None = attributes.get(8) if attributes else None
        self.baggage: str | None = attributes.get(10) if attributes else None
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled this run. A plain handler looks now and then."""
        return self._cancelled

    def check(self) -> None:
        """Raises tuskd.Cancelled if the run was cancelled."""
        if self._cancelled:
            raise Cancelled("the run was cancelled")

    def cancel(self) -> None:
        """The worker calls this when the broker cancels the run."""
        self._cancelled = True
