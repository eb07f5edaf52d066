import numpy as np
import pytest

from graphrec.features.towers.sound import BLOCK, read_windows, window_starts

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")


def tone(seconds, rate, hertz=440.0, loudness=0.3):
    return (loudness * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def chirp(seconds, rate):
    time = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * (200 + 20 * time) * time)).astype(np.float32)


@pytest.fixture
def write(tmp_path):
    def save(name, samples, rate, **options):
        soundfile.write(tmp_path / name, samples, rate, **options)
        return tmp_path / name

    return save


def whole(path, rate=16_000, seconds=1000.0):
    (window,) = read_windows(path, rate=rate, seconds=seconds, max_windows=1)
    return window


def pitch(samples, rate):
    """Returns the loudest frequency in hertz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * rate / len(samples)


@pytest.mark.parametrize("seed", range(50))
def test_window_starts_are_full_even_and_cover_the_track_where_they_may(seed):
    random = np.random.default_rng(seed)
    frames, length, most = (int(random.integers(1, high)) for high in (200, 60, 9))
    starts = window_starts(frames, length, most)
    assert 1 <= len(starts) <= most
    assert starts[0] >= 0
    assert starts[-1] + length <= max(frames, length)
    if len(starts) > 1:
        assert (starts[0], starts[-1]) == (0, frames - length)
        assert np.ptp(np.diff(starts)) <= 1
    if length * most >= frames:
        covered = {frame for start in starts for frame in range(start, start + length)}
        assert covered >= set(range(frames))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.aiff"])
def test_windows_are_slices_of_the_whole(write, name):
    path = write(name, chirp(12, 16_000), 16_000)
    everything, _ = soundfile.read(path, dtype="float32")
    windows = read_windows(path, rate=16_000, seconds=5, max_windows=8)
    starts = window_starts(12 * 16_000, 5 * 16_000, 8)
    assert starts == [0, 56_000, 112_000]
    for window, start in zip(windows, starts, strict=True):
        np.testing.assert_allclose(window, everything[start : start + 80_000], atol=1e-5)


def test_windows_of_an_mp3_are_slices_of_the_whole_although_it_cannot_be_sought_in(write):
    path = write("a.mp3", chirp(12, 16_000), 16_000)
    everything, _ = soundfile.read(path, dtype="float32")
    for most, expected in ((8, (0, 56_000, 112_000)), (2, (0, 112_000)), (1, (56_000,))):
        windows = read_windows(path, rate=16_000, seconds=5, max_windows=most)
        assert len(windows) == len(expected)
        for window, start in zip(windows, expected, strict=True):
            np.testing.assert_allclose(window, everything[start : start + 80_000], atol=1e-6)


def test_a_recording_that_does_not_know_its_length_is_read_all_the_same(write):
    path = write("a.flac", chirp(12, 16_000), 16_000)
    expected = read_windows(path, rate=16_000, seconds=5, max_windows=8)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the 36 bits of the number of samples in a FLAC header, as streams leave them
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert soundfile.info(path).frames > 2**40
    np.testing.assert_array_equal(read_windows(path, rate=16_000, seconds=5, max_windows=8), expected)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_every_rate_gives_the_same_tone(write, rate):
    samples = whole(write("a.wav", tone(2, rate), rate), 16_000)
    assert abs(len(samples) - 32_000) <= 1
    middle = slice(4_000, 28_000)  # away from the ringing at the edges
    np.testing.assert_allclose(samples[middle], tone(2, 16_000)[: len(samples)][middle], atol=2e-3)


def test_what_lies_above_the_new_rate_is_filtered_out_instead_of_folded_back(write):
    samples = whole(write("a.wav", tone(1, 48_000, hertz=15_000), 48_000))
    assert np.abs(samples[1000:-1000]).max() < 1e-3


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_integer_and_float_formats_give_the_same_samples(write, subtype):
    samples = whole(write("a.wav", tone(1, 16_000), 16_000, subtype=subtype))
    np.testing.assert_allclose(samples, tone(1, 16_000), atol=0.02 if subtype in ("PCM_U8", "ULAW") else 1e-4)


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_are_averaged(write, channels):
    sounds = np.stack([tone(1, 16_000, hertz=220 * (k + 1)) for k in range(channels)], axis=1)
    path = write("a.wav", sounds, 16_000, subtype="FLOAT")
    np.testing.assert_allclose(whole(path), sounds.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("own_rate", [44_100, 8_000, 22_050])
def test_no_window_is_longer_than_asked_for(write, own_rate):
    path = write("a.wav", tone(3.3, own_rate), own_rate)
    windows = read_windows(path, rate=48_000, seconds=1, max_windows=8)
    assert len(windows) == 4
    assert max(len(window) for window in windows) <= 48_000
    assert min(len(window) for window in windows) >= 47_998


def test_silence_is_a_sound(write):
    samples = whole(write("a.wav", np.zeros(16_000, np.float32), 16_000))
    assert samples.shape == (16_000,)
    assert not samples.any()


@pytest.mark.parametrize("rate", [8_000, 16_000, 192_000])
def test_one_sample_is_a_sound_of_at_least_one_sample(write, rate):
    samples = whole(write("a.wav", np.full(1, 0.5, np.float32), rate))
    assert 1 <= len(samples) <= 2
    assert np.isfinite(samples).all()


def test_only_what_is_needed_is_decoded_of_a_long_track(write, monkeypatch):
    path = write("a.wav", tone(600, 8_000), 8_000)
    frames = []
    original = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile,
        "read",
        lambda self, count, **options: frames.append(count) or original(self, count, **options),
    )
    windows = read_windows(path, rate=8_000, seconds=10, max_windows=3)
    assert [len(window) for window in windows] == [80_000] * 3
    assert sum(frames) == 3 * 80_000
    assert max(frames) <= BLOCK


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.wav", b""), ("a.wav", b"this is no sound" * 99), ("a.mp3", b"nor is this" * 99), ("a.raw", b"0" * 99)],
)
def test_what_is_no_sound_is_refused_without_its_path(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="expected a") as caught:
        whole(tmp_path / name)
    assert str(tmp_path) not in str(caught.value)
    assert "does not exist" not in str(caught.value)


def test_a_zero_length_sound_has_no_samples(write):
    with pytest.raises(ValueError, match="got no samples"):
        whole(write("a.wav", np.zeros(0, np.float32), 16_000))


@pytest.mark.parametrize("name", ["a.flac", "a.ogg"])
def test_formats_that_know_say_that_they_are_cut_off(write, name):
    path = write(name, chirp(4, 44_100), 44_100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="expected"):
        whole(path)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
@pytest.mark.parametrize("seconds", [1.0, 1000.0])
def test_a_stream_that_is_cut_off_is_read_as_far_as_it_goes(write, name, seconds):
    path = write(name, tone(4, 44_100), 44_100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    windows = read_windows(path, rate=44_100, seconds=seconds, max_windows=8)
    assert 1.5 < len(windows[0]) / 44_100 < 2.1 or len(windows) == 2
    assert all(abs(pitch(window, 44_100) - 440) < 2 for window in windows)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(write, value):
    samples = tone(1, 16_000)
    samples[777] = value
    with pytest.raises(ValueError, match="got NaN or infinity"):
        whole(write("a.wav", samples, 16_000, subtype="FLOAT"))


def test_floats_on_the_scale_of_integers_are_refused(write):
    with pytest.raises(ValueError, match=r"expected samples between -1 and 1, got a peak of .*rescale"):
        whole(write("a.wav", tone(1, 16_000, loudness=30_000), 16_000, subtype="FLOAT"))


def test_a_missing_file_and_a_folder_are_no_sounds(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        whole(tmp_path / "gone.wav")
    with pytest.raises(ValueError, match="expected a whole sound file"):
        whole(tmp_path)
