"""Long-running operations: begun at once, done when their work is done, read in the shape of the service."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rehearsal.cloud.call import Call
from rehearsal.cloud.errors import GoogleError, not_found
from rehearsal.cloud.state import Cloud, now

Work = Callable[[], dict[str, Any] | None]
"""What the operation does; returns its response. A GoogleError is how it fails."""
_KIND = "operations"


@dataclass(kw_only=True)
class Operation:
    """One operation. ``metadata`` is the service's own: an LRO's, or more fields of the sql and compute shapes."""

    name: str
    """As it is read: the full name of an LRO, the short one in sql and compute."""
    method: str
    metadata: dict[str, Any] = field(default_factory=dict)
    inserted: str = field(default_factory=now)
    started: str | None = None
    ended: str | None = None
    response: dict[str, Any] | None = None
    error: GoogleError | None = None
    finished: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def status(self) -> str:
        """PENDING, RUNNING or DONE."""
        return "DONE" if self.finished.is_set() else "RUNNING" if self.started else "PENDING"


def begin(cloud: Cloud, name: str, work: Work, *, method: str, metadata: dict[str, Any] | None = None) -> Operation:
    """Start the work in a thread of its own."""
    operation = Operation(name=name, method=method, metadata=metadata or {})
    with cloud.lock:
        cloud.collection(_KIND)[name] = {"operation": operation}
    thread = threading.Thread(target=_run, args=(cloud, operation, work), name=f"operation {name}", daemon=True)
    thread.start()
    return operation


def begun(call: Call, name: str, work: Work, *, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    """Start the work of a call; the answer is the LRO as it is then: not done."""
    document: dict[str, Any] = {"name": name, **({"metadata": metadata} if metadata else {})}
    begin(call.cloud, name, work, method=call.method.id, metadata=metadata)
    return document


def _run(cloud: Cloud, operation: Operation, work: Work) -> None:
    operation.started = now()
    try:
        fault = cloud.fault(operation.method, in_operation=True)
        if fault is not None:
            operation.finished.wait(fault.delay_s)
            if fault.meanwhile is not None:
                fault.meanwhile()
        failing = fault.error if fault is not None else None
        if failing is None or (fault is not None and fault.after_work):
            operation.response = work()
        operation.error = failing
    except GoogleError as error:
        operation.error = error
    except Exception as error:
        operation.error = GoogleError(500, f"{type(error).__name__}: {error}")
        raise
    finally:
        operation.ended = now()
        operation.finished.set()


def get(cloud: Cloud, name: str) -> Operation:
    """Raises GoogleError 404."""
    with cloud.lock:
        found = cloud.collection(_KIND).get(name)
    if found is None:
        raise not_found(f"Operation {name} not found.")
    return found["operation"]


def await_all(cloud: Cloud, *, timeout_s: float) -> None:
    """Wait for those that aren't done: when the cloud ends, what they work on goes."""
    with cloud.lock:
        left = [kept["operation"] for kept in cloud.collection(_KIND).values()]
    deadline = time.monotonic() + timeout_s
    for operation in left:
        operation.finished.wait(max(0, deadline - time.monotonic()))


def listed(cloud: Cloud, prefix: str) -> list[Operation]:
    """Those whose names begin so, the newest first."""
    with cloud.lock:
        found = [kept["operation"] for name, kept in cloud.collection(_KIND).items() if name.startswith(prefix)]
    return found[::-1]


def new_id() -> str:
    return str(uuid.uuid4())


def lro(operation: Operation) -> dict[str, Any]:
    """As ``google.longrunning.Operation``."""
    document: dict[str, Any] = {"name": operation.name}
    if operation.metadata:
        document["metadata"] = operation.metadata
    if not operation.finished.is_set():
        return document
    if operation.error is not None:
        return document | {"done": True, "error": operation.error.rpc()}
    return document | {"done": True, "response": operation.response or {}}


def lro_name(cloud: Cloud, location: str) -> str:
    """``projects/P/locations/L/operations/ID``."""
    return f"projects/{cloud.project}/locations/{location}/operations/{new_id()}"
