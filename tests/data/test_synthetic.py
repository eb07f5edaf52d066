from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphrec.data import synthetic
from graphrec.data.dataset import concatenate
from graphrec.data.drawing import COLOURS, MATERIALS, PATTERNS, SHAPES, STYLES, TOPICS, VARIANTS, Look, describe
from graphrec.data.synthetic import generate
from graphrec.features.tables import feature_tables


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate(folder=tmp_path_factory.mktemp("pictures"))


def recall(scores, data, k=20):
    """Recall@k of every user with test items, training items masked."""
    scores = scores.astype(np.float64)
    scores[data.split.train.user, data.split.train.item] = -np.inf
    wanted = data.test.csr().toarray() > 0
    top = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    some = wanted.any(axis=1)
    return np.take_along_axis(wanted, top, axis=1).sum(axis=1)[some] / wanted.sum(axis=1)[some]


def ease(data, penalty):
    matrix = data.split.train.csr().toarray().astype(np.float64)
    inverse = np.linalg.inv(matrix.T @ matrix + penalty * np.eye(data.num_items))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return matrix @ weights


def all_scores(data):
    return data.truth.score(np.arange(data.num_users))


@pytest.mark.parametrize("size", [200, 2_000, 100_000])
def test_sizes_come_out_as_asked(size, tmp_path):
    data = generate(size, folder=tmp_path)
    counts = data.statistics()
    assert abs(counts["num_interactions"] - size) < 5 * size**0.5 + 0.01 * size
    assert counts["num_users"] == max(20, size // 20)
    assert min(counts["train"], counts["valid"], counts["test"]) > 0


def test_given_numbers_of_users_and_items_are_kept(tmp_path):
    data = generate(500, num_users=60, num_items=80, folder=tmp_path)
    assert (data.num_users, data.num_items) == (60, 80)
    assert all_scores(data).shape == (60, 80)


def test_the_seed_decides_everything_and_the_folder_nothing(tmp_path):
    first, second, other = (
        generate(1_000, seed=seed, folder=tmp_path / name) for seed, name in ((3, "a"), (3, "b"), (4, "c"))
    )
    assert first.fingerprint() == second.fingerprint() != other.fingerprint()
    assert first.test.fingerprint() == second.test.fingerprint()
    assert first.split.valid.fingerprint() == second.split.valid.fingerprint()
    np.testing.assert_array_equal(all_scores(first), all_scores(second))
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_size_of_the_blocks_changes_nothing(tmp_path, monkeypatch):
    whole = generate(1_000, folder=tmp_path)
    monkeypatch.setattr(synthetic, "CELLS", 1_000)
    blocks = generate(1_000, folder=tmp_path)
    assert whole.split.train.fingerprint() == blocks.split.train.fingerprint()
    np.testing.assert_allclose(all_scores(whole), all_scores(blocks), rtol=1e-5)


def test_without_a_folder_pictures_go_to_a_temporary_one(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    paths = [path for path in generate(200).items.values("image") if path is not None]
    assert {path.parent.parent for path in paths} == {tmp_path}
    assert paths[0].parent.name.startswith("graphrec-")


def test_shares_of_missing_and_cold_items(data):
    image, text = data.items.present("image"), data.items.present("text")
    assert (~image).sum() == (~text).sum() == round(0.1 * data.num_items)
    assert (image | text).all()
    cold = data.truth.cold
    assert cold.sum() == round(0.1 * data.num_items)
    assert not data.split.train.item_degree()[cold].any()
    valid, test = data.split.valid.item_degree()[cold].sum(), data.test.item_degree()[cold].sum()
    assert 0 < valid < test / 4


def test_warm_interactions_are_dealt_8_1_1(data):
    warm = ~data.truth.cold
    counts = np.array([part.item_degree()[warm].sum() for part in (data.split.train, data.split.valid, data.test)])
    np.testing.assert_allclose(counts / counts.sum(), [0.8, 0.1, 0.1], atol=0.01)


def test_no_shares_of_missing_or_cold_items(tmp_path):
    data = generate(500, missing=0, cold=0, folder=tmp_path)
    assert data.items.present("image").all()
    assert data.items.present("text").all()
    assert not data.truth.cold.any()


def test_pictures_exist_and_are_shared_by_items_that_look_the_same(data):
    paths = [path for path in data.items.values("image") if path is not None]
    assert data.items.missing_files("image") == []
    assert all(isinstance(path, Path) for path in paths)
    assert len(set(paths)) < len(paths)
    assert set(paths[0].parent.iterdir()) == set(paths)


def test_propensity_follows_the_formula(data):
    truth, users = data.truth, np.array([7, 3])
    for row, user in enumerate(users):
        weight = np.exp(truth.taste[user].astype(np.float64) @ truth.traits.T.astype(np.float64))
        share = (1 - truth.noise) * weight / (weight @ truth.popularity) + truth.noise
        expected = 1 - np.exp(-truth.activity[user] * truth.popularity * share)
        np.testing.assert_allclose(truth.propensity(users)[row], expected, rtol=1e-3)
        train, _, test = truth.shares.T
        np.testing.assert_allclose(truth.score(users)[row], expected * test / (1 - expected * train), rtol=1e-3)


def test_scores_are_the_frequencies_of_test_interactions_outside_training(data):
    scores = all_scores(data).astype(np.float64)
    outcome = data.test.csr().toarray() > 0
    free = data.split.train.csr().toarray() == 0
    for group in (data.truth.cold, ~data.truth.cold):
        score, hit = scores[:, group][free[:, group]], outcome[:, group][free[:, group]]
        order = np.argsort(score)
        tail = 40 * 2 ** np.arange(12)  # the most probable pairs one by one, the rest in ever larger bins
        for part in np.split(order, len(order) - tail[tail < len(order)][::-1]):
            expected, spread = score[part].sum(), (score[part] * (1 - score[part])).sum() ** 0.5
            assert abs(hit[part].sum() - expected) < 4 * spread


def test_expected_sizes_are_the_sums_of_the_propensities(data):
    everything = concatenate(concatenate(data.split.train, data.split.valid), data.test)
    expected = data.truth.propensity(np.arange(data.num_users)).sum(dtype=np.float64)
    assert abs(expected - 20_000) < 200
    assert abs(len(everything) - expected) < 4 * expected**0.5


def test_models_can_be_told_apart_and_none_beats_the_oracle(data):
    truth, users = data.truth, np.arange(data.num_users)
    halves = {
        name: np.log(truth.popularity) + truth.taste[:, part] @ truth.traits[:, part].T
        for name, part in truth.parts.items()
    }
    seen = np.tile(data.split.train.item_degree(), (data.num_users, 1))
    solved = ease(data, 200.0)
    popularity, behaviour = recall(seen, data).mean(), recall(solved, data).mean()
    known = np.where(truth.cold, -1, truth.score(users))
    ceiling = recall(all_scores(data), data)
    for rival in (seen, solved, *halves.values(), sum(halves.values()), known, truth.propensity(users)):
        gap = ceiling - recall(rival, data)
        assert gap.mean() > 2 * gap.std() / len(gap) ** 0.5
    assert 0.02 < popularity < 0.7 * behaviour
    assert behaviour < 0.6 * ceiling.mean()
    assert all(recall(half, data).mean() < 0.6 * ceiling.mean() for half in halves.values())


@pytest.mark.parametrize(("modality", "other"), [("image", "text"), ("text", "image")])
def test_a_modality_reveals_its_part_of_the_taste_and_nothing_of_the_other(data, modality, other):
    table = feature_tables(data)[modality]
    traits = data.truth.traits[table.rows]
    fit, held = np.arange(len(traits)) % 4 > 0, np.arange(len(traits)) % 4 == 0
    features = np.column_stack([table.values, np.ones(len(traits))]).astype(np.float64)
    explained = {}
    for name in (modality, other):
        wanted = traits[:, data.truth.parts[name]].astype(np.float64)
        gram = features[fit].T @ features[fit] + 0.01 * np.eye(features.shape[1])
        guess = features[held] @ np.linalg.solve(gram, features[fit].T @ wanted[fit])
        explained[name] = 1 - ((guess - wanted[held]) ** 2).sum() / ((wanted[held] - wanted[fit].mean(0)) ** 2).sum()
    assert explained[modality] > 0.85
    assert explained[other] < 0.05


def test_users_rows_may_come_in_any_order_and_number(data):
    scores = all_scores(data)
    np.testing.assert_allclose(data.truth.score([5, 5, 0]), scores[[5, 5, 0]], rtol=1e-5)
    assert data.truth.score(np.zeros(0, np.int64)).shape == (0, data.num_items)


def test_the_exchange_argument_on_a_small_case():
    """Sorting by the conditional probability maximises expected Recall and NDCG: all subsets, all rankings."""
    from itertools import permutations, product

    probability = np.array([0.6, 0.15, 0.4, 0.3])
    discount = 1 / np.log2(np.arange(2, 6))
    subsets = [np.array(bits) for bits in product((0, 1), repeat=4) if any(bits)]
    chances = [np.prod(np.where(bits, probability, 1 - probability)) for bits in subsets]

    def expected(ranking):
        gains = [bits[list(ranking)] for bits in subsets]
        recalls = [gain[:2].sum() / gain.sum() for gain in gains]
        ndcgs = [gain @ discount / discount[: gain.sum()].sum() for gain in gains]
        return np.dot(chances, recalls), np.dot(chances, ndcgs)

    best = expected(tuple(np.argsort(-probability)))
    for ranking in permutations(range(4)):
        assert np.all(np.array(expected(ranking)) <= np.array(best) + 1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_interactions": 199}, "at least 200 interactions, got 199"),
        ({"num_interactions": 1_000, "num_users": 10, "num_items": 10}, "quarter of all pairs.*10 users x 10 items"),
        ({"num_interactions": 1_000, "num_users": 0}, "quarter of all pairs"),
        ({"cold": 0.9}, r"cold in \[0, 0.5\], got 0.9"),
        ({"missing": -0.1}, r"missing in \[0, 0.5\], got -0.1"),
        ({"noise": 2.0}, r"noise in \[0, 0.5\], got 2.0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(**arguments)


def test_more_taste_means_a_higher_ceiling_and_noise_a_lower_one(tmp_path):
    def ceiling(**settings):
        return recall(all_scores(data := generate(2_000, folder=tmp_path, **settings)), data).mean()

    assert ceiling(taste=0.2) < ceiling(taste=1.4) < ceiling(taste=2.5)
    assert ceiling(noise=0.5) < ceiling(noise=0.0)


def test_every_look_is_a_picture_of_its_own():
    looks = [
        Look(colour, shape, pattern, variant)
        for colour in COLOURS
        for shape in SHAPES
        for pattern in PATTERNS
        for variant in range(0, len(VARIANTS), 3)
    ]
    pictures = {look.draw().tobytes() for look in looks}
    assert len(pictures) == len({look.file_name for look in looks}) == len(looks)


def test_a_picture_shows_its_colour(tmp_path):
    with Image.open(Look("red", "square", "plain", 0).save(tmp_path)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (48, 48))
        assert picture.getpixel((24, 24)) == COLOURS["red"]
        assert picture.getpixel((0, 0)) == (VARIANTS[0][2],) * 3


def test_descriptions_tell_all_of_the_words_part_and_nothing_of_the_look():
    rng = np.random.default_rng(0)
    seen = {*COLOURS, *SHAPES, *PATTERNS}
    for topic, topics in TOPICS.items():
        for material, materials in MATERIALS.items():
            for style, styles in STYLES.items():
                text = describe(topic, material, style, rng).lower()
                assert sum(word in text for word in topics) == 2
                assert sum(word in text for word in materials) == 2
                assert sum(word in text for word in styles) == 1
                assert not seen & set(text.replace(",", " ").replace(".", " ").split())


def test_the_truth_of_a_cold_item_counts_its_share_of_test(data):
    truth = data.truth
    warm = replace(truth, shares=np.tile(np.float32([0.8, 0.1, 0.1]), (data.num_items, 1)))
    assert (truth.score([0])[:, truth.cold] > warm.score([0])[:, truth.cold]).all()
