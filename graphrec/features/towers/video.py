"""Videos by an image tower: frames sampled evenly over the length, encoded as pictures, averaged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from graphrec.config import Config
from graphrec.features.encoder import Kind, Tower
from graphrec.features.towers.loading import digest
from graphrec.runtime import require

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL.Image import Image

GAP = 10.0  # seconds: frames further on than this are sought, nearer ones decoded up to
VERSION = "video-1"  # part of every fingerprint; changes when the same file gives other frames


class VideoOptions(Config):
    """What may be set of a video tower.

    Args:
        frames: Frames that are looked at, one in the middle of each of so many equal stretches of time.
    """

    frames: int = Field(default=8, ge=1)


class VideoTower:
    """Encodes a video as the mean of its frames' vectors by an image tower, in that tower's space.

    Frames are chosen by time, so a variable frame rate does not matter, and are turned upright. Where the image tower's
    vectors have unit length, so has the mean.

    Args:
        image_tower: What encodes the frames.
        options: How they are sampled, e.g. ``{"frames": 4}``.

    Raises:
        ValueError: If the tower does not encode images.
        ConfigError: If an option is unknown or out of range.
    """

    kind: Kind = "video"

    def __init__(self, image_tower: Tower, options: VideoOptions | Mapping[str, Any] | None = None) -> None:
        if image_tower.kind != "image":
            raise ValueError(f"expected a tower that encodes images, got {image_tower.name!r} for {image_tower.kind}")
        self.image_tower = image_tower
        self.options = VideoOptions.read(options or {})

    @property
    def name(self) -> str:
        """The image tower and the number of frames."""
        return f"video({self.image_tower.name}, frames={self.options.frames})"

    @property
    def space(self) -> str:
        """Names the vector space: the image tower's."""
        return self.image_tower.space

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self.image_tower.dim

    @property
    def batch_size(self) -> int:
        """Videos per batch: about as many frames as the image tower takes pictures."""
        return max(1, self.image_tower.batch_size // self.options.frames)

    def fingerprint(self) -> str:
        """Returns a hash of the image tower and of how frames are sampled."""
        return digest(VERSION, self.image_tower.fingerprint(), self.options.model_dump())

    def size(self, value: Any) -> int:
        """Returns 0: all videos cost the same."""
        return 0

    def read(self, value: Any) -> list[tuple[Any, int]]:
        """Reads the frames of a video; returns what the image tower reads of each, and how often it was sampled.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no video, has no frames, or most of them cannot be decoded.
        """
        frames = sample_frames(value, self.options.frames)
        return [(self.image_tower.read(picture), count) for picture, count in frames]

    def forward(self, inputs: Sequence[list[tuple[Any, int]]]) -> NDArray[np.float32]:
        """Returns the vectors of values that ``read`` returned ``(len(inputs), dim)``."""
        pictures = [picture for video in inputs for picture, _ in video]
        size = self.image_tower.batch_size
        parts = [self.image_tower.forward(pictures[at : at + size]) for at in range(0, len(pictures), size)]
        vectors = np.concatenate(parts).astype(np.float64)
        ends = np.cumsum([len(video) for video in inputs])[:-1]
        counts = ([count for _, count in video] for video in inputs)
        means = [_mean(rows, weights) for rows, weights in zip(np.split(vectors, ends), counts, strict=True)]
        return np.stack(means).astype(np.float32)


def sample_frames(path: str | Path, count: int) -> Iterator[tuple[Image, int]]:
    """Yields the frames on display in the middle of equal stretches of a video, upright, in order.

    Long videos are sought in, from key frame to key frame, and not decoded as a whole. Where a stream ends before its
    time, its last frame stands for what is missing, unless that is most of it.

    Args:
        path: A file that FFmpeg reads, such as mp4, webm, mkv or gif.
        count: How many frames to sample.

    Yields:
        A frame as a PIL image, and how often it was sampled: more than once where there are few.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no video, has no frames, or most of them cannot be decoded.
        MissingExtraError: If PyAV is missing.
    """
    with _opened(Path(path)) as container:
        if not container.streams.video:
            raise ValueError("expected a video, got a file without a video stream")
        stream = container.streams.video[0]
        start, length = _extent(container, stream)
        times = [start + length * (k + 0.5) / count for k in range(count)]
        found, last, repeats = 0, None, 0
        for frame in _frames_at(container, stream, times):
            found += 1
            if last is not None and frame is not last:
                yield _upright(last), repeats
                repeats = 0
            last, repeats = frame, repeats + 1
        if last is None:
            raise ValueError("expected a video, got no frames")
        if 2 * found < count:
            raise ValueError(f"expected {count} frames, got {found}; the file is cut off")
        yield _upright(last), repeats


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    """Opens a video; whatever FFmpeg dislikes then or while decoding is a ValueError without the path."""
    av = require("av", extra="video")
    if not path.exists():
        raise FileNotFoundError("no such file")
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            yield container
    except av.error.FFmpegError as error:
        raise ValueError(f"expected a whole video file (mp4, webm, …), got one that fails: {error.strerror}") from None


def _extent(container: InputContainer, stream: VideoStream) -> tuple[float, float]:
    """Returns when a video begins, and how long it lasts, in seconds."""
    start = float((stream.start_time or 0) * _unit(stream))
    if stream.duration:
        return start, float(stream.duration * _unit(stream))
    if container.duration:
        return start, container.duration / 1e6
    ends = [packet.pts + (packet.duration or 0) for packet in container.demux(stream) if packet.pts is not None]
    container.seek(0)
    return start, max(0.0, float(max(ends, default=0) * _unit(stream)) - start)


def _unit(stream: VideoStream) -> Fraction:
    return stream.time_base or Fraction(1, 1000)  # seconds per tick


def _frames_at(container: InputContainer, stream: VideoStream, times: Sequence[float]) -> Iterator[VideoFrame]:
    """Yields the frame on display at each of ascending times, as far as there are any."""
    decoder = container.decode(stream)
    shown, following = None, next(decoder, None)
    for time in times:
        at = _time(following if following is not None else shown)
        if at is not None and time - at > GAP and _sought(container, stream, time):
            decoder = container.decode(stream)
            shown, following = None, next(decoder, None)
        while following is not None and _time(following) <= time:
            shown, following = following, next(decoder, None)
        frame = shown if shown is not None else following
        if frame is not None:
            yield frame


def _time(frame: VideoFrame | None) -> Any:
    """Returns when a frame is shown, in seconds; a frame without a time follows at once."""
    return None if frame is None else frame.time if frame.time is not None else float("-inf")


def _sought(container: InputContainer, stream: VideoStream, time: float) -> bool:
    """Moves to the last key frame before a time; returns whether the format allows that."""
    with suppress(require("av", extra="video").error.FFmpegError):
        container.seek(int(time / _unit(stream)), stream=stream, backward=True)
        return True
    return False


def _upright(frame: VideoFrame) -> Image:
    turn = getattr(frame, "rotation", 0)  # degrees counterclockwise; older PyAV does not tell
    picture = cast("Image", frame.to_image())
    return picture.rotate(turn, expand=True) if turn else picture


def _mean(rows: NDArray[np.float64], weights: Sequence[int]) -> NDArray[np.float64]:
    """Returns the weighted mean of rows, of unit length where they all are ``(dim,)``."""
    mean: NDArray[np.float64] = np.average(rows, axis=0, weights=weights)
    is_unit = np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)
    return mean / max(float(np.linalg.norm(mean)), 1e-12) if is_unit else mean
