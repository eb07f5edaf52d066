"""Reads sounds: any rate, format and number of channels, in bounded memory, as windows at the rate of a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graphrec.runtime import require

if TYPE_CHECKING:
    from soundfile import SoundFile

Samples: TypeAlias = NDArray[np.float32]
BLOCK = 65_536  # frames decoded at a time: what bounds the memory, however long the track
LONGEST = 2**40  # frames; more than this stands in the headers of recordings of unknown length
LOUDEST = 100.0  # beyond this, a float file holds no samples on the scale of -1 to 1
VERSION = "sound-1"  # part of every fingerprint; changes when the same file gives other samples


def read_windows(path: str | Path, *, rate: int, seconds: float, max_windows: int) -> list[Samples]:
    """Reads a sound as windows of mono samples at a rate, each at most ``seconds`` long.

    A track no longer than a window is one window of its own length. A longer one is read in full windows whose starts
    are evenly spaced from its beginning to its end: all of it where ``max_windows`` suffice (the windows then overlap
    a little), otherwise a sample of it, with one window the middle. Channels are averaged, all alike. Silence is a
    sound like any other. A wav or mp3 file that is cut off is read as far as it goes; other formats say that they are.

    Args:
        path: A file that libsndfile reads: wav, flac, mp3, ogg, aiff and more, integers or floats, 1 kHz or more.
        rate: Samples per second to which the windows are resampled, by soxr.
        seconds: The length of a window.
        max_windows: The most windows read of a track.

    Returns:
        The windows, float32 of shape ``(num_samples,)`` with ``1 <= num_samples <= seconds * rate``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no sound, has no samples, is cut off, or holds samples that are no numbers.
        MissingExtraError: If soundfile or soxr is missing.
    """
    with _opened(Path(path)) as sound:
        length = max(1, round(seconds * sound.samplerate))
        windows = _read(sound, sound.frames, length, max_windows)
        own_rate = int(sound.samplerate)
    return [_resampled(_checked(window), own_rate, rate, round(seconds * rate)) for window in windows]


def window_starts(frames: int, length: int, max_windows: int) -> list[int]:
    """Returns where the windows of a track begin, evenly spaced from its beginning to its end.

    >>> window_starts(10, 4, 8), window_starts(100, 4, 3), window_starts(100, 4, 1), window_starts(3, 4, 8)
    ([0, 3, 6], [0, 48, 96], [48], [0])
    """
    if frames <= length:
        return [0]
    count, last = min(-(-frames // length), max_windows), frames - length
    return [last // 2] if count == 1 else [round(k * last / (count - 1)) for k in range(count)]


@contextmanager
def _opened(path: Path) -> Iterator[SoundFile]:
    """Opens a sound; whatever libsndfile dislikes then or while reading is a ValueError without the path."""
    soundfile = require("soundfile", extra="audio")
    if not path.exists():
        raise FileNotFoundError("no such file")
    try:
        with soundfile.SoundFile(str(path)) as sound:
            yield sound
    except (soundfile.SoundFileError, TypeError) as error:  # a TypeError for headerless .raw files
        reason = getattr(error, "error_string", str(error))
        if "does not exist" in reason:  # what libsndfile says of a file that merely claims to be an mp3
            reason = "no format that can be read"
        raise ValueError(
            f"expected a whole sound file (wav, flac, mp3, ogg, …), got one that fails: {reason}"
        ) from None


def _read(sound: SoundFile, frames: int, length: int, max_windows: int) -> list[Samples]:
    if frames <= 0:
        raise ValueError("expected a sound, got no samples")
    starts = window_starts(frames, length, max_windows)
    if not (sound.subtype.startswith("MPEG") or sound.frames > LONGEST):
        return [_window(sound, start, min(length, frames)) for start in starts]
    windows, found = _streamed(sound, starts, length)
    if found >= min(starts[-1] + length, frames):
        return windows
    sound.seek(0)  # the length in the header of an mp3 may be wrong: now the true one is known
    return _read(sound, found, length, max_windows)


def _window(sound: SoundFile, start: int, length: int) -> Samples:
    sound.seek(start)
    window = np.concatenate([np.empty(0, np.float32), *_blocks(sound, length)])
    if len(window) < length:
        raise ValueError(f"expected {length} samples from sample {start} on, got {len(window)}; the file is cut off")
    return window


def _streamed(sound: SoundFile, starts: list[int], length: int) -> tuple[list[Samples], int]:
    """Reads windows in one pass, because seeking in an mp3 lands elsewhere; returns them and the frames it found."""
    sound.seekable = lambda: False  # otherwise soundfile seeks after every read
    parts: list[list[Samples]] = [[np.empty(0, np.float32)] for _ in starts]
    at = 0
    for block in _blocks(sound, starts[-1] + length):
        for part, start in zip(parts, starts, strict=True):
            part.append(block[max(0, start - at) : max(0, start + length - at)].copy())
        at += len(block)
    return [np.concatenate(part) for part in parts], at


def _blocks(sound: SoundFile, frames: int) -> Iterator[Samples]:
    """Yields the next frames in blocks, channels averaged, until there are no more."""
    while frames > 0:
        block = sound.read(min(BLOCK, frames), dtype="float32", always_2d=True)
        if not len(block):
            return
        frames -= len(block)
        yield block.mean(axis=1)


def _checked(window: Samples) -> Samples:
    if not np.isfinite(window).all():
        raise ValueError("expected samples that are numbers, got NaN or infinity")
    if (peak := float(np.abs(window).max())) > LOUDEST:
        raise ValueError(f"expected samples between -1 and 1, got a peak of {peak:g}; rescale the file")
    return window


def _resampled(window: Samples, own_rate: int, rate: int, longest: int) -> Samples:
    if own_rate == rate:
        return window[:longest]
    soxr = require("soxr", extra="audio")
    resampled = np.asarray(soxr.resample(window, own_rate, rate, quality="HQ"), dtype=np.float32)[:longest]
    return resampled if len(resampled) else window[:1]
