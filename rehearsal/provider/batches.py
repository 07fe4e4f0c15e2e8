"""Work that many resources ask for at once, done together: one call where there would be ten."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

GATHER_S = 0.05
"""How long the first one waits for others; the official plugin takes three seconds."""


class _Waiting:
    def __init__(self, item: Any) -> None:
        self.item, self.result, self.done = item, None, False
        self.error: BaseException | None = None


class Batch:
    """``submit`` returns once a call that did the item's work has ended."""

    def __init__(self, work: Callable[[Sequence[Any]], Sequence[Any]], gather_s: float = GATHER_S) -> None:
        self._work, self._gather_s = work, gather_s
        self._waiting: list[_Waiting] = []
        self._guard, self._turn = threading.Lock(), threading.Lock()

    def submit(self, item: Any) -> Any:
        mine = _Waiting(item)
        with self._guard:
            self._waiting.append(mine)
        with self._turn:
            if not mine.done:
                self._lead()
        if mine.error:
            raise mine.error
        return mine.result

    def _lead(self) -> None:
        # Not more than once for those who come together: the others find their work done.
        threading.Event().wait(self._gather_s)
        with self._guard:
            batch, self._waiting = self._waiting, []
        try:
            results = self._work([each.item for each in batch])
            for each, result in zip(batch, results, strict=True):
                each.result = result
                each.error = result if isinstance(result, BaseException) else None
        except Exception as error:
            for each in batch:
                each.error = error
        finally:
            for each in batch:
                each.done = True
