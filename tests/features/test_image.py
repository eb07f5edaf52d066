import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphrec.data.drawing import COLOURS, PATTERNS, SHAPES, Look
from graphrec.features import image as module
from graphrec.features.encoder import Encoder, UnreadableError
from graphrec.features.image import LightImageEncoder, image_statistics
from graphrec.runtime import data_root

LOOKS = [Look(colour, shape, pattern, 3) for colour in COLOURS for shape in SHAPES for pattern in PATTERNS]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("looks")
    return [look.save(folder) for look in LOOKS]


def noise(seed, size=(20, 30), channels=3):
    values = np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype=np.uint8)
    return Image.fromarray(values[..., 0] if channels == 1 else values)


def test_it_is_an_encoder_whose_name_holds_every_setting():
    assert isinstance(LightImageEncoder(), Encoder)
    assert LightImageEncoder(dim=8).name == "light-image(dim=8)"


def test_vectors_are_finite_float32_of_unit_length_and_the_same_every_time(paths):
    first, second = (LightImageEncoder(dim=16).encode(paths) for _ in range(2))
    assert first.shape == (len(paths), 16)
    assert first.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(first, second)


def test_paths_strings_and_pictures_are_the_same_to_it(paths):
    expected = LightImageEncoder().encode(paths[:20])
    np.testing.assert_array_equal(LightImageEncoder().encode([str(path) for path in paths[:20]]), expected)
    np.testing.assert_allclose(LightImageEncoder().encode([look.draw() for look in LOOKS[:20]]), expected, atol=1e-6)


def test_the_order_of_the_pictures_permutes_the_vectors(paths):
    order = np.random.default_rng(0).permutation(len(paths))
    vectors = LightImageEncoder(dim=16).encode(paths)
    np.testing.assert_allclose(LightImageEncoder(dim=16).encode([paths[k] for k in order]), vectors[order], atol=1e-4)


def test_the_reduction_is_pca_of_the_standardised_statistics(paths):
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    statistics = np.stack([image_statistics(look.draw()) for look in LOOKS]).astype(np.float64)
    sizes = (20, 128, 192)
    weights = np.concatenate([np.full(size, size**-0.5) for size in sizes])
    expected = PCA(8, svd_solver="full").fit_transform(StandardScaler().fit_transform(statistics) * weights)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    vectors = LightImageEncoder(dim=8).encode(paths)
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-4)


def test_identical_inputs_are_looked_at_once_and_get_equal_vectors(paths, tmp_path, monkeypatch):
    copy = Path(shutil.copy(paths[0], tmp_path / "copy.png"))
    calls = []
    original = module.image_statistics
    monkeypatch.setattr(module, "image_statistics", lambda picture: calls.append(1) or original(picture))
    vectors = LightImageEncoder().encode([paths[0], paths[1], paths[0], str(paths[1]), copy, paths[2]])
    assert len(calls) == 3
    np.testing.assert_array_equal(vectors[[2, 4]], vectors[[0, 0]])
    np.testing.assert_array_equal(vectors[3], vectors[1])


def test_repeats_do_not_move_the_vectors_of_the_others(paths):
    once = LightImageEncoder().encode(paths[:10])
    again = LightImageEncoder().encode([*paths[:10], *[paths[4]] * 50])
    np.testing.assert_array_equal(again[:10], once)


def test_pictures_differ_by_colour_shape_and_pattern():
    for first, second in (
        (Look("red", "star", "plain", 3), Look("blue", "star", "plain", 3)),
        (Look("red", "star", "plain", 3), Look("red", "ring", "plain", 3)),
        (Look("red", "star", "plain", 3), Look("red", "star", "stripes", 3)),
    ):
        assert np.abs(image_statistics(first.draw()) - image_statistics(second.draw())).max() > 0.05


def test_a_colour_fills_its_bins():
    statistics = image_statistics(Image.new("RGB", (10, 10), (255, 0, 0)))
    hues, saturation, value = statistics[:12], statistics[12:16], statistics[16:20]
    np.testing.assert_allclose(hues, np.eye(12)[0], atol=1e-6)
    np.testing.assert_allclose(saturation, [0, 0, 0, 1])
    np.testing.assert_allclose(value, [0, 0, 0, 1])
    np.testing.assert_allclose(statistics[20:148], 0)
    np.testing.assert_allclose(statistics[148:].reshape(64, 3), np.tile([1, 0, 0], (64, 1)))


