import shutil
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphrec.features import filling
from graphrec.features.encoder import Encoder, Tower, UnreadableError
from graphrec.features.engine import StoredEncoder, encode
from graphrec.features.store.store import Store
from tests.features.fake_tower import HashTower, bytes_of, texts, vector_of


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(filling, "SHARD_SIZES", dict.fromkeys(filling.SHARD_SIZES, 16))


def files(folder, count):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.bin" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(f"content {number}".encode())
    return paths


def expected(values):
    return np.stack([vector_of(value.encode()) for value in values])


def test_the_fakes_and_the_stored_encoder_keep_the_protocols(store):
    assert isinstance(HashTower(), Tower)
    assert isinstance(StoredEncoder(HashTower(), store), Encoder)


def test_vectors_are_those_of_the_tower_in_the_order_of_the_values(store, small_shards):
    values = texts(70)
    order = np.random.default_rng(0).permutation(len(values))
    found = encode(HashTower(), [values[k] for k in order], store=store)
    np.testing.assert_array_equal(found.vectors, expected(values)[order])
    assert found.vectors.dtype == np.float32
    assert found.failed == {}
    assert found.present.all()


def test_identical_contents_are_encoded_once_and_a_second_call_encodes_nothing(store, tmp_path):
    paths = files(tmp_path / "files", 3)
    copy = Path(shutil.copy(paths[0], tmp_path / "copy.bin"))
    tower = HashTower("audio")
    found = encode(tower, [paths[0], copy, str(paths[1]), paths[1], paths[2]], store=store)
    assert sorted(tower.forwarded) == [b"content 0", b"content 1", b"content 2"]
    np.testing.assert_array_equal(found.vectors[[1, 3]], found.vectors[[0, 2]])
    again = encode(tower, [paths[2], copy], store=Store(store.root))
    assert len(tower.forwarded) == 3
    np.testing.assert_array_equal(again.vectors, found.vectors[[4, 0]])


def test_other_weights_another_name_and_another_precision_have_vectors_of_their_own(store):
    for tower in (HashTower(), HashTower(weights="v"), HashTower(name="fake:other")):
        for dtype in ("float32", "float16"):
            encode(tower, texts(5), store=store, dtype=dtype)
        assert len(tower.forwarded) == 10
    assert len(store.entries()) == 6


def test_a_changed_file_is_encoded_alone_and_equals_a_full_run(store, tmp_path):
    paths = files(tmp_path / "files", 20)
    encode(HashTower("audio"), paths, store=store)
    paths[7].write_bytes(b"something else")
    tower = HashTower("audio")
    found = encode(tower, paths, store=store)
    assert tower.forwarded == [b"something else"]
    full = encode(HashTower("audio"), paths, store=Store(tmp_path / "other"))
    np.testing.assert_allclose(found.vectors, full.vectors, atol=1e-5)


def test_batches_hold_values_of_like_length_and_no_more_than_asked_for(store, small_shards):
    tower = HashTower(batch_size=100)
    encode(tower, texts(50), store=store, batch_size=5)
    assert max(map(len, tower.batches)) == 5
    for start in range(0, 12, 4):  # the four batches of a shard of 16
        lengths = [len(content) for batch in tower.batches[start : start + 4] for content in batch]
        assert lengths == sorted(lengths)


def test_half_precision_takes_half_and_is_exact_to_a_thousandth(store, tmp_path):
    values = texts(300)
    single = encode(HashTower(dim=32), values, store=store)
    half = encode(HashTower(dim=32), values, store=Store(tmp_path / "half"), dtype="float16")
    np.testing.assert_allclose(half.vectors, single.vectors, rtol=1e-3)
    assert half.vectors.dtype == np.float32
    sizes = [sum(map(len, bytes_of(root).values())) for root in (tmp_path / "half", store.root)]
    assert sizes[0] < 0.65 * sizes[1]  # the keys of 32 bytes stay


def test_a_vector_too_large_for_half_precision_fails_alone(store):
    class Large(HashTower):
        def forward(self, inputs):
            return super().forward(inputs) * np.float32(2e5)

    found = encode(Large(), ["a", "b"], store=store, dtype="float16")
    assert found.failed == dict.fromkeys((0, 1), "its vector is not finite as float16")
    assert encode(Large(), ["a", "b"], store=store).failed == {}


def test_values_that_break_fail_alone_with_their_reasons(store, tmp_path):
    paths = files(tmp_path / "files", 6)
    paths[1].write_bytes(b"broken")
    paths[2].unlink()
    paths[3].write_bytes(b"infinite")
    paths[4].write_bytes(b"fatal")
    tower = HashTower("video")
    found = encode(tower, [*paths, tmp_path, tmp_path / "a\0b", "\ud800"], store=store)
    assert found.failed == {
        1: "it is broken",
        2: "no such file",
        3: "its vector is not finite as float32",
        4: "the model fell over",
        6: "it is a folder",
        7: "no such file: its path holds a null byte",
        8: "no such file",
    }
    np.testing.assert_array_equal(found.vectors[[0, 5]], [vector_of(b"content 0"), vector_of(b"content 5")])
    assert not found.vectors[list(found.failed)].any()
    np.testing.assert_array_equal(np.flatnonzero(found.present), [0, 5])


