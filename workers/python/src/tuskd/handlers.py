"""Handlers: how a function wants its body, and running it from bytes to bytes."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import traceback
import typing
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from typing import Any

from . import compression, values, wire
from .bodies import read_body
from .context import DROP, Bounds, Outcome, RunContext
from .contexts import AsyncContext, Context
from .errors import BodyError, Cancelled, Defer, NoRetry, TooLarge


class Handler:
    """A function and how it is called.

    One parameter: it gets the body's value. More: it gets the entries of the body, which must be a
    map, by name. None: the body must be null or an empty map. A parameter annotated with Context
    (in an async function: AsyncContext) gets the context and is not counted. What a generator
    yields are chunks of the run's stream.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        is_item: bool = False,
        batch: int = 0,
        wait: float = 0.0,
    ) -> None:
        self.name = name
        self.function = function
        self.is_item = is_item
        self.batch = batch
        self.wait = wait
        own = inspect.unwrap(function)
        self.yields = inspect.isgeneratorfunction(own) or inspect.isasyncgenfunction(own)
        self.is_async = inspect.iscoroutinefunction(own) or inspect.isasyncgenfunction(own)
        self._read_signature()
        if self.yields and (batch or is_item):
            raise TypeError(
                f"{name}: only the handler of a task may be a generator, one that takes no lists"
            )
        if self.yields and self.is_async and self.context_class is Context:
            raise TypeError(f"{name}: an async generator has an AsyncContext, not a Context")
        if self.context_class is AsyncContext and not self.is_async:
            raise TypeError(f"{name}: a plain function has a Context, not an AsyncContext")
        # Whether the function gets the body's value and nothing else.
        self.whole = (
            self.counted == 1 and not self.named and self.context_name is None and not self.yields
        )
        self.has_context = self.context_name is not None or self.yields

    def _read_signature(self) -> None:
        self.context_name: str | None = None
        self.context_class: type[RunContext] = AsyncContext if self.is_async else Context
        try:
            parameters = inspect.signature(self.function).parameters
        except ValueError:  # some built-in functions have none; they get the value
            self.named, self.counted = False, 1
            return
        try:
            hints = typing.get_type_hints(self.function)
        except Exception:  # an annotation that cannot be evaluated is not ours
            hints = {}
        kinds = []
        self.only = ""
        for name, parameter in parameters.items():
            known = _CONTEXTS.get(hints.get(name, parameter.annotation))
            if known is not None:
                self.context_name, self.context_class = name, known
            else:
                kinds.append(parameter.kind)
                self.only = name
        by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
        if len(kinds) > 1 or self.context_name is not None:
            kinds = [kind for kind in kinds if kind is not inspect.Parameter.VAR_POSITIONAL]
        self.counted = len(kinds)
        self.named = len(kinds) > 1 or (len(kinds) == 1 and kinds[0] in by_name)
        if self.batch and (self.named or self.counted != 1):
            raise TypeError(f"{self.name}: a list handler has one parameter, the list")
        by_name_only = self.named or self.context_name is not None
        if by_name_only and inspect.Parameter.POSITIONAL_ONLY in kinds:
            raise TypeError(f"{self.name}: a positional-only parameter cannot be given by name")

    def call(self, value: Any, context: RunContext | None) -> Any:
        """Calls the function; raises BodyError when the body does not fit its parameters."""
        if self.whole:
            return self.function(value)
        extra = {} if self.context_name is None else {self.context_name: context}
        if self.counted == 1 and not self.named:
            # By name, for the context may come first.
            return self.function(**{self.only: value}, **extra)
        if self.counted == 0:
            if value is not None and value != {}:
                raise BodyError(f"{self.name} takes no arguments; its body must be null")
            return self.function(**extra)
        if type(value) is not dict:
            raise BodyError(f"{self.name} takes named arguments; its body must be a map")
        if self.context_name in value:
            raise BodyError(f"{self.name} got an unexpected argument {self.context_name!r}")
        try:
            return self.function(**value, **extra)
        except TypeError:
            self._check_arguments(value, extra)
            raise

    def _check_arguments(self, value: dict[str, Any], extra: dict[str, Any]) -> None:
        """Was it the call or the function? Asked only when something was raised."""
        try:
            inspect.signature(self.function).bind(**value, **extra)
        except TypeError as error:
            raise BodyError(f"{self.name}: {error}") from None

    def context(self, record: list[Any]) -> RunContext | None:
        if not self.has_context:
            return None
        return self.context_class(record[2], record[3], record[4], record[6])


