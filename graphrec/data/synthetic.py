"""The embedded catalogue: pictures, words and interactions made from a taste that is known, with a known ceiling.

Items have a colour, a shape and a pattern, which only their picture shows, and a topic, a material and a style,
which only their words tell. Every attribute value is a point in a latent space, an item's trait ``z_i`` is the sum
of its points, and users have a taste ``t_u`` in the same space. The rate at which user and item meet is

    rate(u, i) = activity_u * popularity_i * ((1 - noise) * exp(t_u . z_i) / Z_u + noise)

with ``Z_u`` the mean of ``exp(t_u . z_j)`` over items j, weighted by popularity; they interact, independently of all
other pairs, with probability ``p(u, i) = 1 - exp(-rate(u, i))``. Every interaction is then dealt, independently, to
train, valid or test: 8 : 1 : 1 for most items, 0 : 1 : 9 for the cold ones.

Why no ranking does better than ``Truth.score``: given everything in training, the pairs outside training are in test
independently of each other, with the probability ``q = p * test / (1 - p * train)`` (Bayes' rule; ``train`` and
``test`` are the item's shares). Take a ranking that has j directly above i although ``q_i > q_j``, and exchange them.
Where both or neither are in test nothing changes; where exactly one is, the number of test items is the same whichever
it is, and i is the more probable one. So for every metric that is a sum over hits of a discount falling with the rank,
divided by anything that depends on the number of test items alone (Recall, Precision, NDCG, HitRate, MRR), the exchange
never lowers the expectation. Sorting by ``q`` is therefore optimal in expectation for every user, among all rankings
that see the training set, even those that know the taste; on one sample, only luck exceeds it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset, Split
from graphrec.data.drawing import COLOURS, MATERIALS, PATTERNS, SHAPES, STYLES, TOPICS, VARIANTS, Look, describe
from graphrec.data.interactions import Ids, Interactions

FloatArray = NDArray[np.float32]

SEEN = {"image": (tuple(COLOURS), SHAPES, PATTERNS), "text": (tuple(TOPICS), tuple(MATERIALS), tuple(STYLES))}
LATENT_DIM = 4  # per modality
POPULARITY_SPREAD = 0.8  # standard deviation of the log of an item's popularity
ACTIVITY_SPREAD = 0.5  # standard deviation of the log of a user's activity
COLD_EXPOSURE = 0.25  # cold items are new: fewer had the time to meet them
WARM_SHARES = (0.8, 0.1, 0.1)  # train, valid, test
COLD_SHARES = (0.0, 0.1, 0.9)
CELLS = 1_000_000  # user–item pairs held at once


@dataclass(frozen=True, eq=False)
class Truth:
    """The true preference behind a synthetic data set, and the best ranking there is: a scorer for the oracle row.

    Args:
        taste: The users' latent tastes ``(num_users, dim)``.
        traits: The items' latent traits ``(num_items, dim)``.
        parts: Which latent dimensions a modality reveals, e.g. ``{"image": slice(0, 4), "text": slice(4, 8)}``.
        popularity: The items' share of all meetings, were there no taste ``(num_items,)``; sums to 1.
        activity: The expected number of meetings of each user, repeats counted ``(num_users,)``.
        noise: The share of meetings that no taste decides.
        shares: The probabilities that an interaction with the item goes to train, valid, test ``(num_items, 3)``.
    """

    taste: FloatArray = field(repr=False)
    traits: FloatArray = field(repr=False)
    parts: Mapping[str, slice]
    popularity: FloatArray = field(repr=False)
    activity: FloatArray = field(repr=False)
    noise: float
    shares: FloatArray = field(repr=False)

    @property
    def cold(self) -> NDArray[np.bool_]:
        """Which items never occur in training by design ``(num_items,)``."""
        return self.shares[:, 0] == 0

    def score(self, users: ArrayLike) -> FloatArray:
        """Returns the probability that each item is in the test set, given that it is not in training.

        Ranking by it is optimal in expectation (see the module): the evaluator masks the training items.

        Args:
            users: User rows ``(n,)``.

        Returns:
            The probabilities ``(n, num_items)``.
        """
        scores = self.propensity(users)
        for block in _blocks(len(scores), self.traits.shape[0]):
            scores[block] *= self.shares[:, 2] / (1 - scores[block] * self.shares[:, 0])
        return scores

    def propensity(self, users: ArrayLike) -> FloatArray:
        """Returns the probability that user and item interact at all ``(n, num_items)``, for user rows ``(n,)``."""
        rows = np.asarray(users, dtype=np.int64)
        scores = np.empty((len(rows), len(self.traits)), np.float32)
        for block in _blocks(*scores.shape):
            rate = self.rate(rows[block])
            scores[block] = -np.expm1(np.negative(rate, out=rate), out=rate)
        return scores

    def rate(self, rows: NDArray[np.int64]) -> FloatArray:
        """Returns how often user and item meet in expectation, repeats counted ``(len(rows), num_items)``."""
        logits = self.taste[rows] @ self.traits.T
        logits -= logits.max(axis=1, keepdims=True)
        rate = np.exp(logits, out=logits)
        rate *= ((1 - self.noise) / (rate @ self.popularity))[:, None]
        rate += np.float32(self.noise)
        rate *= self.popularity
        rate *= self.activity[rows, None]
        return rate


def generate(
    num_interactions: int = 20_000,
    *,
    seed: int = 0,
    folder: Path | None = None,
    num_users: int | None = None,
    num_items: int | None = None,
    taste: float = 1.4,
    noise: float = 0.05,
    missing: float = 0.1,
    cold: float = 0.1,
) -> Dataset:
    """Makes a multimodal data set whose true preference is known; the same arguments give the same data.

    The item catalogue has the columns ``image`` (a path to a PNG) and ``text``. ``Dataset.truth`` is a ``Truth``.

    Args:
        num_interactions: The expected number of distinct interactions; the actual one scatters by about its root.
        seed: Where all randomness comes from.
        folder: Where the pictures are written, one file per distinct look, existing ones replaced. By default a new
            temporary folder, which is left behind: pictures are needed as long as the data set is.
        num_users: By default one per 20 interactions, at least 20.
        num_items: By default 2,000 for 20,000 interactions, growing with their power 0.4.
        taste: How much the logarithm of the rate varies with each of the modalities (standard deviation).
        noise: The share of meetings that popularity alone decides.
        missing: The share of items without a picture, and of others without a text; no item lacks both.
        cold: The share of items that have no training interaction.

    Raises:
        ValueError: If a size or a share is out of range.
    """
    num_users = max(20, num_interactions // 20) if num_users is None else num_users
    num_items = round(2_000 * (num_interactions / 20_000) ** 0.4) if num_items is None else num_items
    _check(num_interactions, num_users, num_items, {"noise": noise, "missing": missing, "cold": cold})
    rng = np.random.default_rng(np.random.SeedSequence([seed, num_interactions]))
    attributes = {name: _draw_attributes(values, num_items, rng) for name, values in SEEN.items()}
    truth = _draw_truth(attributes, num_users, num_items, (taste, noise, cold), rng)
    truth = _calibrate(truth, num_interactions)
    users, items = _ids("user", num_users), _ids("item", num_items)
    train, valid, test = _sample(truth, users, items, rng)
    target = Path(tempfile.mkdtemp(prefix="graphrec-")) if folder is None else Path(folder)
    return Dataset(
        name="synthetic",
        split=Split(train, valid),
        test=test,
        items=_catalog(items, attributes, missing, target, rng),
        people=Catalog.empty(users),
        truth=truth,
    )


def _check(num_interactions: int, num_users: int, num_items: int, shares: Mapping[str, float]) -> None:
    if num_interactions < 200:
        raise ValueError(f"expected at least 200 interactions, got {num_interactions}")
    if num_interactions > num_users * num_items / 4:
        raise ValueError(
            f"expected at most a quarter of all pairs to interact, got {num_interactions} interactions for "
            f"{num_users} users x {num_items} items; ask for fewer, or give num_users and num_items"
        )
    for name, share in shares.items():
        if not 0 <= share <= 0.5:
            raise ValueError(f"expected {name} in [0, 0.5], got {share}")


def _draw_attributes(values: Sequence[Sequence[str]], num_items: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Returns the attribute values of every item, as positions ``(num_items, len(values))``."""
    return np.stack([rng.integers(len(options), size=num_items) for options in values], axis=1)


