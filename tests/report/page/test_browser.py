"""The page in a real browser: from disk, without network, in both themes, and on a phone."""

from __future__ import annotations

import shutil

import pytest

from graphrec.report.page.page import write_page

pytestmark = pytest.mark.browser
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the path")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def url(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    return write_page(made, out, reference="gcn").as_uri()


@pytest.fixture
def visit(browser, url):
    """Opens the page with the network off and fails if anything was asked of it, or the console got an error."""
    contexts, problems, asked = [], [], []

    def opened(**options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(url)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert problems == []
    assert {address for address in asked if not address.startswith(("data:", "blob:"))} == {url}


def drawn(tab, section: str):
    """Scrolls to the first chart of a section and waits until it is drawn."""
    return shown(tab.locator(f"#d1-{section} .chart").first)


def shown(chart):
    """Scrolls to a chart and waits until it is drawn; without waiting for it to stand still, as other charts grow."""
    chart.evaluate("element => element.scrollIntoView({block: 'center', behavior: 'instant'})")
    chart.locator(".main-svg").first.wait_for()
    return chart


def test_every_chart_is_drawn(visit):
    tab = visit()
    for chart in tab.locator(".chart").all():
        if chart.is_visible():
            shown(chart)
    tab.wait_for_timeout(50)


def test_a_point_says_its_value_when_it_is_hovered_over(visit):
    tab = visit()
    chart = drawn(tab, "by-k")
    point = chart.locator(".scatterlayer .trace path.point").last
    box = point.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.move(box["x"] + box["width"] / 2 + 1, box["y"] + box["height"] / 2)
    label = chart.locator(".hoverlayer .hovertext")
    label.first.wait_for()
    assert "k = 10" in label.first.text_content()


def test_no_button_sends_a_chart_away(visit):
    tab = visit()
    names = drawn(tab, "by-k").locator(".modebar-btn").evaluate_all("all => all.map(one => one.dataset.title)")
    assert "Zoom" in names
    assert not [name for name in names if "share" in name.lower() or "cloud" in name.lower()]


def test_the_theme_is_switched_and_remembered(visit):
    tab = visit(color_scheme="light")
    chart = drawn(tab, "by-k")
    ground = "getComputedStyle(document.body).backgroundColor"
    ink = "document.querySelector('#d1-by-k .xtick text').style.fill"
    light = tab.evaluate(ground), tab.evaluate(ink)
    tab.get_by_role("button", name="Switch to the dark theme").click()
    assert light[0] == "rgb(255, 255, 255)"
    assert tab.evaluate(ground) == "rgb(25, 25, 23)"
    assert tab.evaluate(ink) != light[1]
    assert chart.get_attribute("data-drawn") == "dark"
    tab.reload()
    assert tab.evaluate(ground) == "rgb(25, 25, 23)"


def test_a_page_is_printed_light_with_every_chart(visit):
    tab = visit(color_scheme="dark")
    drawn(tab, "by-k")
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert set(tab.locator(".chart").evaluate_all("charts => charts.map(one => one.dataset.drawn)")) == {"light"}
    tab.emulate_media(media="screen")
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator("#d1-by-k .chart").first.get_attribute("data-drawn") == "dark"


def test_a_dark_system_gets_a_dark_page(visit):
    assert visit(color_scheme="dark").evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(25, 25, 23)"


def test_a_model_is_hidden_and_shown_from_the_keyboard(visit):
    tab = visit()
    chart = drawn(tab, "by-k")
    lines = chart.locator(".scatterlayer .trace .js-line")
    before = lines.count()
    button = tab.locator("#d1-by-k .legend button").first
    button.focus()
    tab.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    assert lines.count() < before
    tab.keyboard.press("Enter")
    assert lines.count() == before


def test_a_phone_scrolls_the_page_down_only(visit):
    tab = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    for fold in tab.locator("main details > summary").all():
        if fold.is_visible():
            fold.click()
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    tab.locator("nav summary").click()
    assert tab.locator("nav a").first.is_visible()


def test_the_page_is_whole_without_scripts(visit):
    tab = visit(java_script_enabled=False)
    assert tab.locator("#d1-results table").is_visible()
    assert not tab.locator("#theme").is_visible()