def test_a_broken_content_is_not_tried_again_until_its_decoder_changes(store, monkeypatch):
    values = ["fine", "broken", "infinite"]
    first = encode(HashTower(), values, store=store)
    again = HashTower()
    assert encode(again, values, store=store).failed == first.failed
    assert again.read_values == []
    monkeypatch.setattr(filling, "decoder_version", lambda kind: "newer")
    assert encode(again, values, store=store).failed == first.failed
    assert sorted(again.read_values) == ["broken", "infinite"]

    class Better(HashTower):
        def read(self, value):
            return value.encode().replace(b"broken", b"mended")

    monkeypatch.setattr(filling, "decoder_version", lambda kind: "newest")
    assert encode(Better(), values, store=store).failed == {2: first.failed[2]}
    assert encode(HashTower(), values, store=store).failed == {2: first.failed[2]}
    assert store.verify() == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        PermissionError(13, "Permission denied"),
        RuntimeError("a driver"),
        KeyError("x"),
    ],
)
def test_what_may_pass_is_tried_again_and_leaves_no_trace_while_it_lasts(store, small_shards, error):
    values = [f"away {number}" for number in range(3)] + texts(40)

    class Away(HashTower):
        def read(self, value):
            if value.startswith("away"):
                raise error
            return super().read(value)

    found = encode(Away(), values, store=store)
    assert sorted(found.failed) == [0, 1, 2]
    before = bytes_of(store.root)
    assert encode(Away(), values, store=store).failed == found.failed
    assert bytes_of(store.root) == before
    tower = HashTower()
    assert encode(tower, values, store=store).failed == {}
    assert len(tower.forwarded) == 3


@pytest.mark.parametrize("error", [MemoryError(), ImportError("no decoder"), KeyboardInterrupt()])
def test_what_no_value_is_to_blame_for_ends_the_run_and_keeps_what_was_done(store, small_shards, error):
    class Ends(HashTower):
        def read(self, value):
            if value == values[-1]:
                raise error
            return super().read(value)

    values = texts(64)
    with pytest.raises(type(error)):
        encode(Ends(), values, store=store)
    tower = HashTower()
    encode(tower, values, store=store)
    assert 16 <= len(tower.forwarded) <= 48
    assert not list(store.root.rglob("*.lock"))


def test_a_model_that_always_raises_ends_the_run(store):
    class Dead(HashTower):
        def forward(self, inputs):
            raise RuntimeError("no kernel image")

    with pytest.raises(RuntimeError, match="no kernel image"):
        encode(Dead(), texts(5), store=store)
    assert encode(HashTower(), texts(5), store=store).failed == {}


def test_a_model_that_returns_another_shape_ends_the_run(store):
    class Wrong(HashTower):
        def forward(self, inputs):
            return super().forward(inputs)[:, 1:]

    with pytest.raises(ValueError, match=r"expected \(5, 6\) numbers from fake:hash, got \(5, 5\)"):
        encode(Wrong(), texts(5), store=store)


def test_a_file_that_changes_while_it_is_read_is_not_kept_under_its_old_content(store, tmp_path):
    paths = files(tmp_path / "files", 3)

    class Slow(HashTower):
        def read(self, value):
            if value == paths[1]:
                paths[1].write_bytes(b"another content")
            return super().read(value)

    found = encode(Slow("audio"), paths, store=store)
    assert found.failed == {1: "it changed while it was read; encode it again"}
    again = encode(HashTower("audio"), paths, store=store)
    np.testing.assert_array_equal(again.vectors[1], vector_of(b"another content"))


def test_pictures_in_memory_are_kept_by_their_pixels(store):
    tower = HashTower("image")
    grey, same, turned = Image.new("L", (3, 2), 7), Image.new("L", (3, 2), 7), Image.new("L", (2, 3), 7)
    encode(tower, [grey, same, turned], store=store)
    assert len(tower.forwarded) == 2


def test_no_more_batches_are_read_than_are_needed_next(store):
    alive, most, lock = [0], [0], threading.Lock()

    class Decoded:
        def __init__(self, content):
            self.content = content
            with lock:
                alive[0] += 1
                most[0] = max(most[0], alive[0])

        def __del__(self):
            with lock:
                alive[0] -= 1

    class Heavy(HashTower):
        def read(self, value):
            return Decoded(super().read(value))

        def forward(self, inputs):
            return super().forward([value.content for value in inputs])

    found = encode(Heavy(batch_size=10), texts(500), store=store, workers=4)
    np.testing.assert_array_equal(found.vectors, expected(texts(500)))
    assert most[0] <= 40


def test_values_are_read_on_threads_and_encoded_on_this_one(store):
    readers, forwarders = set(), set()

    class Spy(HashTower):
        def read(self, value):
            readers.add(threading.current_thread().name)
            return super().read(value)

        def forward(self, inputs):
            forwarders.add(threading.current_thread())
            return super().forward(inputs)

    encode(Spy(), texts(50), store=store, workers=2)
    assert all(name.startswith("graphrec-read") for name in readers)
    assert forwarders == {threading.current_thread()}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("graphrec-read")]


