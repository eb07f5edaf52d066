"""Colours: readable on their ground in both themes, and no two series alike."""

from __future__ import annotations

import pytest

from graphrec.report.page.theme import COLOURS, DARK, LIGHT, OUTLINES, SYMBOLS, band, log_ticks, style, swatch


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_black_on_white_is_21_to_1():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_marks_stand_out_from_the_ground(theme):
    assert all(contrast(theme[name], theme["@paper"]) >= 4.5 for name in ("@ink", "@muted", "@accent"))
    assert all(contrast(theme[f"@{number}"], theme["@paper"]) >= 3 for number in range(COLOURS))


def test_both_themes_have_the_same_tokens():
    assert list(LIGHT) == list(DARK)


def test_fifty_six_series_differ_in_colour_or_marker():
    assert len({style(number)[:2] for number in range(56)}) == 56
    assert set(OUTLINES) == set(SYMBOLS)
    assert all("<path" in swatch(style(number)) for number in range(7))


def test_a_band_goes_up_one_side_and_down_the_other():
    found = band("a", [1, 2], [0.1, 0.2], [0.3, 0.4], style(0))
    assert found["x"] == [1, 2, 2, 1]
    assert found["y"] == [0.3, 0.4, 0.2, 0.1]


def test_labels_of_a_log_axis_thin_out_where_it_is_long():
    assert log_ticks([1.0, 7.0]) is None
    assert log_ticks([0.0, 0.01, 0.2]) == "D2"
    assert log_ticks([0.001, 20.0]) == 1
    assert log_ticks([]) is None