def _draw_truth(
    attributes: Mapping[str, NDArray[np.int64]],
    num_users: int,
    num_items: int,
    levels: tuple[float, float, float],
    rng: np.random.Generator,
) -> Truth:
    strength, noise, cold = levels
    traits = [_draw_traits(SEEN[name], chosen, rng) for name, chosen in attributes.items()]
    shares = np.tile(np.array(WARM_SHARES, np.float32), (num_items, 1))
    new = rng.permutation(num_items)[: round(cold * num_items)]
    shares[new] = COLD_SHARES
    popularity = np.exp(POPULARITY_SPREAD * rng.standard_normal(num_items))
    popularity[new] *= COLD_EXPOSURE
    return Truth(
        taste=(strength * rng.standard_normal((num_users, LATENT_DIM * len(traits)))).astype(np.float32),
        traits=np.concatenate(traits, axis=1),
        parts={name: slice(LATENT_DIM * k, LATENT_DIM * (k + 1)) for k, name in enumerate(attributes)},
        popularity=(popularity / popularity.sum()).astype(np.float32),
        activity=np.exp(ACTIVITY_SPREAD * rng.standard_normal(num_users)).astype(np.float32),
        noise=noise,
        shares=shares,
    )


def _draw_traits(values: Sequence[Sequence[str]], chosen: NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
    """Returns the sum of the attributes' latent points, of mean square length 1 ``(num_items, LATENT_DIM)``."""
    traits = np.zeros((len(chosen), LATENT_DIM))
    for position, options in enumerate(values):
        points = rng.standard_normal((len(options), LATENT_DIM))
        points -= points.mean(axis=0)
        points /= np.linalg.norm(points, axis=1, keepdims=True) * len(values) ** 0.5
        traits += points[chosen[:, position]]
    return traits.astype(np.float32)


def _calibrate(truth: Truth, num_interactions: int) -> Truth:
    """Scales the activity so that the expected number of distinct interactions comes out, judged on up to 512 users.

    The fixed point of ``factor * wanted / distinct(factor)`` is approached from below, since ``distinct`` is concave.
    """
    num_users = len(truth.taste)
    some = np.unique(np.linspace(0, num_users - 1, 512).astype(np.int64))
    relative = truth.activity / truth.activity.mean()
    wanted = num_interactions / num_users * relative[some].sum()
    rate = replace(truth, activity=relative).rate(some)
    factor = num_interactions / num_users
    for _ in range(30):
        factor *= wanted / -np.expm1(-factor * rate).sum(dtype=np.float64)
    return replace(truth, activity=(factor * relative).astype(np.float32))


def _sample(
    truth: Truth, users: Ids, items: Ids, rng: np.random.Generator
) -> tuple[Interactions, Interactions, Interactions]:
    """Draws who interacts, and deals every interaction to train, valid or test."""
    found = []
    for block in _blocks(len(users), len(items)):
        propensity = truth.propensity(np.arange(block.start, block.stop))
        hits = np.flatnonzero(rng.random(propensity.shape, dtype=np.float32) < propensity)
        user, item = np.divmod(hits, len(items))  # a division, for np.nonzero is ten times slower in two dimensions
        found.append((user + block.start, item))
    user, item = (np.concatenate(column) for column in zip(*found, strict=True))
    bounds = truth.shares.cumsum(axis=1)[item, :2]
    part = (rng.random(len(item))[:, None] >= bounds).sum(axis=1)
    parts = [Interactions(user[part == k], item[part == k], users, items) for k in range(3)]
    return parts[0], parts[1], parts[2]


def _catalog(
    items: Ids, attributes: Mapping[str, NDArray[np.int64]], missing: float, folder: Path, rng: np.random.Generator
) -> Catalog:
    variants = rng.integers(len(VARIANTS), size=len(items))
    looks = [_look(row, int(variant)) for row, variant in zip(attributes["image"], variants, strict=True)]
    texts = [_text(row, rng) for row in attributes["text"]]
    frame = pd.DataFrame({"image": [folder / look.file_name for look in looks], "text": texts}, dtype=object)
    order, count = rng.permutation(len(items)), round(missing * len(items))
    frame.loc[order[:count], "image"] = None
    frame.loc[order[count : 2 * count], "text"] = None
    folder.mkdir(parents=True, exist_ok=True)
    for look in {looks[row] for row in order[count:]}:
        look.save(folder)
    return Catalog(items, frame)


def _look(chosen: NDArray[np.int64], variant: int) -> Look:
    colour, shape, pattern = _named("image", chosen)
    return Look(colour, shape, pattern, variant)


def _text(chosen: NDArray[np.int64], rng: np.random.Generator) -> str:
    topic, material, style = _named("text", chosen)
    return describe(topic, material, style, rng)


def _named(modality: str, chosen: NDArray[np.int64]) -> list[str]:
    return [options[position] for options, position in zip(SEEN[modality], chosen, strict=True)]


def _ids(name: str, count: int) -> Ids:
    return Ids([f"{name[0]}{row}" for row in range(count)], name=name)


def _blocks(num_users: int, num_items: int) -> Iterator[slice]:
    """Yields slices of users that make up at most ``CELLS`` pairs each."""
    step = max(1, CELLS // num_items)
    for start in range(0, num_users, step):
        yield slice(start, min(start + step, num_users))
