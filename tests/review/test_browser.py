"""The command and its page in a real Chromium: as a reviewer has them."""

import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.review.folders import make_folder

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install -y chromium")
# What else it asks for at its start is not ours to answer, and a closed network lets it wait.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS = (1280, 390)


class Server:
    """`videopasta review` on a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        command = [sys.executable, "-u", "-m", "videopasta.cli", "review", folder, "--port", "0", "--reviewer", "ann"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r"http://\S+", self.process.stdout.readline())
        assert found is not None
        self.url = found[0]

    def stop(self, by: signal.Signals) -> str:
        self.process.send_signal(by)
        return self.process.communicate(timeout=60)[0]

    def decisions(self) -> list[str]:
        """As they stand in the file, now."""
        with closing(sqlite3.connect(self.folder / "reviews/decisions.sqlite3")) as database:
            return [row[0] for row in database.execute("SELECT action FROM standing ORDER BY decision_id")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return make_folder(tmp_path_factory.mktemp("browser"), num_clips=4)


@pytest.fixture
def server(folder: str) -> Iterator[Server]:
    for old in Path(folder).glob("reviews/*"):
        old.unlink(missing_ok=True)  # SQLite removes its own beside the database
    started = Server(folder)
    yield started
    started.process.kill()
    started.process.wait()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": WIDTHS[0], "height": 900})
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    opened.goto(server.url)
    yield opened
    context.close()
    assert problems == []


def press(page: Page, key: str) -> None:
    """A key that leads to another page."""
    with page.expect_navigation():
        page.keyboard.press(key)


def test_ten_pairs_by_keyboard_and_nothing_is_lost(page: Page, server: Server):
    """Accept, reject, swap, edit and undo; reload; then the server is killed, and started again."""
    for key in "aarsaara":
        press(page, key)
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.type("The cup stands on a chair.")
    press(page, "Control+Enter")
    press(page, "r")
    press(page, "u")
    expect(page.get_by_text("took back: reject")).to_be_visible()
    press(page, "s")
    expected = ["accept", "accept", "reject", "swap", "accept", "accept", "reject", "accept", "edit", "swap"]
    assert server.decisions() == expected
    page.reload()
    expect(page.get_by_text("10 of 12 decided")).to_be_visible()

    server.process.kill()
    again = Server(str(server.folder))
    page.goto(again.url)
    expect(page.get_by_text("10 of 12 decided")).to_be_visible()
    assert "10 decisions" in again.stop(signal.SIGINT)
    rows = pq.read_table(server.folder / "reviews/decisions.parquet").to_pylist()
    assert [row["decision"] for row in rows] == expected
    assert rows[8]["chosen"] == "The cup stands on a chair."


def test_keys_do_nothing_while_one_types(page: Page, server: Server):
    """Not in the texts, not in the name; Escape leaves them."""
    page.keyboard.press("e")
    page.keyboard.type(" raus")
    page.get_by_label("Reviewer").type("arus")
    assert server.decisions() == []
    page.keyboard.press("Escape")
    press(page, "r")
    assert server.decisions() == ["reject"]


def test_a_key_held_down_decides_once(page: Page, server: Server):
    """Its repetitions are none; also not before the next page is there."""
    page.evaluate(
        """() => { for (const repeat of [false, true, true])
            document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "a", repeat, bubbles: true})) }"""
    )
    expect(page.get_by_text("1 of 12 decided")).to_be_visible()
    assert server.decisions() == ["accept"]


def test_arrows_page_without_deciding(page: Page, server: Server):
    """To the next and back."""
    first = page.url
    press(page, "ArrowRight")
    assert page.url != first
    press(page, "ArrowLeft")
    assert page.url == first
    assert server.decisions() == []


def test_pictures_and_clip_are_there(page: Page):
    """Every frame has loaded, and the player knows how long the clip is."""
    sizes = page.evaluate(
        """() => Promise.all([...document.images].map(async (one) => {
            one.loading = "eager"; await one.decode(); return one.naturalWidth }))"""
    )
    assert len(sizes) == 16 + 8
    assert min(sizes) > 0
    duration_s = page.evaluate(
        """() => new Promise((resolve) => { const clip = document.getElementById("clip");
            const told = () => resolve(clip.duration);
            clip.readyState ? told() : clip.addEventListener("loadedmetadata", told) })"""
    )
    assert 1 < duration_s < 2
    expect(page.locator("#clip-problem")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("path", ["pair", "edit", "progress"])
def test_everybody_can_use_it(page: Page, path: str, width: int, scheme: str):
    """No finding of axe-core (WCAG 2.1 AA: labels, names, contrast, order), and nothing is wider than the screen."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    if path == "progress":
        press(page, "a")
        page.get_by_role("link", name="Progress").click()
    elif path == "edit":
        page.keyboard.press("e")
        page.get_by_text("Filters").click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_control_is_reached_by_tab_and_seen(page: Page):
    """In the order of the page, each with a mark around it."""
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => { const one = document.activeElement;
               return [one.textContent.trim() || one.name || one.id, getComputedStyle(one).outlineStyle] }"""
        )
        if found[0] not in ("", "clip") and not found[0].startswith("Skip"):  # a player marks its own controls
            assert found[1] != "none", found
        reached.add(found[0])
    for name in ("Accept A", "Reject R", "Swap S", "Undo U"):
        assert name in reached


def test_works_without_javascript(browser: Browser, server: Server):
    """By the buttons alone."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server.url)
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("1 of 12 decided")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("took back: reject")).to_be_visible()
    context.close()
    assert server.decisions() == []
