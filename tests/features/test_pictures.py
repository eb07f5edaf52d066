import io

import numpy as np
import pytest
from PIL import Image

from graphrec.features.pictures import TooLargeError, middle, open_picture, upright_rgb


def noise(seed=0, size=(20, 30)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def same(first, second, tolerance=0):
    assert first.mode == "RGB"
    assert first.size == second.size
    difference = np.abs(np.asarray(first, dtype=int) - np.asarray(second.convert("RGB"), dtype=int)).max()
    assert difference <= tolerance


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_file_is_opened_by_its_path(kind, tmp_path):
    noise().save(tmp_path / "a.png")
    same(open_picture(kind(tmp_path / "a.png")), noise())


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.webp", "a.bmp", "a.tiff"])
def test_common_formats_are_what_pillow_reads(name, tmp_path):
    noise().save(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        same(open_picture(tmp_path / name), image)


def test_a_picture_in_memory_stays_as_it_is():
    picture = noise().convert("RGBA")
    same(open_picture(picture), noise())
    assert picture.mode == "RGBA"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    names = (None, "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM")
    names += ("TRANSPOSE", "ROTATE_90", "TRANSVERSE", "ROTATE_270")
    turn = names[orientation - 1]  # what, undone by that orientation, gives the picture back
    stored = noise() if turn is None else noise().transpose(Image.Transpose[turn])
    stored.save(tmp_path / "a.png", exif=exif)
    same(open_picture(tmp_path / "a.png"), noise())


def test_broken_exif_costs_no_picture(tmp_path):
    noise().save(tmp_path / "a.jpg", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x01\x12garbage")
    assert open_picture(tmp_path / "a.jpg").size == (30, 20)


def test_transparency_lies_on_white(tmp_path):
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    half.paste((255, 0, 0, 255), (0, 0, 2, 4))
    expected = Image.new("RGB", (4, 4), "white")
    expected.paste((255, 0, 0), (0, 0, 2, 4))
    half.save(tmp_path / "a.png")
    half.quantize().save(tmp_path / "p.png")
    same(open_picture(tmp_path / "a.png"), expected)
    same(open_picture(tmp_path / "p.png"), expected)


def test_cmyk_and_sixteen_bits_become_rgb(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "deep.png")
    same(open_picture(tmp_path / "deep.png"), Image.fromarray((ramp / 257).astype(np.uint8)), tolerance=1)
    Image.new("CMYK", (9, 9), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=100)
    same(open_picture(tmp_path / "print.jpg"), Image.new("RGB", (9, 9), (255, 0, 0)), tolerance=2)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (65535, 255), (257 * 9, 9)])
def test_flat_sixteen_bits_keep_their_shade(value, expected):
    flat = Image.fromarray(np.full((3, 3), value, np.uint16))
    same(upright_rgb(flat), Image.new("L", (3, 3), expected))


def test_of_an_animation_the_first_frame_is_opened(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    for name in ("a.gif", "a.png", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        same(open_picture(tmp_path / name), frames[0], tolerance=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"this is no picture", "no picture"),
        (b"\xff\xd8\xff\xe0", r"."),
        (b"GIF89a", r"."),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), r"."),
        (b"BM" + bytes(60), r"."),
    ],
)
def test_what_is_no_picture_is_an_error_without_the_path(content, message, tmp_path):
    path = tmp_path / "secret-name.jpg"
    path.write_bytes(content)
    with pytest.raises((OSError, ValueError), match=message) as caught:
        open_picture(path)
    assert "secret" not in str(caught.value)


def outcome(path):
    try:
        return open_picture(path, max_pixels=10**6).size
    except (OSError, ValueError) as error:
        return str(error)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_every_cut_is_an_error_or_a_picture_and_nothing_else(form, tmp_path):
    buffer = io.BytesIO()
    noise().save(buffer, form)
    data = buffer.getvalue()
    found = []
    for length in range(0, len(data) - 1, max(len(data) // 60, 1)):
        (tmp_path / "cut").write_bytes(data[:length])
        found.append(outcome(tmp_path / "cut"))
    errors = [message for message in found if isinstance(message, str)]
    assert errors
    assert all(message and str(tmp_path) not in message for message in errors)
    assert {size for size in found if isinstance(size, tuple)} <= {(30, 20)}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
def test_flipped_bytes_are_an_error_or_a_picture_and_nothing_else(form, tmp_path):
    buffer = io.BytesIO()
    noise().save(buffer, form)
    generator = np.random.default_rng(0)
    for _ in range(80):
        data = np.frombuffer(buffer.getvalue(), np.uint8).copy()
        data[generator.integers(0, len(data), 4)] = generator.integers(0, 256, 4)
        (tmp_path / "flipped").write_bytes(data.tobytes())
        assert outcome(tmp_path / "flipped")


def test_missing_files_and_folders_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^no such file$"):
        open_picture(tmp_path / "gone.jpg")
    with pytest.raises(OSError, match=r"^Is a directory$"):
        open_picture(tmp_path)


@pytest.mark.parametrize("value", [None, 3, b"bytes", np.zeros((4, 4))])
def test_other_values_are_refused(value):
    with pytest.raises(ValueError, match="expected a path or a PIL image"):
        open_picture(value)


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path):
    Image.new("1", (8000, 8000)).save(tmp_path / "bomb.png")
    with pytest.raises(TooLargeError, match=r"expected at most 50,000,000 pixels, got 8000 x 8000; .*raise max_pixels"):
        open_picture(tmp_path / "bomb.png")
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    with pytest.raises(TooLargeError, match="more pixels than Pillow decodes"):
        open_picture(tmp_path / "bomb.png")
    with pytest.raises(ValueError, match="expected at most 100 pixels"):
        open_picture(noise(), max_pixels=100)


def test_a_jpeg_of_100_megapixels_is_decoded_at_a_fraction(tmp_path):
    Image.new("L", (10_000, 10_000), 200).save(tmp_path / "huge.jpg")
    picture = open_picture(tmp_path / "huge.jpg", side=896)
    assert picture.size == (1250, 1250)
    assert picture.getpixel((600, 600)) == (200, 200, 200)


def test_a_jpeg_of_common_size_is_decoded_in_full_unless_told_otherwise(tmp_path):
    noise(size=(300, 400)).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        same(open_picture(tmp_path / "a.jpg", side=10), image)
    assert open_picture(tmp_path / "a.jpg", side=64, draft_above=0).size == (100, 75)


def test_strips_are_cut_to_their_middle():
    strip = Image.new("RGB", (1000, 2), "red")
    strip.paste((0, 0, 255), (450, 0, 550, 2))
    same(middle(strip), Image.new("RGB", (100, 2), "blue"))
    same(middle(strip.transpose(Image.Transpose.ROTATE_90)), Image.new("RGB", (2, 100), "blue"))
    assert middle(noise()).size == (30, 20)
