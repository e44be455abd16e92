"""What both clients do with many tasks at once: listing those that fit a filter, and jobs."""

from __future__ import annotations

import asyncio
import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from .jobs import (
    FIRST_PAUSE,
    Filter,
    JobDone,
    JobKind,
    JobStatus,
    ListedTask,
    find_job,
    longer,
    read_filter,
    read_job,
    read_job_number,
    read_jobs,
    read_limit,
    read_page,
)
from .terms import Priority


class Finds(ABC):
    """Of the plain client."""

    @abstractmethod
    def query(
        self, what: str, arguments: dict[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any: ...

    @abstractmethod
    def _control(self, what: str, arguments: dict[str, Any], timeout: float | None) -> Any: ...

    def tasks(
        self, filter: Filter, *, limit: int = 100, timeout: float | None = None
    ) -> Iterator[ListedTask]:
        """All tasks that fit, as the broker knows them when it is asked.

        limit: how many are asked for at once, 1 to 1,000. timeout: in seconds, of each question.
        """
        arguments = {"filter": read_filter(filter), "limit": read_limit(limit)}
        return self._tasks(arguments, timeout)

    def _tasks(self, arguments: dict[str, Any], timeout: float | None) -> Iterator[ListedTask]:
        while True:
            page, after = read_page(self.query("tasks", arguments, timeout=timeout))
            yield from page
            if after is None:
                return
            arguments["after"] = after

    def cancel_all(
        self,
        filter: Filter,
        *,
        dry_run: bool = False,
        on_progress: Callable[[JobStatus], object] | None = None,
    ) -> JobDone:
        """Cancels all tasks that fit and were accepted before; waits until it is done.

        dry_run: only counts. on_progress: called now and then with how far it is. Raises Full when
        16 jobs run already. See start_job for one that nobody waits for.
        """
        return self.wait_for_job(self.start_job("cancel", filter, dry_run=dry_run), on_progress)

    def retry_all(
        self,
        filter: Filter,
        *,
        dry_run: bool = False,
        on_progress: Callable[[JobStatus], object] | None = None,
    ) -> JobDone:
        """As cancel_all: a task that is delayed runs now; one that has failed or is dead, and is
        kept for its retention, is submitted again under a new id."""
        return self.wait_for_job(self.start_job("retry", filter, dry_run=dry_run), on_progress)

    def reprioritise_all(
        self,
        filter: Filter,
        priority: Priority,
        *,
        dry_run: bool = False,
        on_progress: Callable[[JobStatus], object] | None = None,
    ) -> JobDone:
        """As cancel_all: those that wait get this priority."""
        job = self.start_job("reprioritise", filter, priority=priority, dry_run=dry_run)
        return self.wait_for_job(job, on_progress)

    def start_job(
        self,
        what: JobKind,
        filter: Filter,
        *,
        priority: Priority | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> int:
        """Starts what cancel_all and the others do, and returns the number of the job at once."""
        arguments = read_job(what, filter, dry_run, priority)
        return read_job_number(self._control(what, arguments, timeout))

    def jobs(self, *, timeout: float | None = None) -> list[JobStatus]:
        """The jobs that run, and the last 64 that are done."""
        return read_jobs(self.query("jobs", timeout=timeout))

    def wait_for_job(
        self, job: int, on_progress: Callable[[JobStatus], object] | None = None
    ) -> JobDone:
        """Waits until a job is done, anybody's. Raises TuskError when the broker forgot it."""
        pause = FIRST_PAUSE
        while True:
            found = find_job(self.jobs(), job)
            if on_progress is not None:
                on_progress(found)
            if found.state == "done":
                return JobDone(found.matched, found.changed, found.failed)
            time.sleep(pause)
            pause = longer(pause)


class AsyncFinds(ABC):
    """Of the client for asyncio."""

    @abstractmethod
    async def query(
        self, what: str, arguments: dict[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any: ...

    @abstractmethod
    async def _control(
        self, what: str, arguments: dict[str, Any], timeout: float | None
    ) -> Any: ...

    def tasks(
        self, filter: Filter, *, limit: int = 100, timeout: float | None = None
    ) -> AsyncIterator[ListedTask]:
        """As Client.tasks: `async for task in client.tasks(...)`."""
        arguments = {"filter": read_filter(filter), "limit": read_limit(limit)}
        return self._tasks(arguments, timeout)

    async def _tasks(
        self, arguments: dict[str, Any], timeout: float | None
    ) -> AsyncIterator[ListedTask]:
        while True:
            page, after = read_page(await self.query("tasks", arguments, timeout=timeout))
            for task in page:
                yield task
            if after is None:
                return
            arguments["after"] = after

    async def cancel_all(
        self,
        filter: Filter,
        *,
        dry_run: bool = False,
        on_progress: Callable[[JobStatus], object] | None = None,
    ) -> JobDone:
        """As Client.cancel_all; cancelling the await ends only the waiting."""
        job = await self.start_job("cancel", filter, dry_run=dry_run)
        return await self.wait_for_job(job, on_progress)

    async def retry_all(
        self,
        filter: Filter,
        *,
        dry_run: bool = False,
        on_progress: Callable[[JobStatus], object] | None = None,
    ) -> JobDone:
        """As Client.retry_all."""
        job = await self.start_job("retry", filter, dry_run=dry_run)
        return await self.wait_for_job(job, on_progress)

    async def reprioritise_all(
        self,
        filter: Filter,
        priority: Priority,
        *,
        dry_run: bool = False,
        on_progress: Callable[[JobStatus], object] | None = None,
    ) -> JobDone:
        """As Client.reprioritise_all."""
        job = await self.start_job("reprioritise", filter, priority=priority, dry_run=dry_run)
        return await self.wait_for_job(job, on_progress)

    async def start_job(
        self,
        what: JobKind,
        filter: Filter,
        *,
        priority: Priority | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> int:
        """As Client.start_job."""
        arguments = read_job(what, filter, dry_run, priority)
        return read_job_number(await self._control(what, arguments, timeout))

    async def jobs(self, *, timeout: float | None = None) -> list[JobStatus]:
        """As Client.jobs."""
        return read_jobs(await self.query("jobs", timeout=timeout))

    async def wait_for_job(
        self, job: int, on_progress: Callable[[JobStatus], object] | None = None
    ) -> JobDone:
        """As Client.wait_for_job; on_progress may be a coroutine function."""
        pause = FIRST_PAUSE
        while True:
            found = find_job(await self.jobs(), job)
            if on_progress is not None:
                told = on_progress(found)
                if inspect.isawaitable(told):
                    await told
            if found.state == "done":
                return JobDone(found.matched, found.changed, found.failed)
            await asyncio.sleep(pause)
            pause = longer(pause)