def test_the_progress_leaves_room_for_the_rate_whatever_the_tower_is_called(store, monkeypatch):
    told = []
    monkeypatch.setattr(filling, "progress", lambda text, total: told.append(text) or nullcontext(id))
    encode(HashTower(name="hf:/a/long/way/to/the/checkpoint/of/all-MiniLM-L6-v2"), ["a"], store=store)
    assert told == ["Encoding text with …int/of/all-MiniLM-L6-v2"]


def test_no_values_have_no_vectors_and_make_no_folder(store):
    found = encode(HashTower(), [], store=store)
    assert found.vectors.shape == (0, 6)
    assert not store.root.exists()


@pytest.mark.parametrize("text", ["", "مرحبا", "🙂", "a\0b", "\ud800", "word " * 100_000])
def test_every_text_has_a_key(store, text):
    class Tolerant(HashTower):
        def read(self, value):
            return value.encode("utf-8", "replace")

    assert encode(Tolerant(), [text], store=store).failed == {}


def test_texts_that_only_look_alike_are_different(store):
    tower = HashTower()
    encode(tower, ["é", "e\u0301", "é "], store=store)
    assert len(tower.forwarded) == 3


@pytest.mark.parametrize(("kind", "value"), [("text", Path("a")), ("text", None), ("audio", 3), ("image", None)])
def test_values_of_another_type_are_refused(store, kind, value):
    with pytest.raises(TypeError, match=r"expected (a|the) .*, got \w+; leave absent values out"):
        encode(HashTower(kind), [value], store=store)


@pytest.mark.parametrize("option", ["batch_size", "workers"])
def test_a_batch_of_none_is_refused(store, option):
    with pytest.raises(ValueError, match="of at least 1"):
        encode(HashTower(), ["a"], store=store, **{option: 0})


def test_the_stored_encoder_names_all_that_failed(store, tmp_path):
    paths = files(tmp_path / "files", 4)
    paths[1].write_bytes(b"broken")
    paths[3].unlink()
    with pytest.raises(
        UnreadableError, match=r"got 2 .*1\.bin' \(it is broken\); .*3\.bin' \(no such file\)"
    ) as caught:
        StoredEncoder(HashTower("audio"), store).encode(paths)
    assert sorted(caught.value.reasons) == [1, 3]
    with pytest.raises(UnreadableError, match=r"'broken x+…' \(it is broken\)"):
        StoredEncoder(HashTower(), store).encode(["broken " + "x" * 100])


def test_the_stored_encoder_tells_what_it_is_and_encodes(store):
    encoder = StoredEncoder(HashTower(), store, batch_size=3, workers=1)
    assert (encoder.name, encoder.space, encoder.dim) == ("fake:hash", "fake", 6)
    assert StoredEncoder(HashTower(), store, dtype="float16").name == "fake:hash (float16)"
    np.testing.assert_array_equal(encoder.encode(texts(5)), expected(texts(5)))
    assert encoder.encode_readable(["broken"]).failed == {0: "'broken' (it is broken)"}


def test_a_damaged_shard_is_left_out_with_a_warning_and_its_contents_are_encoded_again(store, small_shards, caplog):
    values = texts(40)
    whole = encode(HashTower(), values, store=store)
    before = bytes_of(store.root)
    path = sorted(store.root.rglob("*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:-100])
    tower = HashTower()
    found = encode(tower, values, store=store)
    assert "run `graphrec features verify`" in caplog.text
    assert path.name in caplog.text
    assert 0 < len(tower.forwarded) <= 16
    np.testing.assert_array_equal(found.vectors, whole.vectors)
    assert bytes_of(store.root) == before


def test_a_store_that_can_only_be_read_is_read(store, tmp_path, monkeypatch):
    paths = files(tmp_path / "files", 3)
    encode(HashTower("audio"), paths, store=store)

    def refuse(*arguments, **options):
        raise PermissionError(30, "Read-only file system")

    for name in ("mkdir", "unlink", "touch", "replace"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr("os.utime", refuse)
    tower = HashTower("audio")
    assert encode(tower, paths, store=store).failed == {}
    assert tower.forwarded == []


def test_memory_of_the_gpu_that_runs_out_halves_the_batches(store, caplog):
    class OutOfMemoryError(RuntimeError):
        pass

    class Small(HashTower):
        def forward(self, inputs):
            if len(inputs) > 3:
                self.batches.append([])
                raise OutOfMemoryError("CUDA out of memory")
            return super().forward(inputs)

    tower = Small(batch_size=10)
    found = encode(tower, texts(40), store=store)
    np.testing.assert_array_equal(found.vectors, expected(texts(40)))
    assert [len(batch) for batch in tower.batches].count(0) == 2  # 10 and 5, and never again
    assert "going on with 3" in caplog.text


def test_torch_is_not_loaded_to_read_the_store():
    import subprocess

    code = "import graphrec.features.engine, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