_CONTEXTS: dict[Any, type[RunContext]] = {
    **dict.fromkeys((Context, "Context", "tuskd.Context"), Context),
    **dict.fromkeys((AsyncContext, "AsyncContext", "tuskd.AsyncContext"), AsyncContext),
}


def failure(error: BaseException, bounds: Bounds, *, no_retry: bool = False) -> Outcome:
    """The result of a handler that raised."""
    if isinstance(error, Defer):
        return (wire.DEFER, None, {wire.DEFER: error.after_ms})
    if isinstance(error, NoRetry):
        no_retry = True
        if error.__cause__ is not None:
            error = error.__cause__
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next  # the stack begins in the handler
    lines = traceback.format_exception(type(error), error, trace)
    told = {
        "type": _bounded(type(error).__qualname__, 255),
        "message": _bounded(str(error), bounds.stack),
        "language": "python",
        "stack": _bounded("".join(lines), bounds.stack, from_end=True),
    }
    attributes: dict[int, Any] = {wire.A_ERROR: told}
    if no_retry:
        attributes[wire.A_NO_RETRY] = True
    return (wire.FAILED, None, attributes)


def refusal(type: str, message: str, *, crashed: bool = False, no_retry: bool = True) -> Outcome:
    """A failed result that no exception stands behind."""
    told = {"type": type, "message": message, "language": "python"}
    attributes: dict[int, Any] = {wire.A_ERROR: told}
    if no_retry:
        attributes[wire.A_NO_RETRY] = True
    if crashed:
        attributes[wire.A_CRASHED] = True
    return (wire.FAILED, None, attributes)


def _bounded(text: str, most: int, *, from_end: bool = False) -> str:
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > most:
        data = data[-most:] if from_end else data[:most]
    return data.decode("utf-8", "ignore")


def send_all(chunks: Generator[Any, None, Any], context: RunContext | None) -> Any:
    """Sends what a generator yields; what it returns. That the run is to stop it hears there."""
    assert isinstance(context, Context)
    try:
        chunk = next(chunks)
        while True:
            try:
                context.send(chunk)
            except (Cancelled, BodyError, TooLarge) as error:
                chunk = chunks.throw(error)
            else:
                chunk = next(chunks)
    except StopIteration as end:
        return end.value
    finally:
        chunks.close()


async def send_all_async(chunks: AsyncGenerator[Any, None], context: RunContext | None) -> None:
    """As send_all; an async generator returns nothing."""
    assert isinstance(context, AsyncContext)
    async with contextlib.aclosing(chunks):
        try:
            chunk = await anext(chunks)
            while True:
                try:
                    await context.send(chunk)
                except (asyncio.CancelledError, Cancelled, BodyError, TooLarge) as error:
                    chunk = await chunks.athrow(error)
                else:
                    chunk = await anext(chunks)
        except StopAsyncIteration:
            return


