import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from graphrec.features.batches import Forward, Unread, read_ahead, read_value
from graphrec.features.pictures import TooLargeError
from tests.features.fake_tower import HashTower, vector_of


@pytest.fixture
def pool():
    with ThreadPoolExecutor(3) as pool:
        yield pool


def results(found):
    return [value.reason if isinstance(value, Unread) else value.tolist() for value in found]


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_batches_come_in_order_with_their_owner_and_what_was_read(pool, ahead):
    batches = [("a", [1, 2, 3]), ("a", []), ("b", list(range(100)))]
    found = list(read_ahead(batches, lambda value: value * 10, pool, ahead=ahead))
    assert found == [(owner, values, [value * 10 for value in values]) for owner, values in batches]


def test_no_more_is_read_than_the_batches_ahead(pool):
    read, lock = [], threading.Lock()

    def note(value):
        with lock:
            read.append(value)

    steps = read_ahead(((None, [number]) for number in range(100)), note, pool, ahead=2)
    next(steps)
    next(steps)
    assert max(read) <= 3
    steps.close()


def test_an_error_of_reading_reaches_the_caller(pool):
    def fail(value):
        raise KeyError("x")

    with pytest.raises(KeyError):
        list(read_ahead([(None, [1])] * 5, fail, pool))


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        (ValueError("broken"), True),
        (OSError("image file is truncated"), True),
        (EOFError("end"), True),
        (SyntaxError("not a PNG file"), True),
        (OSError(5, "Input/output error"), False),
        (RuntimeError("a driver"), False),
        (TooLargeError("more pixels than a setting allows"), False),
    ],
)
def test_only_what_is_wrong_with_the_content_lasts(error, lasting):
    class Fails(HashTower):
        def read(self, value):
            raise error

    found = read_value(Fails(), "a", lambda value: True)
    assert isinstance(found, Unread)
    assert found.lasting == lasting


def test_a_value_that_changed_is_not_used():
    found = read_value(HashTower(), "a", lambda value: False)
    assert (found.reason, found.lasting) == ("it changed while it was read; encode it again", False)
    assert read_value(HashTower(), "a", lambda value: True) == b"a"


def test_the_culprit_of_a_batch_is_found_and_the_others_keep_their_vectors():
    found = Forward(HashTower(), "float32")([b"a", b"fatal", b"infinite", b"b"])
    fine = [vector_of(content).tolist() for content in (b"a", b"b")]
    assert results(found) == [fine[0], "the model fell over", "its vector is not finite as float32", fine[1]]
    assert [value.lasting for value in found if isinstance(value, Unread)] == [False, True]


def test_a_model_that_fails_for_all_is_an_error():
    with pytest.raises(RuntimeError, match="fell over"):
        Forward(HashTower(), "float32")([b"fatal 1", b"fatal 2"])


def test_one_value_too_large_for_the_gpu_fails_alone():
    class OutOfMemoryError(RuntimeError):
        pass

    class Small(HashTower):
        def forward(self, inputs):
            if len(inputs) > 1 or inputs == [b"huge"]:
                raise OutOfMemoryError("CUDA out of memory")
            return super().forward(inputs)

    forward = Forward(Small(), "float32")
    found = forward([b"a", b"huge", b"b"])
    assert results(found) == [vector_of(b"a").tolist(), "CUDA out of memory", vector_of(b"b").tolist()]
    assert forward.limit == 1


def test_numbers_beyond_half_precision_are_refused_only_there():
    class Large(HashTower):
        def forward(self, inputs):
            return np.full((len(inputs), 6), 7e4, np.float32)

    assert isinstance(Forward(Large(), "float16")([b"a"])[0], Unread)
    assert results(Forward(Large(), "float32")([b"a"])) == [[7e4] * 6]
