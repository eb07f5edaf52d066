import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from graphrec.config import ConfigError
from graphrec.features.encoder import Encoder
from graphrec.features.text import LightTextEncoder

GOODS = ["oak", "walnut", "steel", "brass", "linen", "cotton", "garden"]
WORDS = [*GOODS, "kitchen", "music", "travel", "classic", "modern", "rugged", "office"]


def sentences(count, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(2, 7))) for _ in range(count)]


def similarity(vectors):
    return vectors.astype(np.float64) @ vectors.T.astype(np.float64)


def test_it_is_an_encoder_whose_name_holds_every_setting():
    encoder = LightTextEncoder()
    assert isinstance(encoder, Encoder)
    assert all(field in encoder.name for field in LightTextEncoder.model_fields)
    names = {LightTextEncoder.parse(change).name for change in ({}, {"dim": 8}, {"ngrams": [1, 2]}, {"min_df": 2})}
    assert len(names) == 4


def test_with_all_dimensions_cosines_are_those_of_tfidf():
    texts = sentences(40)
    vectors = LightTextEncoder(dim=len(WORDS)).encode(texts)
    reference = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b").fit_transform(texts).toarray()
    np.testing.assert_allclose(similarity(vectors), reference @ reference.T, atol=1e-5)


def test_fewer_dimensions_are_the_best_approximation_of_that_rank():
    texts = sentences(60)
    reference = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b").fit_transform(texts).toarray()
    _, _, directions = np.linalg.svd(reference, full_matrices=False)
    reduced = reference @ directions[:5].T
    reduced /= np.linalg.norm(reduced, axis=1, keepdims=True)
    vectors = LightTextEncoder(dim=5).encode(texts)
    assert vectors.shape == (60, 5)
    np.testing.assert_allclose(similarity(vectors), reduced @ reduced.T, atol=1e-5)


def test_vectors_are_finite_float32_of_unit_length_and_the_same_every_time():
    first, second = (LightTextEncoder(dim=6).encode(sentences(50)) for _ in range(2))
    assert first.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("dim", [5, 64])
def test_the_order_of_the_texts_permutes_the_vectors(dim):
    texts, order = sentences(50), np.random.default_rng(1).permutation(50)
    vectors = LightTextEncoder(dim=dim).encode(texts)
    shuffled = LightTextEncoder(dim=dim).encode([texts[row] for row in order])
    np.testing.assert_allclose(shuffled, vectors[order], atol=1e-4)


@pytest.mark.parametrize("dim", [5, 64])
def test_equal_texts_get_equal_vectors(dim):
    texts = [*sentences(30), "Oak garden", "oak GARDEN", "Oak garden"]
    vectors = LightTextEncoder(dim=dim).encode(texts)
    np.testing.assert_array_equal(vectors[-1], vectors[-3])
    np.testing.assert_array_equal(vectors[-2], vectors[-3])


def test_texts_on_the_same_subject_are_nearer():
    texts = [
        "oak timber table",
        "table of oak",
        "timber and oak",
        "brass horn music",
        "music for horn",
        "horn of brass",
    ]
    near = similarity(LightTextEncoder(dim=2).encode(texts))
    assert near[:3, :3].min() > near[:3, 3:].max() + 0.5


@pytest.mark.parametrize("texts", [["one text only"], ["word"], ["same", "same", "same"], ["a", "b"]])
def test_few_texts_or_terms_give_shorter_vectors(texts):
    vectors = LightTextEncoder(dim=8).encode(texts)
    assert vectors.shape == (len(texts), len(set(texts)))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


def test_a_text_without_terms_has_the_vector_zero():
    vectors = LightTextEncoder().encode(["oak table", "…!?", "steel table"])
    assert not vectors[1].any()
    assert vectors[[0, 2]].any(axis=1).all()


def test_texts_without_any_terms_are_refused():
    with pytest.raises(ValueError, match=r"got none in 2 text\(s\), e.g. '\?\?'; lower min_df, or leave"):
        LightTextEncoder().encode(["??", "!"])


def test_terms_below_min_df_are_left_out_and_one_text_still_works():
    vectors = LightTextEncoder(min_df=2).encode(["oak a", "oak b", "oak c"])
    np.testing.assert_allclose(vectors, np.ones((3, 1)), rtol=1e-6)
    assert LightTextEncoder(min_df=2).encode(["oak"]).shape == (1, 1)
    with pytest.raises(ValueError, match="at least 2 of them"):
        LightTextEncoder(min_df=2).encode(["oak", "elm"])


def test_unicode_forms_and_cases_of_a_word_are_one_word():
    vectors = LightTextEncoder().encode(["Café", "CAFE\u0301", "ｃａｆé", "Straße", "STRASSE", "東京", "кофе"])
    near = similarity(vectors)
    np.testing.assert_allclose(near[:3, :3], 1, atol=1e-6)
    assert near[3, 4] == pytest.approx(1)
    assert np.abs(near[5, [0, 3, 6]]).max() < 1e-6


def test_characters_find_related_words_in_scripts_without_spaces():
    vectors = LightTextEncoder(analyzer="char_wb", ngrams=(1, 2)).encode(["東京タワー", "東京駅", "大阪城"])
    near = similarity(vectors)
    assert near[0, 1] > near[0, 2] + 0.1


@settings(deadline=None, max_examples=20)
@given(st.lists(st.text(max_size=30), max_size=8), st.integers(1, 5))
def test_any_text_gives_finite_vectors(texts, dim):
    vectors = LightTextEncoder(dim=dim).encode(["oak", *texts])
    assert vectors.shape[0] == len(texts) + 1
    assert 1 <= vectors.shape[1] <= dim
    length = np.linalg.norm(vectors, axis=1)
    assert np.all((np.abs(length - 1) < 1e-5) | (length == 0))


@pytest.mark.parametrize("value", [None, 3, b"bytes"])
def test_values_that_are_no_text_are_refused(value):
    with pytest.raises(TypeError, match="expected texts, got"):
        LightTextEncoder().encode(["oak", value])


def test_no_texts_are_refused():
    with pytest.raises(ValueError, match="got none"):
        LightTextEncoder().encode([])


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="shortest <= longest"):
        LightTextEncoder.parse({"ngrams": (2, 1)})
    with pytest.raises(ConfigError, match="did you mean 'min_df'"):
        LightTextEncoder.parse({"mindf": 1})
