"""Encoders of places, categories and numbers: columns that need no pretrained weights."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from graphrec.config import Config
from graphrec.features.encoder import UnreadableError

T = TypeVar("T")
EARTH_RADIUS = 6371.0  # kilometres, the mean
LINEAR = 0.25  # the weight of the plain unit vector among the features of a place


class PlaceEncoder(Config):
    r"""Latitude and longitude as smooth coordinates: nearby places have a high cosine, distant ones a low one.

    A place is the unit vector :math:`x` of its direction from the centre of the Earth, so the date line and the poles
    are places like any others. Beside :math:`x` itself stand random Fourier features at several length scales, whose
    inner products approximate Gaussian kernels of the straight distance, averaged over the scales :math:`\sigma`:

    .. math:: \langle v(x), v(y) \rangle \approx \tfrac14 \langle x, y \rangle
              + \tfrac34 \operatorname{mean}_\sigma \exp(-\|x - y\|^2 / 2 \sigma^2)

    Vectors have unit length and depend on the place and the settings alone, so two calls are comparable.

    Papers: Rahimi and Recht, `"Random Features for Large-Scale Kernel Machines"
    <https://papers.nips.cc/paper/3182-random-features-for-large-scale-kernel-machines>`_, 2007, the features;
    Mai et al., `"Multi-Scale Representation Learning for Spatial Feature Distributions using Grid Cells"
    <https://arxiv.org/abs/2003.00824>`_, 2020, several scales. Differs from the latter: nothing is learned.

    Args:
        dim: The largest length of a vector: three coordinates, and a sine and a cosine per frequency.
        scales: The length scales in kilometres; each gets the same number of frequencies, give or take one.
        seed: Where the frequencies are drawn from.
    """

    dim: int = Field(default=64, ge=5)
    scales: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(20.0, 200.0, 2000.0), min_length=1)
    seed: int = Field(default=0, ge=0)

    @property
    def name(self) -> str:
        """The encoder with all its settings."""
        return _name("place", self)

    def encode(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Returns one unit vector per place ``(len(values), dim)``, of length ``dim - 1`` where ``dim`` is even.

        Args:
            values: Degrees of latitude (north) and longitude (east): pairs ``(lat, lon)``, or texts ``"lat, lon"``.

        Raises:
            UnreadableError: If values are no pairs, or out of range; a longitude may reach from -180 to 360.
            ValueError: If there are no values.
        """
        degrees = np.array(_each(values, _degrees, "places"))
        points = _directions(degrees)
        angles = points @ self._frequencies().T
        waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / np.sqrt(angles.shape[1])
        return np.concatenate([LINEAR**0.5 * points, (1 - LINEAR) ** 0.5 * waves], axis=1).astype(np.float32)

    def _frequencies(self) -> NDArray[np.float64]:
        """Returns the frequencies ``((dim - 3) // 2, 3)``, scale by scale in turn."""
        count = (self.dim - 3) // 2
        scales = np.resize(np.array(self.scales) / EARTH_RADIUS, count)
        return np.random.default_rng(self.seed).standard_normal((count, 3)) / scales[:, None]


