"""Recommendation lists of a few users: what they had, what two models recommend, what of it was held out, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from graphrec.pipeline import Run
from graphrec.report.page.explain import link, sentence
from graphrec.report.page.lists_models import by_validation, is_validated, loaded, with_embeddings, with_parts
from graphrec.report.page.lists_picks import LENGTH, Pick, Reader, picks, readers
from graphrec.report.page.section import Section, folded, note
from graphrec.report.page.study import Study
from graphrec.report.page.thumbnails import PICTURE, Titles, thumbnails_of

FEWEST, NUM_HAD = 2, 11  # models, and items in training
CSS = Path(__file__).parent / "templates" / "lists.css"
LEAD = "What a few users had, what is recommended to them, which of it is in their test set, and why it was there."
PARTS = (
    "Bars: by how much each part of the model lifts the item above the user’s average item, as a share of all lifts "
    "without their signs; a striped part speaks against the item."
)
WEIGHTS = (
    "Percentages beside liked items: their weights, which the score is the sum of, as a share of all weights without "
    "their signs."
)
WAYS = (
    "Liked items without percentages: the strongest ways from user to item through the training graph, by relation in "
    "turn; a way’s strength is the product of the normalised weights of its edges. They say what connects the two, not "
    "what the model computed."
)


def recommendations(study: Study) -> Section | None:
    """Shows recommendation lists of chosen users, by the models of ``labels``.

    Returns:
        The section; ``None`` where no model can be loaded or no user has test items.
    """
    models = list(loaded(study, labels(study)))
    chosen = readers(models[0][1], study.table.tested) if models else []
    if not chosen:
        return None
    look = _Look(study)
    found = [picks(run, chosen) for _, run in models]
    panels = [
        _panel(number, one, models, [lists[number] for lists in found], look) for number, one in enumerate(chosen)
    ]
    tabs = _tabs(study, "user", [_tab(study, one) for one in chosen])
    tabs += (
        _tabs(study, "model", [Markup("{}").format(label) for label, _ in models]) if len(models) > 1 else Markup("")
    )
    style = look.pictures.style() + Markup("<style>{}</style>").format(Markup(CSS.read_text(encoding="utf-8")))
    body = style + Markup('<div class="lists">{}{}</div>').format(tabs, Markup("").join(panels))
    return Section("lists", "Recommendations", LEAD, body + _notes(study, models[0][0], found))


def labels(study: Study) -> list[str]:
    """Returns the labels of the models to show: the best on validation, the reference, the best whose score has parts.

    Where these are one, the best trained model, else the second best, stands beside it.
    """
    order = by_validation(study)
    beside = [study.reference] if study.reference in order else []
    wanted = dict.fromkeys([*order[:1], *beside, *with_parts(study)[:1]])
    more = dict.fromkeys([*wanted, *with_embeddings(study)[:1], *order])
    return list(more)[: max(len(wanted), FEWEST)]


class _Look:
    """Pictures and words of the study's items."""

    def __init__(self, study: Study) -> None:
        self.titles, self.pictures = Titles(study.dataset.items), thumbnails_of(study)
        self.has_pictures = PICTURE in study.dataset.items.columns

    def picture(self, row: int) -> Markup:
        """Returns a picture; words in its place where it is missing; nothing where no item has one."""
        if not self.has_pictures:
            return Markup("")
        name = self.pictures.name(row)
        if name is None:
            return Markup('<div class="picture words" aria-hidden="true"><span>{}</span></div>').format(
                self.titles(row)
            )
        return Markup('<div class="picture {}" aria-hidden="true"></div>').format(name)


def _tabs(study: Study, kind: str, names: Sequence[Markup]) -> Markup:
    """Returns a choice between panels; it works without a script."""
    choice = Markup('<label><input type="radio" name="{}-{}" data-kind="{}" value="{}"{}><span>{}</span></label>')
    group = f"{study.identity[:8]}"
    inner = Markup("").join(
        choice.format(kind, group, kind, place, Markup("" if place else " checked"), name)
        for place, name in enumerate(names)
    )
    return Markup('<fieldset class="tabs"><legend>{}</legend>{}</fieldset>').format(kind.capitalize(), inner)


def _tab(study: Study, reader: Reader) -> Markup:
    about = "worst served" if reader.is_miss else f"{len(reader.had):,} items"
    name = study.dataset.split.users.ids([reader.row])[0]
    return Markup("{} <small>{}</small>").format(name, about)