def test_vertical_and_horizontal_edges_fall_into_different_bins():
    board = np.zeros((64, 64), np.uint8)
    board[:, 32:] = 255
    upright = image_statistics(Image.fromarray(board))[20:148].reshape(16, 8).sum(axis=0)
    lying = image_statistics(Image.fromarray(board.T.copy()))[20:148].reshape(16, 8).sum(axis=0)
    assert upright.argmax() == 0
    assert lying.argmax() == 4
    assert np.count_nonzero(upright) == np.count_nonzero(lying) == 1


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"]
)
@pytest.mark.parametrize("size", [(1, 1), (1, 200), (31, 17)])
def test_every_mode_and_size_gives_finite_statistics(mode, size):
    grey = noise(1, size, 1)
    picture = grey.convert("I").convert(mode) if mode in ("F", "I;16") else noise(1, size).convert(mode)
    statistics = image_statistics(picture)
    assert statistics.shape == (340,)
    assert np.isfinite(statistics).all()


def test_modes_of_the_same_picture_agree():
    picture = Look("green", "circle", "checks", 1).draw()
    expected = image_statistics(picture)
    for same in (
        picture.convert("RGBA"),
        picture.convert("P", palette=Image.Palette.ADAPTIVE),
        picture.convert("CMYK"),
    ):
        np.testing.assert_allclose(image_statistics(same), expected, atol=0.02)


def test_sixteen_bits_keep_their_contrast():
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    expected = image_statistics(Image.fromarray((ramp / 257).astype(np.uint8)))
    np.testing.assert_allclose(image_statistics(Image.fromarray(ramp.astype(np.uint16))), expected, atol=0.03)


def test_transparent_pixels_count_as_white():
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    white = image_statistics(Image.new("RGB", (20, 20), "white"))
    np.testing.assert_array_equal(image_statistics(clear), white)
    palette = Image.new("P", (20, 20), 0)
    palette.putpalette([255, 0, 0] * 256)
    palette.info["transparency"] = 0
    np.testing.assert_array_equal(image_statistics(palette), white)


def test_pictures_are_turned_upright(tmp_path):
    picture = noise(2, (40, 40))
    turned, exif = picture.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as reread:
        np.testing.assert_array_equal(image_statistics(reread), image_statistics(picture))


def test_a_large_jpeg_is_much_like_its_small_version(tmp_path):
    small = Look("blue", "cross", "plain", 1).draw()
    small.resize((1200, 1200), Image.Resampling.BICUBIC).save(tmp_path / "large.jpg", quality=95)
    small.save(tmp_path / "small.png")
    with Image.open(tmp_path / "small.png") as picture:
        expected = image_statistics(picture)
    measured, _ = module._distinct_statistics([tmp_path / "large.jpg"])
    np.testing.assert_allclose(measured[0, :20], expected[:20], atol=0.05)
    np.testing.assert_allclose(measured[0, 148:], expected[148:], atol=0.1)


def test_one_picture_or_equal_pictures_have_the_vector_zero():
    assert LightImageEncoder().encode([noise(0)]).tolist() == [[0.0]]
    vectors = LightImageEncoder().encode([noise(0), noise(0), noise(0)])
    assert vectors.shape == (3, 1)
    assert not vectors.any()


def test_few_pictures_give_shorter_vectors():
    assert LightImageEncoder(dim=64).encode([noise(seed) for seed in range(5)]).shape == (5, 4)


def test_unreadable_files_are_all_named_by_position(paths, tmp_path):
    broken, cut, empty, gone = (tmp_path / name for name in ("broken.png", "cut.png", "empty.png", "gone.png"))
    broken.write_text("this is no picture")
    cut.write_bytes(paths[0].read_bytes()[:100])
    empty.write_bytes(b"")
    with pytest.raises(UnreadableError, match=r"got 6 that cannot be read: .*broken\.png.*and 3 more") as caught:
        LightImageEncoder().encode([paths[0], broken, cut, paths[1], empty, gone, broken, tmp_path])
    assert sorted(caught.value.reasons) == [1, 2, 4, 5, 6, 7]
    assert "no such file" in caught.value.reasons[5]
    assert all(
        name in caught.value.reasons[at] for at, name in ((1, "broken"), (2, "cut"), (4, "empty"), (6, "broken"))
    )


@pytest.mark.parametrize("value", [None, 3, np.zeros((4, 4))])
def test_values_that_are_no_picture_are_refused(value):
    with pytest.raises(TypeError, match="expected a path or a PIL image"):
        LightImageEncoder().encode([value])


def test_no_pictures_are_refused():
    with pytest.raises(ValueError, match="got none"):
        LightImageEncoder().encode([])


@pytest.mark.data
def test_real_posters_are_encoded():
    posters = sorted((data_root() / "ml-100k" / "posters").glob("*.jpg"))[:100]
    if not posters:
        pytest.skip("needs the posters of ml-100k under GRAPHREC_DATA")
    vectors = LightImageEncoder().encode(posters)
    assert vectors.shape == (100, 64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
