"""Shards: safetensors files of vectors by the hash of what they were made from, written once and mapped into memory.

A shard holds ``key`` uint8 ``(n, 32)``, ascending, and ``vector`` float32 or float16 ``(n, dim)``, and in its metadata,
as JSON under ``graphrec``: the failures (contents without a vector, with the reason) and a hash of both tensors. It is
named after its keys, those of failures included, so its name says what it must hold. The format of the file is
`safetensors <https://huggingface.co/docs/safetensors>`_: any reader of it reads a shard.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graphrec.features.store.locks import SUFFIX, TEMPORARY

DType = Literal["float32", "float16"]
Keys = NDArray[np.uint8]
KEY_BYTES = 32  # of a SHA-256
LAYOUT: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "U8": np.dtype("u1")}


class ShardError(ValueError):
    """A shard is cut off, damaged, or no shard; the message names the file and what to do."""

    def __init__(self, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(f"expected a whole shard of features in {path}, but {reason}; run `graphrec features verify`")


@dataclass(frozen=True)
class Failure:
    """Why a content has no vector.

    Args:
        reason: For people, without the path of a file, since another file may have the same content.
        decoder: The versions that could not read it; with other versions it is tried again. None: always try again.
    """

    reason: str
    decoder: str | None


@dataclass(frozen=True, eq=False)
class Shard:
    """An opened shard.

    Args:
        path: Where it lies.
        keys: The contents that have a vector ``(n, 32)``, ascending.
        metadata: What the header says beside the tensors.
        layout: Type, shape and first byte of the vectors.
    """

    path: Path
    keys: Keys
    metadata: Mapping[str, Any]
    layout: tuple[np.dtype[Any], tuple[int, ...], int]

    @property
    def vectors(self) -> NDArray[Any]:
        """The vectors of the keys ``(n, dim)``, mapped anew: a mapping holds a file open, and those are limited."""
        dtype, shape, start = self.layout
        if not len(self.keys):  # nothing cannot be mapped
            return np.zeros(shape, dtype)
        return np.asarray(np.memmap(self.path, dtype, "r", start, shape))

    @cached_property
    def failures(self) -> dict[bytes, Failure]:
        """The contents that have no vector."""
        found = self.metadata["failures"]
        return {bytes.fromhex(key): Failure(entry["reason"], entry["decoder"]) for key, entry in found.items()}

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Opens a shard and reads its keys, after checking its header and its length.

        Raises:
            FileNotFoundError: If there is no such file.
            ShardError: If it is cut off or no shard.
        """
        try:
            return _open(path)
        except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
            raise ShardError(path, _said(error)) from None

    def problem(self) -> str | None:
        """Returns what is wrong with the shard after reading all of it, or None."""
        keys, vectors = np.array(self.keys), np.array(self.vectors)
        if self.metadata.get("sha256") != _checksum(keys, vectors):
            return "its bytes are not those that were written"
        if shard_name([*map(bytes, keys), *self.failures]) != self.path.name.removesuffix(SUFFIX):
            return "it does not hold the contents that its name stands for"
        if not np.isfinite(vectors).all():
            return "it holds vectors that are not finite"
        listed = [bytes(key) for key in keys]
        return None if sorted({*listed}) == listed else "its keys are not ascending"


def shard_name(keys: Iterable[bytes]) -> str:
    """Returns the name of the shard of these keys, in any order."""
    return hashlib.sha256(b"".join(sorted(keys))).hexdigest()[:32]


def key_array(keys: Iterable[bytes]) -> Keys:
    """Returns hashes as rows ``(n, 32)``."""
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)


def write_shard(
    folder: Path,
    vectors: Mapping[bytes, NDArray[np.float32]],
    failures: Mapping[bytes, Failure],
    *,
    dim: int,
    dtype: DType,
) -> Path:
    """Writes a shard at once: a reader sees all of it or nothing, and equal arguments give equal bytes.

    The caller holds the lock of the shard's name, since a shard has one temporary file.

    Args:
        folder: The encoder's folder.
        vectors: The vector ``(dim,)`` of every content that has one.
        failures: The contents that have none.
        dim: The length of a vector, for when there is none.
        dtype: How numbers are kept.
    """
    order = sorted(vectors)
    keys = key_array(order)
    rows = np.zeros((len(order), dim), dtype)
    for row, key in enumerate(order):
        rows[row] = vectors[key]
    entries = {
        key.hex(): {"reason": failures[key].reason, "decoder": failures[key].decoder} for key in sorted(failures)
    }
    metadata = {"failures": entries, "sha256": _checksum(keys, rows)}
    path = folder / f"{shard_name([*vectors, *failures])}{SUFFIX}"
    # one entry, because the library writes several in no fixed order
    write_atomically(path, _save({"key": keys, "vector": rows}, {"graphrec": json.dumps(metadata, sort_keys=True)}))
    return path


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file beside its place, waits until the disk has it, and moves it into place.

    Raises:
        OSError: If it cannot be written, as on a full disk; the message names the file.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        error.filename = error.filename or str(temporary)  # of a full disk the system does not say which
        raise
    temporary.replace(path)


def _save(tensors: dict[str, NDArray[Any]], metadata: dict[str, str]) -> bytes:
    from safetensors.numpy import save

    return save(tensors, metadata)


def _open(path: Path) -> Shard:
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        size = os.fstat(stream.fileno()).st_size
        if length > size - 8:
            raise ValueError(f"its header of {length} bytes is cut off after {size - 8}")
        header = json.loads(stream.read(length))
        end = 8 + length + max(header[name]["data_offsets"][1] for name in ("key", "vector"))
        if size != end:
            raise ValueError(f"it has {size} bytes instead of {end}")
        layouts = [_layout(header[name], 8 + length) for name in ("key", "vector")]
        (dtype, shape, start), (_, others, _) = layouts
        if shape[1:] != (KEY_BYTES,) or len(others) != 2 or others[0] != shape[0]:
            raise ValueError(f"its tensors have the shapes {shape} and {others}")
        stream.seek(start)
        keys = np.fromfile(stream, dtype, shape[0] * KEY_BYTES).reshape(shape)
    metadata = json.loads(header["__metadata__"]["graphrec"])
    if not isinstance(metadata["failures"], dict):
        raise ValueError("its list of failures is damaged")
    return Shard(path, keys, metadata, layouts[1])


def _layout(entry: Mapping[str, Any], start: int) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    dtype, shape, (begin, end) = LAYOUT[entry["dtype"]], tuple(map(int, entry["shape"])), entry["data_offsets"]
    if begin < 0 or min(shape) < 0 or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"a tensor of shape {shape} cannot have {end - begin} bytes")
    return dtype, shape, start + int(begin)


def _checksum(keys: Keys, vectors: NDArray[Any]) -> str:
    digest = hashlib.sha256(keys.tobytes())
    digest.update(vectors.tobytes())
    return digest.hexdigest()


def _said(error: Exception) -> str:
    if isinstance(error, struct.error):
        return "it has less than 8 bytes"
    return f"its header lacks {error}" if isinstance(error, KeyError) else str(error)
