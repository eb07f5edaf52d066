"""What a reader of a table must know: the sample, the marks, what the tests cover and what they could have seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from graphrec.evaluation.corrections import CORRECTION_NAMES
from graphrec.evaluation.significance import LEVEL, TESTS
from graphrec.report.groups import other_features
from graphrec.report.marking import MARKS, RUN_MARKS, is_closed_form

if TYPE_CHECKING:
    from graphrec.report.table import Report, Row
    from graphrec.runs import RunFolder

UNTUNED = "settings as given"
ALSO = {
    "t": "",
    "wilcoxon": ", the mean, its interval and the ranks of the users on the same side",
    "permutation": ", the interval of the mean on the same side",
}
ENDED = ("complete", "pruned", "failed")  # states of trials that were run to an end of their own


def footnotes_of(table: Report, more: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the footnotes of a table, the given ones before those of the data."""
    models = [row for row in table.rows if not row.is_ceiling]
    notes = [_sample(table, models), *_seeds(models), *_marks(table, models), *_power(table)]
    notes += _untested(table, models)
    if len(models) < len(table.rows):
        notes.append("known ceiling: the true preference behind the data; no model can do better in expectation")
    if any(row.is_refit for row in models):
        notes.append("refit: trained once more on train and valid together for the chosen epochs")
    if other_features([run for row in table.rows for run in row.runs]):
        notes.append("the models were not all given the same features; interactions and split are the same")
    return (*notes, *_tuning(models), *more, *table.rows[0].runs[0].data().get("notes", ()))


def _sample(table: Report, models: Sequence[Row]) -> str:
    users = table.rows[0].runs[0].metrics()["test_users"]
    counts = sorted({len(row.runs) for row in models if not _is_solved(row)}) or [1]
    seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    spread = "; mean ± standard deviation over seeds" if counts[-1] > 1 else ""
    return f"{users} test users, {seeds} seed{'' if counts == [1] else 's'}{spread}"


def _seeds(models: Sequence[Row]) -> list[str]:
    closed = [row.label for row in models if _is_solved(row)]
    trained = [row for row in models if not _is_solved(row)]
    one, two = ([row.label for row in trained if len(row.runs) == count] for count in (1, 2))
    notes = [f"solved, not trained, one run without a seed: {', '.join(closed)}"] if closed and trained else []
    if one:
        notes.append(f"one training run, so how much training varies is not known: {', '.join(one)}")
    if two:
        notes.append(f"two seeds, from which the variance of training is hardly known: {', '.join(two)}")
    return notes


def _is_solved(row: Row) -> bool:
    return len(row.runs) == 1 and is_closed_form(row.runs[0])


def bold_rule(table: Report) -> str:
    """Returns what bold means."""
    if any(found.single for found in table.contests.values()):
        return "no bold: a single training run cannot show that a model is best"
    won = any(found.winner for found in table.contests.values())
    return f"bold: better than every other model{'' if won else '; no model is'}"


def _marks(table: Report, models: Sequence[Row]) -> list[str]:
    if len(models) < 2:
        return []
    over = "users and seeds" if any(len(row.runs) > 1 for row in models) else "users"
    rule = f"{TESTS[table.test]} over {over}, p < {LEVEL} after {CORRECTION_NAMES[table.correction]}"
    notes = [f"significant: {rule} for the models of a column{ALSO[table.test]}", bold_rule(table)]
    if table.reference is not None:
        covered = {found.covers_training for row in table.rows for found in row.comparisons.values()}
        of_models = f"{MARKS[0]} better, {MARKS[1]} worse than {table.reference}"
        of_runs = f"{RUN_MARKS[0]} better, {RUN_MARKS[1]} worse than {table.reference} in single training runs"
        shown = [text for text, has in ((of_models, True), (of_runs, False)) if has in covered]
        notes.append("; ".join([*shown, "difference with its 95 % interval, p corrected"]))
    return notes


def _power(table: Report) -> list[str]:
    found = [row.comparison.detectable for row in table.rows if row.comparison is not None]
    if not found:
        return []
    ends = list(dict.fromkeys(f"{value:.4f}" for value in (min(found), max(found))))
    test = "test" if table.test == "t" else "t-test"
    seen = f"smallest difference in {table.tested} from {table.reference} that one {test} at 5 % finds in 4 of 5 cases"
    return [f"{seen}: {' to '.join(ends)}"]


def _untested(table: Report, models: Iterable[Row]) -> list[str]:
    missing = [row.label for row in models if table.tested not in row.intervals]
    return [f"not tested, no values of two users or more: {', '.join(missing)}; no bold"] if missing else []


def _tuning(models: Iterable[Row]) -> list[str]:
    """Returns the budget of every model that was tuned, and which were not."""
    budgets: dict[str, list[str]] = defaultdict(list)
    for row in models:
        budgets[_budget(row.runs[0])].append(row.label)
    if set(budgets) <= {UNTUNED}:
        return []
    return [f"tuning: {'; '.join(f'{budget} ({_names(labels)})' for budget, labels in budgets.items())}"]


def _names(labels: Sequence[str]) -> str:
    return ", ".join(labels)


def _budget(run: RunFolder) -> str:
    """Returns what was spent, which is not always what the last call asked for: an earlier one may have run more."""
    if run.metrics().get("kind") == "fusion":
        return f"as its parts, then {len(run.config().get('weights', ()))} weights on validation"
    study = run.study()
    if study is None:
        return UNTUNED
    asked, states = study["budget"]["trials"], study.get("trials", {})
    done = sum(states.get(state, 0) for state in ENDED) if states else asked
    return f"{done if done >= asked else f'{done} of {asked}'} trials on validation"
