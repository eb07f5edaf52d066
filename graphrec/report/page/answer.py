"""The answer of a benchmark in one sentence: which model is best, by how much, and whether that is significant."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from markupsafe import Markup

from graphrec.evaluation.differences import Differences
from graphrec.evaluation.significance import LEVEL, Comparison, Scores, compare_scores, holm, paired_t
from graphrec.report.page.study import Study

NAMED = 3  # models that a sentence names before it counts them


@dataclass(frozen=True)
class Answer:
    """What the top of the page says of a data set.

    Args:
        sentence: The answer.
        detail: How it was tested.
    """

    sentence: Markup
    detail: str


def answer(study: Study) -> Answer:
    """Names the model with the highest mean and the models from which it cannot be told apart.

    Every pair of models is tested over users and seeds, and all p-values are corrected together by Holm: the best was
    chosen by looking, so testing it against the next alone would claim too much.
    """
    metric = study.table.tested
    means = {row.label: row.mean[metric] for row in study.table.rows if not row.is_ceiling}
    ranked = sorted(means, key=means.__getitem__, reverse=True)
    best = ranked[0]
    if len(ranked) == 1:
        only = Markup("<strong>{}</strong>, the only model here, reaches a {} of {:.4f}.")
        return Answer(only.format(best, metric, means[best]), "With one model there is nothing to compare.")
    scores = {label: study.scores(label, metric) for label in ranked}
    p_values = _corrected(scores, metric)
    equal = [label for label in ranked[1:] if p_values[frozenset((best, label))] >= LEVEL]
    say = _cannot_tell if equal else _wins
    pair = (best, equal[0] if equal else ranked[1])
    found = compare_scores([(scores[pair[0]], scores[pair[1]])], [metric])[0]
    return Answer(say(metric, ranked, means, equal), _detail(pair, found, p_values))


def _corrected(scores: dict[str, Scores], metric: str) -> dict[frozenset[str], float]:
    """Returns the p-value of every pair of models, corrected by Holm for the number of pairs."""
    pairs = list(combinations(scores, 2))
    aligned = {label: found.aligned(next(iter(scores.values())).users, metric) for label, found in scores.items()}
    found = [paired_t(Differences.between(aligned[one], aligned[other])) for one, other in pairs]
    return {frozenset(pair): float(p) for pair, p in zip(pairs, holm(found), strict=True)}


def _wins(metric: str, ranked: list[str], means: dict[str, float], equal: list[str]) -> Markup:
    best, following = ranked[0], ranked[1]
    return Markup(
        "<strong>{}</strong> is best: its {} of {:.4f} is {} that of {} ({:.4f}), and {} is significant."
    ).format(
        best, metric, means[best], _above(means, best, following), following, means[following], _surely(len(ranked))
    )


def _cannot_tell(metric: str, ranked: list[str], means: dict[str, float], equal: list[str]) -> Markup:
    best, first = ranked[0], equal[0]
    return Markup(
        "No model is shown to be best: <strong>{}</strong> has the highest {}, {:.4f}, {} that of {} ({:.4f}), "
        "but the difference to {} is not significant."
    ).format(best, metric, means[best], _above(means, best, first), first, means[first], _several(equal))


def _surely(count: int) -> str:
    return "the difference" if count == 2 else "the difference to every other model"


def _above(means: dict[str, float], best: str, other: str) -> str:
    if not means[other]:
        return "above"
    return f"{means[best] / means[other] - 1:.1%}".replace("%", " %") + " above"


def _several(labels: list[str]) -> str:
    if len(labels) == 1:
        return "it" if labels else ""
    if len(labels) <= NAMED:
        return f"{', '.join(labels[:-1])} and {labels[-1]}"
    return f"{labels[0]} and {len(labels) - 1} other models"


def _detail(pair: tuple[str, str], found: Comparison, p_values: dict[frozenset[str], float]) -> str:
    p = p_values[frozenset(pair)]
    sample = f"{found.num_users:,} users" + (" and seeds" if found.covers_training and max(found.seeds) else "")
    unknown = "" if found.covers_training else " One seed each: how much training varies is not in the test."
    return (
        f"{pair[0]} − {pair[1]}: {found.difference:+.4f}, 95 % interval {found.low:+.4f} to {found.high:+.4f}, "
        f"p {'< 0.0001' if p < 1e-4 else f'= {p:.4f}'} (paired t over {sample}, Holm over all {len(p_values)} pairs). "
        f"The test would have found a difference of {found.detectable:.4f} in 4 of 5 such experiments.{unknown}"
    )
