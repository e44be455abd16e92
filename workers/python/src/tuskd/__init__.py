"""tuskd: hand work to a program in any language.

from tuskd import Client
print(Client().call("add", {"a": 1, "b": 2}))
"""

from .aio import AsyncClient, AsyncTask
from .client import Client, Task
from .context import DROP
from .contexts import AsyncChild, AsyncContext, Child, Context
from .errors import (
    AlreadyEnded,
    Attempt,
    BodyError,
    BrokerError,
    Busy,
    Cancelled,
    Closed,
    Defer,
    Duplicate,
    Full,
    IdConflict,
    Invalid,
    Malformed,
    NoRetry,
    Refused,
    SlowSubscriber,
    StreamBroken,
    StreamRestarted,
    TaskCancelled,
    TaskDead,
    TaskExpired,
    TaskFailed,
    Timeout,
    TooLarge,
    TuskError,
    Unavailable,
    UnknownOutcome,
    UnknownStage,
    UnknownTask,
    UnknownTopic,
    Unserved,
    Unsupported,
)
from .feeds import Event
from .ids import new_id
from .jobs import Filter, JobDone, JobStatus, ListedTask
from .status import Failure, TaskStatus, Updated
from .streams import AsyncStream, Stream
from .subscription import AsyncSubscription, Subscription
from .terms import Backoff
from .values import Timestamp
from .version import __version__
from .worker import Worker

__all__ = [
    "DROP",
    "AlreadyEnded",
    "AsyncChild",
    "AsyncClient",
    "AsyncContext",
    "AsyncStream",
    "AsyncSubscription",
    "AsyncTask",
    "Attempt",
    "Backoff",
    "BodyError",
    "BrokerError",
    "Busy",
    "Cancelled",
    "Child",
    "Client",
    "Closed",
    "Context",
    "Defer",
    "Duplicate",
    "Event",
    "Failure",
    "Filter",
    "Full",
    "IdConflict",
    "Invalid",
    "JobDone",
    "JobStatus",
    "ListedTask",
    "Malformed",
    "NoRetry",
    "Refused",
    "SlowSubscriber",
    "Stream",
    "StreamBroken",
    "StreamRestarted",
    "Subscription",
    "Task",
    "TaskCancelled",
    "TaskDead",
    "TaskExpired",
    "TaskFailed",
    "TaskStatus",
    "Timeout",
    "Timestamp",
    "TooLarge",
    "TuskError",
    "Unavailable",
    "UnknownOutcome",
    "UnknownStage",
    "UnknownTask",
    "UnknownTopic",
    "Unserved",
    "Unsupported",
    "Updated",
    "Worker",
    "__version__",
    "new_id",
]
