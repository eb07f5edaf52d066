"""Corrections of p-values for the number of comparisons made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphrec.config import ConfigError, unknown_name

FloatArray = NDArray[np.float64]


def holm(p_values: ArrayLike) -> FloatArray:
    """Returns p-values corrected for their number, in the given order (Holm 1979, https://www.jstor.org/stable/4615733).

    Sorted upwards, the i-th of m is multiplied by ``m - i + 1`` and never falls below its predecessor; comparing the
    results with 0.05 keeps the chance of any false claim among them below 5 %.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]

    Args:
        p_values: One per comparison ``(num_comparisons,)``.

    Raises:
        ValueError: If a value is not between 0 and 1.
    """
    p, order = _sorted(p_values)
    return _restored(np.maximum.accumulate(p * np.arange(len(p), 0, -1)), order)


def benjamini_hochberg(p_values: ArrayLike) -> FloatArray:
    """Returns p-values that hold the false discovery rate, in the given order (https://www.jstor.org/stable/2346101).

    Sorted upwards, the i-th of m is multiplied by ``m / i`` and never exceeds its successor; comparing the results with
    0.05 keeps the expected share of false claims among the claims below 5 %, a weaker promise than Holm's.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.04, 0.04]

    Args:
        p_values: One per comparison ``(num_comparisons,)``, independent or positively dependent.

    Raises:
        ValueError: If a value is not between 0 and 1.
    """
    p, order = _sorted(p_values)
    scaled = p * len(p) / np.arange(1, len(p) + 1)
    return _restored(np.minimum.accumulate(scaled[::-1])[::-1], order)


CORRECTIONS: Mapping[str, Callable[[ArrayLike], FloatArray]] = MappingProxyType(
    {"holm": holm, "bh": benjamini_hochberg}
)
CORRECTION_NAMES: Mapping[str, str] = MappingProxyType({"holm": "Holm", "bh": "Benjamini–Hochberg"})


def corrected(p_values: ArrayLike, correction: str = "holm") -> FloatArray:
    """Returns corrected p-values in the given order.

    Args:
        p_values: One per comparison ``(num_comparisons,)``.
        correction: A key of ``CORRECTIONS``.

    Raises:
        ConfigError: If the correction is unknown.
        ValueError: If a value is not between 0 and 1.
    """
    if correction not in CORRECTIONS:
        raise ConfigError(unknown_name(correction, CORRECTIONS, kind="correction"))
    return CORRECTIONS[correction](p_values)


def _sorted(p_values: ArrayLike) -> tuple[FloatArray, NDArray[np.intp]]:
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"expected p-values between 0 and 1, got {p_values!r}")
    order = np.argsort(p, kind="stable")
    return p[order], order


def _restored(adjusted: FloatArray, order: NDArray[np.intp]) -> FloatArray:
    restored = np.empty_like(adjusted)
    restored[order] = np.minimum(adjusted, 1.0)
    return restored
