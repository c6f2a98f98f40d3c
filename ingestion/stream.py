"""A source's Arrow batches, taken one after the other. Nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import pyarrow as pa


class Batches(Protocol):
    """Batches of one schema, to be taken once: a pyarrow RecordBatchReader is such."""

    @property
    def schema(self) -> pa.Schema: ...
    def __iter__(self) -> Iterator[pa.RecordBatch]: ...


class Stream:
    """Batches of one schema that are read while they are taken, so that never all of them are in memory.

    `open_batches` begins to read; `prepared` maps a batch as it comes. `error` says what cut the stream off: whoever made
    the stream asks afterwards, and whoever took it drops all of it then.
    """

    def __init__(
        self, open_batches: Callable[[], Batches], prepared: Callable[[pa.RecordBatch], pa.RecordBatch]
    ) -> None:
        self._open = open_batches
        self._prepared = prepared
        self.error: BaseException | None = None

    def open(self) -> pa.RecordBatchReader | None:
        """A reader over the batches; None when there is none to be had (`error`)."""
        try:
            source = self._open()
            schema = self._prepared(pa.RecordBatch.from_pylist([], schema=source.schema)).schema
        except BaseException as error:  # noqa: BLE001 - judged below; a panic inside connectorx is no Exception
            self._judge(error)
            return None
        return pa.RecordBatchReader.from_batches(schema, self._watched(source))

    def _watched(self, source: Batches) -> Iterator[pa.RecordBatch]:
        try:
            for batch in source:
                yield self._prepared(batch)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - judged below; a panic inside connectorx is no Exception
            self._judge(error)
            raise RuntimeError("the stream was cut off") from None

    def _judge(self, error: BaseException) -> None:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise error
        self.error = error
