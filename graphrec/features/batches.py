"""Batches: values read ahead on threads within bounded memory, and a model that loses no more than what breaks it."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from graphrec.features.encoder import Tower
from graphrec.features.pictures import TooLargeError
from graphrec.features.store.contents import reason_of
from graphrec.features.store.shards import DType
from graphrec.runtime import logger

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")
log = logger(__name__)
AHEAD = 2  # batches that are read while one is encoded
TASK = 8  # values that a thread reads at a stretch: a task for each would cost a short text more than its reading
NOT_ITS_FAULT = (MemoryError, ImportError)  # of the machine or of what is installed, not of a value


class ChangedError(RuntimeError):
    """A file was written to after its content was recognised."""


class Unread:
    """Why a value has no vector.

    Args:
        error: What was raised.
        reading: Whether it was raised by reading the value, and not by the model.
    """

    def __init__(self, error: Exception, *, reading: bool) -> None:
        self.reason = reason_of(error)
        self.lasting = _lasting(error) if reading else isinstance(error, FloatingPointError)


def read_ahead(
    batches: Iterable[tuple[K, Sequence[T]]], read: Callable[[T], V], pool: Executor, *, ahead: int = AHEAD
) -> Iterator[tuple[K, Sequence[T], list[V]]]:
    """Yields every batch with what ``read`` returned for its values, while the next ``ahead`` batches are being read.

    No more than ``ahead + 1`` batches of read values exist at a time. What a batch belongs to is passed on.
    """
    waiting: deque[tuple[K, Sequence[T], list[Future[list[V]]]]] = deque()
    try:
        for owner, batch in batches:
            parts = [batch[start : start + TASK] for start in range(0, len(batch), TASK)]
            waiting.append((owner, batch, [pool.submit(_read_all, read, part) for part in parts]))
            if len(waiting) > ahead:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    finally:
        for _, _, futures in waiting:
            for future in futures:
                future.cancel()


def read_value(tower: Tower, value: Any, unchanged: Callable[[Any], bool]) -> Any:
    """Returns what the tower reads from a value, or ``Unread``."""
    try:
        inputs = tower.read(value)
        if not unchanged(value):
            raise ChangedError("it changed while it was read; encode it again")
    except NOT_ITS_FAULT:
        raise
    except Exception as error:
        return Unread(error, reading=True)
    return inputs


class Forward:
    """Runs a tower on batches.

    A batch that does not fit the GPU is halved, and so are those after it. Where a batch raises, its values are tried
    one by one, to find the one that does it; where all of them raise, the model is broken, and so is the run.

    Args:
        tower: The model.
        dtype: How numbers will be kept: a vector that is not finite then is refused.
    """

    def __init__(self, tower: Tower, dtype: DType) -> None:
        self.tower = tower
        self.dtype = dtype
        self.limit = sys.maxsize

    def __call__(self, inputs: Sequence[Any]) -> list[NDArray[np.float32] | Unread]:
        """Returns one vector ``(dim,)`` per input, or why it has none.

        Raises:
            ValueError: If the tower returns an array of another shape.
            Exception: What the tower raises, if it raises it for every input.
        """
        if len(inputs) > self.limit:
            return [result for part in _split(inputs, self.limit) for result in self(part)]
        try:
            vectors = self.tower.forward(inputs)
        except NOT_ITS_FAULT:
            raise
        except Exception as error:
            if len(inputs) == 1:
                return [Unread(error, reading=False)]
            return self._smaller(inputs) if _is_out_of_memory(error) else self._singly(inputs, error)
        return self._checked(vectors, len(inputs))

    def _smaller(self, inputs: Sequence[Any]) -> list[NDArray[np.float32] | Unread]:
        _empty_cache()
        self.limit = (len(inputs) + 1) // 2
        log.warning("the GPU has no memory for %d values at once; going on with %d", len(inputs), self.limit)
        return self(inputs)

    def _singly(self, inputs: Sequence[Any], error: Exception) -> list[NDArray[np.float32] | Unread]:
        results = [self([value])[0] for value in inputs]
        if all(isinstance(result, Unread) for result in results):
            raise error
        return results

    def _checked(self, vectors: Any, count: int) -> list[NDArray[np.float32] | Unread]:
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.shape != (count, self.tower.dim):
            raise ValueError(f"expected {(count, self.tower.dim)} numbers from {self.tower.name}, got {vectors.shape}")
        with np.errstate(over="ignore"):
            finite = np.isfinite(vectors.astype(self.dtype)).all(axis=1)
        refused = Unread(FloatingPointError(f"its vector is not finite as {self.dtype}"), reading=False)
        return [vector if fine else refused for vector, fine in zip(vectors, finite, strict=True)]


def _read_all(read: Callable[[T], V], values: Sequence[T]) -> list[V]:
    return [read(value) for value in values]


def _finished(owner: K, batch: Sequence[T], futures: Sequence[Future[list[V]]]) -> tuple[K, Sequence[T], list[V]]:
    return owner, batch, [value for future in futures for value in future.result()]


def _split(values: Sequence[T], size: int) -> list[Sequence[T]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _lasting(error: Exception) -> bool:
    """Tells whether the content is at fault, and not the moment: a disk that fails may work tomorrow."""
    if isinstance(error, OSError):
        return error.errno is None
    return isinstance(error, ValueError | EOFError | SyntaxError) and not isinstance(error, TooLargeError)


def _is_out_of_memory(error: Exception) -> bool:
    return type(error).__name__ == "OutOfMemoryError"  # torch's, which need not be loaded here


def _empty_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
