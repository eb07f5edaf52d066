"""The light text encoder: TF-IDF and a truncated singular value decomposition. Needs no weights and no network."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field, model_validator

from graphrec.config import Config
from graphrec.features.encoder import Kind


class LightTextEncoder(Config):
    """Latent semantic analysis: words weighted by TF-IDF, reduced by SVD to unit vectors.

    Texts are normalised (Unicode NFKC, case folded). The vocabulary is learned from the texts that are encoded, so the
    vectors of two calls are not comparable. A text without any known term carries no information: its vector is zero,
    at cosine 0 from every other. Where there are fewer texts or terms than ``dim``, the vectors are shorter.

    Paper: Deerwester et al., *Indexing by latent semantic analysis*, JASIS 1990.

    Args:
        dim: The largest length of a vector.
        analyzer: What a term is: ``"word"``, or ``"char_wb"``, characters within words, for scripts without spaces.
        ngrams: The shortest and the longest term, in words or characters.
        min_df: Terms in fewer texts than this are left out.
        max_features: The most frequent terms are kept up to this number.
        seed: Where the solver starts.
    """

    kind: ClassVar[Kind] = "text"

    dim: int = Field(default=64, ge=1)
    analyzer: Literal["word", "char_wb"] = "word"
    ngrams: tuple[int, int] = (1, 1)
    min_df: int = Field(default=1, ge=1)
    max_features: int = Field(default=50_000, ge=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check_ngrams(self) -> LightTextEncoder:
        if not 1 <= self.ngrams[0] <= self.ngrams[1]:
            raise ValueError(f"expected ngrams (shortest, longest) with 1 <= shortest <= longest, got {self.ngrams}")
        return self

    @property
    def name(self) -> str:
        """The encoder with all its settings."""
        return f"light-text({', '.join(f'{key}={value!r}' for key, value in self)})"

    def encode(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Returns one unit vector per text ``(len(values), at most dim)``; equal texts get equal vectors.

        Raises:
            TypeError: If a value is no string.
            ValueError: If there are no texts, or no text has a term.
        """
        terms = self._tfidf(_normalised(values))
        return _unit_rows(terms @ self._directions(terms)).astype(np.float32)

    def _tfidf(self, texts: list[str]) -> sp.csr_array:
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(
            analyzer=self.analyzer,
            ngram_range=self.ngrams,
            min_df=min(self.min_df, len(texts)),
            max_features=self.max_features,
            token_pattern=r"(?u)\b\w+\b" if self.analyzer == "word" else None,
            lowercase=False,
            sublinear_tf=True,
        )
        try:
            return sp.csr_array(vectorizer.fit_transform(texts))
        except ValueError as error:
            raise ValueError(
                f"expected texts with terms in at least {self.min_df} of them, got none in {len(texts)} text(s), "
                f"e.g. {texts[0][:40]!r}; lower min_df, or leave such texts out to mark them as absent"
            ) from error

    def _directions(self, terms: sp.csr_array) -> NDArray[np.float64]:
        """Returns the leading right singular vectors as columns ``(num_terms, at most dim)``, signs fixed."""
        from scipy.sparse.linalg import svds

        if min(terms.shape) <= self.dim:
            _, singular, rows = np.linalg.svd(terms.toarray(), full_matrices=False)
        else:
            _, singular, rows = svds(terms, k=self.dim, rng=np.random.default_rng(self.seed))
            singular, rows = singular[::-1], rows[::-1]
        rows = rows[singular > 1e-6 * singular[0]]
        largest = np.abs(rows).argmax(axis=1)
        return (rows * np.sign(rows[np.arange(len(rows)), largest])[:, None]).T


def _normalised(values: Sequence[Any]) -> list[str]:
    if not len(values):
        raise ValueError("expected texts to encode, got none")
    wrong = [value for value in values if not isinstance(value, str)]
    if wrong:
        raise TypeError(f"expected texts, got {wrong[0]!r}; leave absent values out")
    return [unicodedata.normalize("NFKC", value).casefold() for value in values]


def _unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-9)
