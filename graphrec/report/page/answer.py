"""The answer of a benchmark in one sentence: which model is best, by how much, and whether that is significant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from graphrec.evaluation.significance import Comparison, compare_scores
from graphrec.report.formats import p_text
from graphrec.report.marking import Contest, read_scores
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
    """Says by the rule of the table whether a model is better than every other, or names the one with the most.

    The rule is that of the bold numbers: all comparisons of the best with the others, over users and seeds, are below
    the level after correction.
    """
    metric = study.table.tested
    means = {row.label: row.mean[metric] for row in study.table.rows if not row.is_ceiling}
    best = max(means, key=lambda label: means[label])
    found = study.table.contests.get(metric)
    if len(means) == 1:
        only = Markup("<strong>{}</strong>, the only model here, reaches a {} of {:.4f}.")
        return Answer(only.format(best, metric, means[best]), "With one model there is nothing to compare.")
    if found is None:
        most = Markup("<strong>{}</strong> has the highest {}, {:.4f}, but the models could not be tested.")
        return Answer(most.format(best, metric, means[best]), "A test needs the values of every user in every run.")
    other = _nearest(found, means)
    say = _wins if found.winner else _cannot_tell if found.equal else _in_these_runs
    return Answer(say(metric, means, found, other), _detail(study, metric, found, other))


def _nearest(found: Contest, means: dict[str, float]) -> str:
    """Returns the model with the next highest mean, of those that the best cannot be told from if there are any."""
    return max(found.equal or found.p_values, key=lambda label: means[label])


def _wins(metric: str, means: dict[str, float], found: Contest, other: str) -> Markup:
    others = "the difference to every other model" if len(found.p_values) > 1 else "the difference"
    return Markup(
        "<strong>{}</strong> is best: its {} of {:.4f} is {} that of {} ({:.4f}), and {} is significant."
    ).format(found.best, metric, means[found.best], _above(means, found.best, other), other, means[other], others)


def _cannot_tell(metric: str, means: dict[str, float], found: Contest, other: str) -> Markup:
    names = sorted(found.equal, key=lambda label: -means[label])
    return Markup(
        "No model is shown to be best: <strong>{}</strong> has the highest {}, {:.4f} against {:.4f} of {}, "
        "but the difference to {} is not significant."
    ).format(found.best, metric, means[found.best], means[other], other, _named(names))


def _in_these_runs(metric: str, means: dict[str, float], found: Contest, other: str) -> Markup:
    return Markup(
        "In these runs <strong>{}</strong> has the highest {}, {:.4f}, {} that of {} ({:.4f}), which is significant "
        "over users. Of {} there is one training run only, so no model is shown to be better."
    ).format(
        found.best,
        metric,
        means[found.best],
        _above(means, found.best, other),
        other,
        means[other],
        _listed(found.single),
    )


def _above(means: dict[str, float], best: str, other: str) -> str:
    if not means[other]:
        return "above"
    return f"{means[best] / means[other] - 1:.1%}".replace("%", " %") + " above"


def _named(labels: Sequence[str]) -> str:
    return "it" if len(labels) == 1 else _listed(labels)


def _listed(labels: Sequence[str]) -> str:
    if len(labels) == 1:
        return labels[0]
    if len(labels) <= NAMED:
        return f"{', '.join(labels[:-1])} and {labels[-1]}"
    return f"{labels[0]} and {len(labels) - 1} other models"


def _detail(study: Study, metric: str, found: Contest, other: str) -> str:
    one, two = (read_scores(study.groups[label], [metric])[metric] for label in (found.best, other))
    pair = compare_scores([(one, two)], [metric])[0]
    p = p_text(found.p_values[other])
    ends = f"95 % interval {signed(pair.low)} to {signed(pair.high)}"
    return (
        f"{found.best} − {other}: {signed(pair.difference)}, {ends}, "
        f"p {'' if p.startswith('<') else '= '}{p.replace('<', '< ')} ({_sample(pair)}; corrected for "
        f"{len(found.p_values)} comparison{'s' if len(found.p_values) > 1 else ''} of {found.best}). "
        f"One such test finds a difference of {pair.detectable:.4f} in 4 of 5 cases."
    )


def _sample(pair: Comparison) -> str:
    if not pair.covers_training:
        return f"t-test over {pair.num_users:,} users; of a single run, so how much training varies is not in it"
    return f"t-test over {pair.num_users:,} users" + (" and the seeds" if max(pair.seeds) else "")


def signed(value: float) -> str:
    """Returns a difference with its sign."""
    return f"{value:+.4f}".replace("-", "−")
