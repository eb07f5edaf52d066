from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from graphrec.config import ConfigError
from graphrec.features.encoder import Tower
from graphrec.features.towers.video import VideoTower, sample_frames

av = pytest.importorskip("av")
COLOURS = [
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 255),
    (0, 0, 0),
    (255, 255, 0),
    (255, 0, 255),
    (0, 255, 255),
]


class MeanColour:
    """An image tower whose vector is the mean colour; counts what it reads."""

    name, space, dim, kind, batch_size = "mean-colour", "colours", 3, "image", 4

    def __init__(self, *, unit=False):
        self.unit, self.sizes, self.read_count = unit, [], 0

    def fingerprint(self):
        return "mean-colour-1"

    def size(self, value):
        return 0

    def read(self, value):
        self.read_count += 1
        return np.asarray(value.convert("RGB"), dtype=np.float32).mean(axis=(0, 1)) + 1

    def forward(self, inputs):
        self.sizes.append(len(inputs))
        rows = np.stack(inputs)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if self.unit else rows


def write(path, pictures, *, rate=10, times=None, codec="mpeg4", gop=12, options=None):
    """Writes pictures as a video, shown at ``times`` in hundredths of a second, or at a constant rate."""
    with av.open(path, "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt, stream.bit_rate, stream.gop_size = "yuv420p", 4_000_000, gop
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 100)
        for at, picture in enumerate(pictures):
            frame = av.VideoFrame.from_image(picture)
            if times is not None:
                frame.pts, frame.time_base = times[at], Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def plain(colour, size=(64, 48)):
    return Image.new("RGB", size, colour)


def colours_of(frames):
    return [(np.asarray(picture).mean(axis=(0, 1)), count) for picture, count in frames]


def assert_colours(frames, expected, counts=None):
    found = colours_of(frames)
    np.testing.assert_allclose([colour for colour, _ in found], expected, atol=12)
    assert [count for _, count in found] == (counts or [1] * len(expected))


@pytest.fixture(scope="module")
def rainbow(tmp_path_factory):
    """A video of eight seconds, one colour each, ten frames a second."""
    pictures = [plain(colour) for colour in COLOURS for _ in range(10)]
    return write(tmp_path_factory.mktemp("videos") / "rainbow.mp4", pictures)


def test_it_is_a_tower_that_takes_its_space_from_the_image_tower():
    image, tower = MeanColour(), VideoTower(MeanColour(), {"frames": 2})
    assert isinstance(tower, Tower)
    assert (tower.kind, tower.space, tower.dim, tower.batch_size) == ("video", image.space, image.dim, 2)
    assert tower.name == "video(mean-colour, frames=2)"
    assert tower.fingerprint() != VideoTower(image).fingerprint() != image.fingerprint()
    with pytest.raises(ConfigError, match="did you mean 'frames'"):
        VideoTower(image, {"frame": 2})
    with pytest.raises(ValueError, match="expected a tower that encodes images"):
        VideoTower(tower)


def test_frames_come_from_the_middle_of_equal_stretches(rainbow):
    assert_colours(sample_frames(rainbow, 8), COLOURS)
    assert_colours(sample_frames(rainbow, 4), [COLOURS[k] for k in (1, 3, 5, 7)])
    assert_colours(sample_frames(rainbow, 1), [COLOURS[4]])


def test_the_vector_is_the_mean_of_the_frames_vectors(rainbow):
    tower = VideoTower(MeanColour(), {"frames": 8})
    (vector,) = tower.forward([tower.read(rainbow)])
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, np.mean(COLOURS, axis=0) + 1, atol=8)


def test_means_of_unit_vectors_have_unit_length(rainbow):
    tower = VideoTower(MeanColour(unit=True), {"frames": 8})
    inputs = tower.read(rainbow)
    rows = MeanColour(unit=True).forward([picture for picture, _ in inputs])
    (vector,) = tower.forward([inputs])
    np.testing.assert_allclose(vector, rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0)), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-6)


def test_batches_of_videos_are_batches_of_pictures(rainbow, tmp_path):
    short = write(tmp_path / "short.mp4", [plain(COLOURS[0])])
    tower = VideoTower(MeanColour(), {"frames": 5})
    inputs = [tower.read(path) for path in (rainbow, short, rainbow)]
    together = tower.forward(inputs)
    assert tower.image_tower.sizes == [4, 4, 3]
    np.testing.assert_allclose(together, np.concatenate([tower.forward([one]) for one in inputs]), rtol=1e-6)