class CategoricalEncoder(Config):
    """Multi-hot vectors over the most frequent categories of a column, of unit length.

    The categories are learned from the values that are encoded, so the vectors of two calls are not comparable. A value
    without any kept category has the vector zero, at cosine 0 from every other.

    Args:
        dim: The most categories that are kept: the most frequent ones, of equally frequent ones the first by name.
        min_count: Categories of fewer values than this are left out.
        separators: The characters that part the categories of a text, as in ``"Drama|Comedy"``; none for ``""``.
        idf: Whether a category is weighted by ``log(num_values / count) + 1``, so that rare ones weigh more.
    """

    dim: int = Field(default=64, ge=1)
    min_count: int = Field(default=1, ge=1)
    separators: str = "|,;"
    idf: bool = False

    @property
    def name(self) -> str:
        """The encoder with all its settings."""
        return _name("categorical", self)

    def encode(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Returns one unit vector per value ``(len(values), number of kept categories)``, the most frequent first.

        Args:
            values: Texts, numbers, or lists of these; an entry of a list is one category, whatever it holds. Case
                and surrounding space do not matter.

        Raises:
            UnreadableError: If values are anything else.
            ValueError: If there are no values, or no category is frequent enough.
        """
        rows = _each(values, self._categories, "categories")
        counts = self._kept(rows)
        column = {category: at for at, category in enumerate(counts)}
        hot = np.zeros((len(rows), len(column)))
        for row, categories in enumerate(rows):
            hot[row, [column[category] for category in categories if category in column]] = 1
        if self.idf:
            hot *= np.log(len(rows) / np.array(list(counts.values()))) + 1
        length = np.linalg.norm(hot, axis=1, keepdims=True)
        return np.divide(hot, length, out=np.zeros_like(hot), where=length > 0).astype(np.float32)

    def _kept(self, rows: Iterable[Iterable[str]]) -> dict[str, int]:
        """Returns the categories that are kept and how many rows have them, in the order of the vectors' entries."""
        counts = Counter(category for row in rows for category in set(row))
        ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        kept = {category: count for category, count in ranked[: self.dim] if count >= self.min_count}
        if not kept:
            raise ValueError(
                f"expected categories of at least {self.min_count} value(s), got {len(counts)} category(s), the most "
                f"frequent of {ranked[0][1] if ranked else 0}; lower min_count, or leave out values without categories"
            )
        return kept

    def _categories(self, value: Any) -> set[str]:
        if isinstance(value, list | tuple | set | frozenset | np.ndarray):
            parts = [_category(entry) for entry in value]
        elif isinstance(value, str) and self.separators:
            parts = [_category(part) for part in re.split(f"[{re.escape(self.separators)}]", value)]
        else:
            parts = [_category(value)]
        return {part for part in parts if part}


class NumericEncoder(Config):
    r"""Standardised numbers: every column at mean 0 and spread 1; a constant column is 0.

    Mean and spread are learned from the values that are encoded, so the vectors of two calls are not comparable. Rows
    are not brought to unit length, and the cosine of two rows of a single column only says whether both lie on the same
    side of the mean. Where neighbours by cosine are wanted, as of ages, ``waves`` write a number :math:`z` as cosines
    and sines instead, at frequencies :math:`\omega` that are quantiles of a normal distribution, so that near numbers
    have a high cosine:

    .. math:: \langle v(z), v(w) \rangle = \operatorname{mean}_\omega \cos(\omega (z - w)) \approx \exp(-(z - w)^2 / 2)

    Paper: Rahimi and Recht, `"Random Features for Large-Scale Kernel Machines"
    <https://papers.nips.cc/paper/3182-random-features-for-large-scale-kernel-machines>`_, 2007. Differs from the paper:
    the frequencies are not drawn.

    Args:
        dim: The longest vector that is accepted.
        log: Whether ``sign(x) log(1 + |x|)`` is standardised instead of ``x``, for skewed numbers such as prices.
        waves: The frequencies per column; 0 for the standardised number itself. Rows then have unit length.
    """

    dim: int = Field(default=64, ge=1)
    log: bool = False
    waves: int = Field(default=0, ge=0)

    @property
    def name(self) -> str:
        """The encoder with all its settings."""
        return _name("numeric", self)

    def encode(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Returns the standardised numbers ``(len(values), num_columns)``, or ``2 * waves`` entries per column.

        Args:
            values: Numbers or texts of them, or lists of these, one entry per column; an absent entry (``None`` or NaN)
                of a list is 0, the mean of its column, and has no waves.

        Raises:
            UnreadableError: If values are no finite numbers, or have another number of columns than the first.
            ValueError: If there are no values, or ``dim`` is too small for their columns.
        """
        rows = _each(values, _numbers, "numbers")
        wrong = {
            at: f"expected {len(rows[0])} number(s) as in the first value, got {len(row)}"
            for at, row in enumerate(rows)
            if len(row) != len(rows[0])
        }
        if wrong:
            raise UnreadableError(wrong)
        if (needed := len(rows[0]) * max(2 * self.waves, 1)) > self.dim:
            raise ValueError(f"expected vectors of at most dim={self.dim}, got {len(rows[0])} column(s): dim={needed}")
        numbers = np.array(rows)
        standard = _standardised(np.sign(numbers) * np.log1p(np.abs(numbers)) if self.log else numbers)
        return (_waves(standard, ~np.isnan(numbers), self.waves) if self.waves else standard).astype(np.float32)


def _name(kind: str, settings: Config) -> str:
    return f"{kind}({', '.join(f'{key}={value!r}' for key, value in settings)})"


def _each(values: Sequence[Any], read: Callable[[Any], T], what: str) -> list[T]:
    """Reads every value; those that cannot be read are all named by position."""
    if not len(values):
        raise ValueError(f"expected {what} to encode, got none")
    read_values, wrong = [], {}
    for at, value in enumerate(values):
        try:
            read_values.append(read(value))
        except (TypeError, ValueError, OverflowError) as error:
            wrong[at] = f"{_shown(value)} ({error})"
    if wrong:
        raise UnreadableError(wrong)
    return read_values


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _degrees(value: Any) -> tuple[float, float]:
    parts = re.split(r"\s*[,;]\s*|\s+", value.strip(" ()[]")) if isinstance(value, str) else value
    if isinstance(parts, Mapping) or len(parts) != 2:
        raise ValueError("expected latitude and longitude")
    if parts[0] is None or parts[1] is None:
        raise ValueError(f"expected latitude and longitude, got no {'latitude' if parts[0] is None else 'longitude'}")
    latitude, longitude = (float(part) for part in parts)
    if not -90 <= latitude <= 90:
        raise ValueError("expected a latitude from -90 to 90 degrees")
    if not -180 <= longitude <= 360:
        raise ValueError("expected a longitude from -180 to 180 degrees, or from 0 to 360")
    return latitude, longitude


def _directions(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the unit vectors of latitudes and longitudes ``(num_places, 3)``."""
    latitude, longitude = np.radians(degrees).T
    across = np.cos(latitude)
    return np.stack([across * np.cos(longitude), across * np.sin(longitude), np.sin(latitude)], axis=1)


def _category(value: Any) -> str:
    if isinstance(value, bytes) or not isinstance(value, str | bool | int | float | np.generic):
        raise TypeError(f"expected a text or a number, got {type(value).__name__}")
    if isinstance(value, float | np.floating):
        if not np.isfinite(value):
            raise ValueError("expected a text or a finite number")
        value = int(value) if value == int(value) else value  # 3 and 3.0 are the same category
    return unicodedata.normalize("NFKC", str(value)).casefold().strip()


def _numbers(value: Any) -> list[float]:
    if not isinstance(value, list | tuple | np.ndarray):
        if np.isnan(number := float(value)):
            raise ValueError("expected a number")
        return [_finite(number)]
    numbers = [_finite(float("nan" if entry is None else entry)) for entry in value]
    if np.isnan(numbers).all():
        raise ValueError("expected at least one number")
    return numbers


def _finite(number: float) -> float:
    if np.isinf(number):
        raise ValueError("expected a finite number")
    return number


def _standardised(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns every column at mean 0 and spread 1, absent entries at 0; constant columns are 0."""
    absent = np.isnan(numbers)
    filled = np.where(absent, 0, numbers)
    size = np.abs(filled).max(axis=0)
    scaled = np.divide(filled, size, out=np.zeros_like(filled), where=size > 0)  # squares of large numbers overflow
    count = np.maximum((~absent).sum(axis=0), 1)
    centred = np.where(absent, 0, scaled - scaled.sum(axis=0) / count)
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12)


def _waves(standard: NDArray[np.float64], present: NDArray[np.bool_], count: int) -> NDArray[np.float64]:
    """Returns the cosines and sines of present entries as unit rows ``(num_rows, 2 * count * num_columns)``."""
    from scipy.special import ndtri

    frequencies = ndtri(0.5 + (np.arange(count) + 0.5) / (2 * count))  # of half a normal distribution: cosines are even
    angles = standard[:, :, None] * frequencies
    waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=2) * present[:, :, None]
    return waves.reshape(len(standard), -1) / np.sqrt(count * present.sum(axis=1, keepdims=True))
