"""What two models scored for the same users over several seeds, and where their difference varies.

Users and seeds are both samples: other users would have come, and another training run would have given another
model. A test over users alone takes the runs at hand for the models, and finds differences between two lucky draws.
So the difference of user u in seed s is taken apart as ``d_su = mean + a_u + b_s + e_su`` with three variances (a
crossed random-effects design: Clark 1973, https://doi.org/10.1016/S0022-5371(73)80014-3; Baayen, Davidson and Bates
2008, https://doi.org/10.1016/j.jml.2007.12.005).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from graphrec.config import unknown_name
from graphrec.evaluation.ranking import Evaluation

FloatArray = NDArray[np.float64]
Values = Evaluation | pd.Series
Runs = Values | Sequence[Values] | Mapping[int, Values]


@dataclass(frozen=True, eq=False)
class Scores:
    """One metric of one model.

    Args:
        values: A row per run, a column per user ``(num_runs, num_users)``.
        users: The external ids of the columns.
        seeds: The seed of every run; none for a model without training, which has one run.
    """

    values: FloatArray = field(repr=False)
    users: pd.Index = field(repr=False)
    seeds: tuple[int, ...] = ()

    @classmethod
    def of(cls, runs: Runs | Scores, metric: str) -> Scores:
        """Returns the scores of one run, of a list of runs, or of runs by seed.

        Args:
            runs: Evaluations, or series of per-user values indexed by external user id; or scores as they are.
            metric: The column of an evaluation, such as ``Recall@20``.

        Raises:
            ValueError: If there is no run, the runs differ in their users, or one lacks the metric.
        """
        if isinstance(runs, Scores):
            return runs
        several = [runs] if isinstance(runs, Evaluation | pd.Series) else runs
        by_seed = several if isinstance(several, Mapping) else dict(enumerate(several))
        return cls.stack([_column(run, metric) for run in by_seed.values()], metric, seeds=tuple(by_seed))

    @classmethod
    def solved(cls, run: Values, metric: str) -> Scores:
        """Returns the scores of a model without training, such as a closed form: no seed would change them.

        Raises:
            ValueError: If the run lacks the metric.
        """
        return cls.stack([_column(run, metric)], metric)

    @classmethod
    def stack(cls, columns: Sequence[pd.Series], metric: str, *, seeds: tuple[int, ...] = ()) -> Scores:
        """Returns series of per-user values as one matrix, aligned by user id.

        Raises:
            ValueError: If there is none, or they differ in their users.
        """
        if not columns:
            raise ValueError(f"expected at least one run with {metric!r}, got none")
        users = columns[0].index
        rows = [column.to_numpy(np.float64)[_order(column.index, users, metric)] for column in columns]
        return cls(np.stack(rows), users, seeds)

    def aligned(self, users: pd.Index, metric: str) -> Scores:
        """Returns the same with the users in another order.

        Raises:
            ValueError: If the users are others.
        """
        if self.users is users:
            return self
        return Scores(self.values[:, _order(self.users, users, metric)], users, self.seeds)


@dataclass(frozen=True, eq=False)
class Differences:
    """The differences of two models per user, as one matrix per source of training variance.

    Their mean is the sum of the means of the parts. One part: the same seeds in both, paired, or a model without
    training against each run of the other. Two parts: other seeds, the second negated; their runs are independent.

    Args:
        parts: Matrices ``(num_runs, num_users)`` of the same users.
    """

    parts: tuple[FloatArray, ...] = field(repr=False)

    @classmethod
    def of(cls, values: ArrayLike | Differences) -> Differences:
        """Returns paired differences ``(num_users,)`` or ``(num_seeds, num_users)``.

        Raises:
            ValueError: If the shape is another, there are less than two users, or a value is not finite.
        """
        if isinstance(values, Differences):
            return values
        matrix = np.asarray(values, dtype=np.float64)
        rows = matrix[None] if matrix.ndim == 1 else matrix
        if rows.ndim != 2 or not len(rows) or rows.shape[1] < 2 or not np.isfinite(rows).all():
            expected = "finite differences (num_users,) or (num_seeds, num_users) of at least 2 users"
            raise ValueError(f"expected {expected}, got shape {matrix.shape}")
        return cls((rows,))

    @classmethod
    def between(cls, first: Scores, second: Scores) -> Differences:
        """Returns first minus second, paired by user and, where both were trained with the same seeds, by seed.

        Users without a value in any run (NaN) are left out.

        Raises:
            ValueError: If less than two users are left.
        """
        one, other = first.values, second.values
        if not first.seeds or not second.seeds:
            parts: tuple[FloatArray, ...] = (one - other,)
        elif set(first.seeds) == set(second.seeds):
            parts = (one - other[[second.seeds.index(seed) for seed in first.seeds]],)
        else:
            parts = (one, -other)
        known = np.asarray(np.isfinite(np.concatenate(parts)).all(axis=0))
        if known.sum() < 2:
            raise ValueError(f"expected at least 2 users with values in every run, got {known.sum()} of {len(known)}")
        return cls(parts if known.all() else tuple(part[:, known] for part in parts))

    @property
    def num_users(self) -> int:
        """The users."""
        return int(self.parts[0].shape[1])

    @property
    def per_user(self) -> FloatArray:
        """The difference of every user, averaged over runs ``(num_users,)``."""
        return np.asarray(sum(part.mean(axis=0) for part in self.parts))

    @property
    def mean(self) -> float:
        """The difference."""
        return float(self.per_user.mean())


@dataclass(frozen=True)
class Components:
    """The variance of a mean difference, by where it comes from.

    Args:
        users: The part of the users, the noise between users and seeds included.
        seeds: The part of the seeds; 0 where there is no training, or one run only.
        user_freedom: The degrees of freedom of the part of the users.
        seed_freedom: Those of the part of the seeds; infinite where that is 0.
        single: The variance of one user's difference between single runs.
    """

    users: float
    seeds: float
    user_freedom: float
    seed_freedom: float
    single: float

    @property
    def error(self) -> float:
        """The standard error of the mean difference."""
        return float(np.sqrt(self.users + self.seeds))

    def tail(self, distance: float) -> float:
        """Returns how often chance alone is at least so far from 0, to either side.

        Chance is ``sqrt(users) T_users + sqrt(seeds) T_seeds``, a Student's t for each of the two variances, both being
        estimates (the distribution of Behrens and Fisher, https://doi.org/10.1111/j.1469-1809.1935.tb02120.x). Values
        below 1e-5 are rough.
        """
        from scipy import special

        wide, narrow = self._sources()
        if narrow[0] == 0:
            return float(2 * special.stdtr(wide[1], -distance / wide[0])) if wide[0] > 0 else float(distance <= 0)
        shift = narrow[0] * special.stdtrit(narrow[1], _nodes()[0])
        below = special.stdtr(wide[1], (np.stack([shift, -shift]) - distance) / wide[0])
        return float(_nodes()[1] @ below.sum(axis=0))

    def quantile(self, probability: float) -> float:
        """Returns what chance alone stays below with the given probability, 0.5 or more."""
        from scipy import optimize, special

        wide, narrow = self._sources()
        if narrow[0] == 0:
            return float(special.stdtrit(wide[1], probability)) * wide[0]
        most = sum(scale * float(special.stdtrit(freedom, (1 + probability) / 2)) for scale, freedom in (wide, narrow))
        return float(optimize.brentq(lambda distance: self.tail(distance) - 2 * (1 - probability), 0.0, most))

    def _sources(self) -> list[tuple[float, float]]:
        """Returns the standard errors with their degrees of freedom, the larger first."""
        found = [(self.users, self.user_freedom), (self.seeds, self.seed_freedom)]
        return sorted(((float(np.sqrt(part)), freedom) for part, freedom in found), reverse=True)


def components(differences: ArrayLike | Differences) -> Components:
    """Returns the variance of a mean difference over users and seeds, both being samples.

    ``Var(mean) = (MS_users + MS_seeds - MS_error) / (U S)``, the denominator of the quasi-F test of Clark (1973): the
    users with the noise are ``MS_users / (U S)`` with ``U - 1`` degrees of freedom, the seeds are
    ``(MS_seeds - MS_error) / (U S)``, cut at 0, with ``S - 1``. With one run only the former is known, the variance of
    Student's paired test.

    Two parts add up, with Satterthwaite's degrees of freedom (1946, https://doi.org/10.2307/3002019); a single trained
    run beside several of the other model is taken to vary over its seeds as those.

    Args:
        differences: Paired ``(num_users,)`` or ``(num_seeds, num_users)``, or differences with two parts.

    Raises:
        ValueError: If they are malformed.
    """
    sample = Differences.of(differences)
    size = sample.num_users
    users = float(sample.per_user.var(ddof=1)) / size
    seeds, spread, single = 0.0, 0.0, users * size
    alone = any(len(part) == 1 for part in sample.parts)
    for part in (part for part in sample.parts if len(part) > 1):
        runs = len(part)
        between, noise = _mean_squares(part)
        found = max(0.0, between - noise)
        added = found * (1 + runs * alone)  # one run more with the variance that these show
        seeds += added
        spread += added**2 / (runs - 1)
        single += found * runs * (1 + alone) + noise * size * (runs - 1)
    return Components(users, seeds, size - 1, seeds**2 / spread if spread > 0 else np.inf, single)


@cache
def _nodes() -> tuple[FloatArray, FloatArray]:
    """Returns probabilities and weights to integrate over a quantile function by."""
    from scipy import special

    nodes, weights = special.roots_legendre(200)
    return (nodes + 1) / 2, weights / 2


def _mean_squares(part: FloatArray) -> tuple[float, float]:
    """Returns the mean squares of seeds and of noise, divided by the number of cells."""
    runs, size = part.shape
    by_run, by_user = part.mean(axis=1, keepdims=True), part.mean(axis=0, keepdims=True)
    rest = part - by_run - by_user + part.mean()
    between = float(by_run.var(ddof=1)) / runs
    return between, float((rest**2).sum()) / ((runs - 1) * (size - 1) * runs * size)


def _column(run: Values, metric: str) -> pd.Series:
    if isinstance(run, pd.Series):
        return run
    frame = run.by_id()
    if metric not in frame:
        raise ValueError(unknown_name(metric, map(str, frame.columns), kind="metric"))
    return frame[metric]


def _order(found: pd.Index, wanted: pd.Index, metric: str) -> NDArray[np.intp]:
    """Returns where the wanted users are among those found."""
    for index in (found, wanted):
        if not index.is_unique:
            raise ValueError(f"expected one value of {metric!r} per user id, got repeated ids")
    if found.equals(wanted):
        return np.arange(len(wanted))
    missing, extra = wanted.difference(found, sort=False), found.difference(wanted, sort=False)
    if len(missing) or len(extra):
        examples = ", ".join(map(repr, _first(missing) + _first(extra)))
        raise ValueError(
            f"expected {metric!r} of the same {len(wanted)} users in both, got {len(found)}: "
            f"{len(missing)} missing and {len(extra)} unexpected, e.g. {examples}; compare runs on the same split"
        )
    return np.asarray(found.get_indexer(wanted))


def _first(ids: Iterable[object]) -> list[object]:
    return list(ids)[:3]