class Executor:
    """Runs plain handlers, from a body's bytes to a result's. Each thread has its own."""

    def __init__(self, bounds: Bounds) -> None:
        self._encoder = values.Encoder()
        self._bounds = bounds

    def read(self, record: list[Any]) -> Any:
        """The value of a task's or item's body. Raises BodyError."""
        body = record[5]
        if record[6] is None and body is not None and len(body) <= self._bounds.body:
            return values.decode(body)
        return read_body(body, record[6], self._bounds.body)

    def written(self, handler: Handler, value: Any) -> Outcome:
        """The result for what a handler returned."""
        if value is DROP:
            if handler.is_item:
                return (wire.SUCCEEDED, None, None)
            return refusal("BodyError", "DROP is for stages; a task returns a value")
        bounds = self._bounds
        try:
            data = self._encoder.encode(value)
        except BodyError as error:
            return refusal("BodyError", f"{handler.name} returned what cannot be sent: {error}")
        if len(data) > bounds.body:
            reason = f"{handler.name} returned {len(data)} bytes, the limit is {bounds.body}"
            return refusal("TooLarge", reason)
        if len(data) >= bounds.compress_from:
            packed = compression.compress(data)
            if packed is not None:
                return (wire.SUCCEEDED, packed, {wire.A_COMPRESSION: 1})
        return (wire.SUCCEEDED, data, None)

    def run(self, handler: Handler, record: list[Any], context: RunContext | None) -> Outcome:
        """One run of a plain handler."""
        try:
            value = self.read(record)
            # The first as `call` does it, without the call: this is the path of short runs.
            value = handler.function(value) if handler.whole else handler.call(value, context)
            if handler.yields:
                value = send_all(value, context)
        except BodyError as error:
            return failure(error, self._bounds, no_retry=True)
        except BaseException as error:
            return failure(error, self._bounds)
        return self.written(handler, value)

    def read_batch(self, records: list[list[Any]]) -> tuple[list[Any], list[Outcome | None]]:
        """The values that could be read, and the outcomes of those that could not."""
        readable: list[Any] = []
        outcomes: list[Outcome | None] = []
        read = self.read
        for record in records:
            try:
                readable.append(read(record))
                outcomes.append(None)
            except BodyError as error:
                outcomes.append(failure(error, self._bounds, no_retry=True))
        return readable, outcomes

    def run_batch(self, handler: Handler, records: list[list[Any]]) -> list[Outcome]:
        """One run of a plain list handler."""
        readable, outcomes = self.read_batch(records)
        returned: Any = []
        try:
            if readable:
                returned = handler.call(readable, None)
        except BaseException as error:
            return self.batch_failed(outcomes, failure(error, self._bounds))
        return self.written_batch(handler, outcomes, returned)

    def batch_failed(self, outcomes: Iterable[Outcome | None], failed: Outcome) -> list[Outcome]:
        return [failed if outcome is None else outcome for outcome in outcomes]

    def written_batch(
        self, handler: Handler, outcomes: list[Outcome | None], returned: Any
    ) -> list[Outcome]:
        expected = outcomes.count(None)
        if not isinstance(returned, (list, tuple)) or len(returned) != expected:
            got = len(returned) if isinstance(returned, (list, tuple)) else type(returned).__name__
            reason = f"{handler.name} got {expected} items and must return a list of as many: {got}"
            return self.batch_failed(outcomes, refusal("BodyError", reason))
        values_back = iter(returned)
        return [
            self.written(handler, next(values_back)) if outcome is None else outcome
            for outcome in outcomes
        ]

    async def run_async(
        self, handler: Handler, record: list[Any], context: RunContext | None
    ) -> Outcome:
        """One run of an async handler. CancelledError passes through."""
        try:
            value = handler.call(self.read(record), context)
            value = await (send_all_async(value, context) if handler.yields else value)
        except BodyError as error:
            return failure(error, self._bounds, no_retry=True)
        except Exception as error:
            return failure(error, self._bounds)
        return self.written(handler, value)

    async def run_batch_async(self, handler: Handler, records: list[list[Any]]) -> list[Outcome]:
        """One run of an async list handler. CancelledError passes through."""
        readable, outcomes = self.read_batch(records)
        returned: Any = []
        try:
            if readable:
                returned = await handler.call(readable, None)
        except Exception as error:
            return self.batch_failed(outcomes, failure(error, self._bounds))
        return self.written_batch(handler, outcomes, returned)