def test_two_readings_are_equal(rainbow):
    for one, other in zip(colours_of(sample_frames(rainbow, 5)), colours_of(sample_frames(rainbow, 5)), strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_webm_without_a_length_in_its_stream(tmp_path):
    pictures = [plain(colour) for colour in COLOURS[:4] for _ in range(5)]
    path = write(tmp_path / "a.webm", pictures, codec="libvpx")
    assert_colours(sample_frames(path, 4), COLOURS[:4])


def test_frames_are_chosen_by_time_where_their_rate_varies(tmp_path):
    path = write(tmp_path / "a.mkv", [plain(c) for c in COLOURS[:5]], times=[0, 10, 20, 30, 400], rate=100)
    assert_colours(sample_frames(path, 4), [COLOURS[3]], [4])
    assert_colours(sample_frames(path, 20), [COLOURS[k] for k in (1, 3)], [1, 19])


def test_one_frame_is_encoded_once(tmp_path):
    path = write(tmp_path / "a.mp4", [plain(COLOURS[1])])
    tower = VideoTower(MeanColour())
    (vector,) = tower.forward([tower.read(path)])
    assert tower.image_tower.read_count == 1
    np.testing.assert_allclose(vector, np.add(COLOURS[1], 1), atol=12)


def test_repeated_frames_weigh_as_often_as_they_were_sampled(tmp_path):
    path = write(
        tmp_path / "a.mkv", [plain(COLOURS[0]), plain(COLOURS[2]), plain(COLOURS[2])], times=[0, 300, 400], rate=100
    )
    tower = VideoTower(MeanColour())
    inputs = tower.read(path)
    weights = [count for _, count in inputs]
    assert sum(weights) == 8
    assert weights[0] > weights[-1]
    expected = sum(row * count for row, count in inputs) / 8
    np.testing.assert_allclose(tower.forward([inputs])[0], expected, rtol=1e-5)


def test_a_long_video_is_sought_in_and_not_decoded_as_a_whole(tmp_path, monkeypatch):
    pictures = [plain(COLOURS[k % 8], (32, 32)) for k in range(8) for _ in range(100)]
    path = write(tmp_path / "a.mp4", pictures, rate=2, gop=10)  # 400 seconds
    turned = []
    from graphrec.features.towers import video

    original = video._time
    monkeypatch.setattr(video, "_time", lambda frame: turned.append(frame) or original(frame))
    assert_colours(sample_frames(path, 8), COLOURS)
    assert len({id(frame) for frame in turned}) <= 8 * 14


def test_a_video_filmed_upright_is_turned(tmp_path):
    picture = Image.new("RGB", (64, 48), "red")
    picture.paste("blue", (0, 24, 64, 48))  # red above, blue below
    path = write(tmp_path / "a.mp4", [picture] * 3)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    quarter = [0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30]  # clockwise, as phones write it
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in quarter)
    path.write_bytes(data)
    ((shown, _),) = sample_frames(path, 1)
    assert shown.size == (48, 64)
    left, right = np.asarray(shown)[:, 4].mean(axis=0), np.asarray(shown)[:, -4].mean(axis=0)
    np.testing.assert_allclose(left, (0, 0, 255), atol=20)
    np.testing.assert_allclose(right, (255, 0, 0), atol=20)


def test_animated_pictures_are_videos_too(tmp_path):
    pictures = [plain(colour) for colour in COLOURS[:4]]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=500)
    assert_colours(sample_frames(tmp_path / "a.gif", 4), COLOURS[:4])


@pytest.mark.parametrize("content", [b"", b"this is no video" * 99])
def test_what_is_no_video_is_refused_without_its_path(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected a whole video file") as caught:
        VideoTower(MeanColour()).read(path)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_an_mp4_that_lacks_its_index_is_refused(rainbow, tmp_path, part):
    path = tmp_path / "cut.mp4"
    path.write_bytes(rainbow.read_bytes()[: int(part * rainbow.stat().st_size)])
    with pytest.raises(ValueError, match="expected a"):
        VideoTower(MeanColour()).read(path)


def test_a_stream_that_is_cut_off_early_gives_what_it_shows_or_is_refused(tmp_path):
    pictures = [plain(colour) for colour in COLOURS for _ in range(10)]
    data = write(tmp_path / "a.mkv", pictures).read_bytes()
    (tmp_path / "half.mkv").write_bytes(data[: len(data) // 2])
    (tmp_path / "head.mkv").write_bytes(data[: data.index(b"\x1f\x43\xb6\x75")])  # up to the first cluster
    shown = [colour for colour, _ in colours_of(sample_frames(tmp_path / "half.mkv", 8))]
    np.testing.assert_allclose(shown[:3], COLOURS[:3], atol=12)
    with pytest.raises(ValueError, match="expected a"):
        VideoTower(MeanColour()).read(tmp_path / "head.mkv")


def test_a_file_that_promises_much_more_than_it_holds_is_refused(tmp_path):
    pictures = [plain(COLOURS[k % 8], (32, 32)) for k in range(8) for _ in range(50)]
    path = write(tmp_path / "a.mp4", pictures, rate=1, gop=10, options={"movflags": "faststart"})  # 400 seconds
    assert_colours(sample_frames(path, 8), COLOURS)
    path.write_bytes(path.read_bytes()[: int(0.4 * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"cut off|one that fails"):
        list(sample_frames(path, 8))


def test_a_sound_is_no_video(tmp_path):
    with av.open(tmp_path / "a.mka", "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(ValueError, match="without a video stream"):
        VideoTower(MeanColour()).read(tmp_path / "a.mka")


def test_a_missing_file_is_no_video(tmp_path):
    for value in (tmp_path / "gone.mp4", "http://localhost/a.mp4", "concat:a.mp4|b.mp4"):
        with pytest.raises(FileNotFoundError, match="no such file"):
            VideoTower(MeanColour()).read(value)


def test_names_that_look_like_protocols_are_files(rainbow, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:a.mp4").write_bytes(rainbow.read_bytes())
    assert_colours(sample_frames("http:a.mp4", 1), [COLOURS[4]])