def _panel(
    number: int, reader: Reader, models: Sequence[tuple[str, Run]], lists: Sequence[Sequence[Pick]], look: _Look
) -> Markup:
    parts = [_had(reader, look)]
    parts += [_list(place, label, reader, lists[place], look) for place, (label, _) in enumerate(models)]
    return Markup('<div data-user="{}">{}</div>').format(number, Markup("").join(parts))


def _had(reader: Reader, look: _Look) -> Markup:
    shown = reader.had[:NUM_HAD]
    tile = Markup("<li>{}<span>{}</span></li>")
    items = Markup("").join(tile.format(look.picture(row), look.titles(row)) for row in shown)
    more = len(reader.had) - len(shown)
    rest = Markup('<li class="more">and {:,} more</li>').format(more) if more else Markup("")
    return Markup('<h4>{:,} items in training</h4><ul class="had{}">{}{}</ul>').format(
        len(reader.had), "" if look.has_pictures else " words", items, rest
    )


def _list(place: int, label: str, reader: Reader, found: Sequence[Pick], look: _Look) -> Markup:
    hits = sum(pick.hit for pick in found)
    cards = Markup("").join(_card(rank, pick, look) for rank, pick in enumerate(found, start=1))
    return Markup(
        '<div data-model="{}"><h4>{} recommends</h4><p class="found">{} of the {} in the test set found among the '
        'first {}</p><ol class="picks">{}</ol></div>'
    ).format(place, label, hits, len(reader.wanted), len(found), cards)


def _card(rank: int, pick: Pick, look: _Look) -> Markup:
    hit = Markup('<span class="hit">✓ in the test set</span>') if pick.hit else Markup("")
    return Markup('<li{}><span class="rank">{}</span>{}<div class="why"><strong>{}</strong>{}{}{}</div></li>').format(
        Markup(' class="is-hit"') if pick.hit else Markup(""),
        rank,
        look.picture(pick.row),
        look.titles(pick.row),
        hit,
        _bar(pick.parts),
        _reasons(pick, look),
    )


def _bar(parts: Mapping[str, float]) -> Markup:
    """Returns the shares of the parts as a bar with its values in words."""
    if not parts:
        return Markup("")
    segment = '<i class="{}" style="flex:{:.3f};--c:var(--{})"></i>'
    bar = "".join(
        segment.format("against" if share < 0 else "for", abs(share), colour)
        for colour, share in enumerate(parts.values())
    )
    key = Markup('<span><i style="--c:var(--{})"></i>{} {}</span>')
    words = Markup("").join(key.format(place, name, signed(share)) for place, (name, share) in enumerate(parts.items()))
    return Markup('<div class="bar" aria-hidden="true">{}</div><div class="key">{}</div>').format(Markup(bar), words)


def _reasons(pick: Pick, look: _Look) -> Markup:
    line = Markup("<li{}><em>{}</em> {}</li>")
    lines = [line.format("", look.titles(row), signed(share)) for row, share in pick.weights.items()]
    for way in pick.ways:
        whole = Markup(' title="{}"').format(sentence(way, look.titles))
        lines.append(line.format(whole, look.titles(way.liked), link(way)))
    return (
        Markup("<ul>{}</ul>").format(Markup("").join(lines))
        if lines
        else Markup('<p class="none">nothing the user liked leads here</p>')
    )


def signed(share: float) -> str:
    r"""Returns a share in per cent with its sign.

    >>> [signed(share).replace("\u00a0", " ") for share in (0.714, -0.05, 0.001)]
    ['+71 %', '−5 %', '0 %']
    """
    percent = round(100 * share)
    return f"{'+' if percent > 0 else '−' if percent < 0 else ''}{abs(percent)}\u00a0%"


def _notes(study: Study, best: str, found: Iterable[Sequence[Sequence[Pick]]]) -> Markup:
    every = [pick for lists in found for picked in lists for pick in picked]
    metric = study.table.tested
    chosen = f"is the best by {metric} on validation" if is_validated(study, best) else "was not validated"
    said = [
        f"Models: {best} {chosen}; the first seed of each. Lists hold {LENGTH} items, none that the user met in "
        "training or validation.",
        "Users: five with test items, spread from few to many training items; worst served is the one with the most "
        f"test items among those for whom {best} has the lowest {metric}.",
        PARTS if any(pick.parts for pick in every) else "",
        WEIGHTS if any(pick.weights for pick in every) else "",
        WAYS if any(pick.ways for pick in every) else "",
    ]
    return folded("How to read the lists", Markup("").join(note(text) for text in said if text))
