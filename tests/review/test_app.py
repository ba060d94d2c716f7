"""The pages as a browser without JavaScript has them."""

import io
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.clips import read_number
from tests.review.folders import MODES, make_folder
from videopasta.config import DecodeConfig, SourcesConfig
from videopasta.errors import UserError
from videopasta.review.app import Review, make_app
from videopasta.review.catalogue import Catalogue
from videopasta.review.decisions import Decisions
from videopasta.review.filmstrips import FilmstripMaker

TOKEN = "t" * 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return make_folder(tmp_path_factory.mktemp("review"))


def make_review(folder: str, kept: Path, sources: SourcesConfig = SourcesConfig()) -> Review:
    decisions = Decisions(kept / "decisions.sqlite3")
    filmstrips = FilmstripMaker(DecodeConfig(sources=sources))
    return Review(Catalogue(folder), decisions, filmstrips, sources, str(kept), "ann")


@pytest.fixture
def review(folder: str, tmp_path: Path):
    made = make_review(folder, tmp_path)
    yield made
    made.filmstrips.close()
    made.decisions.close()


@pytest.fixture
def browser(review: Review) -> TestClient:
    return open_browser(review)


def open_browser(review: Review, app=None) -> TestClient:
    client = TestClient(app or make_app(review, token=TOKEN), base_url="http://127.0.0.1")
    assert client.get("/progress", params={"token": TOKEN}).status_code == 200
    return client


def pair_on(response) -> str:
    return response.url.path.removeprefix("/pairs/")


def test_without_the_token_there_is_nothing(review: Review):
    """Neither pages nor files nor forms; and the token does not stay in the address."""
    stranger = TestClient(make_app(review, token=TOKEN), base_url="http://127.0.0.1")
    pair_id = next(iter(review.catalogue.entries))
    for path in ("/", f"/pairs/{pair_id}", f"/pairs/{pair_id}/clip", "/static/review.js", "/progress?token=wrong"):
        assert stranger.get(path).status_code == 403
    assert stranger.post(f"/pairs/{pair_id}", data={"action": "accept"}).status_code == 403
    assert review.decisions.standing() == []
    assert "token" not in str(stranger.get("/progress", params={"token": TOKEN}).url)


def test_forms_of_other_sites_are_refused(browser: TestClient, review: Review):
    """Though the browser sends its cookie along."""
    pair_id = next(iter(review.catalogue.entries))
    sent = browser.post(f"/pairs/{pair_id}", data={"action": "accept"}, headers={"origin": "http://elsewhere.example"})
    assert sent.status_code == 403
    assert review.decisions.standing() == []


def test_frames_are_those_that_the_model_saw(browser: TestClient, review: Review):
    """Each picture on the page carries the number that the row's plan names, for both answers, with its time."""
    page = browser.get("/")
    row = review.catalogue.row(pair_on(page))
    for view in ("chosen", "rejected"):
        plan = row[f"{view}_frame_plan"]
        sources = re.findall(rf'src="(/pairs/\w+/frames/{view}/\d+)"', page.text)
        pictures = [np.asarray(Image.open(io.BytesIO(browser.get(source).content))) for source in sources]
        assert [read_number(picture) for picture in pictures] == plan["indices"]
        assert {picture.shape for picture in pictures} == {(plan["height"], plan["width"], 3)}
        for time in plan["timestamps_s"]:
            assert f"{time:.2f} s" in page.text
    assert len(row["chosen_frame_plan"]["indices"]) == 16
    assert len(row["rejected_frame_plan"]["indices"]) == 8


def test_the_page_shows_what_the_row_says(browser: TestClient, review: Review):
    """Query, both answers with their differing words marked, verdict, models."""
    page = browser.get("/")
    row = review.catalogue.row(pair_on(page))
    assert row["prompt"] in page.text
    assert "The cup stands on the <mark>left</mark> of the table." in page.text
    assert "The cup stands on the <mark>right</mark> of the table." in page.text
    for text in ("Is the cup on the right?", "plain", "q @ r1", "r @ r2", "j @ r3", row["pair_id"]):
        assert text in page.text


def test_the_clip_is_played_in_ranges(browser: TestClient, review: Review):
    """As players ask for it; the bytes are the file's."""
    row = review.catalogue.row(next(iter(review.catalogue.entries)))
    data = Path(row["video_uri"]).read_bytes()
    part = browser.get(f"/pairs/{row['pair_id']}/clip", headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, data[10:20])
    assert part.headers["content-type"] == "video/mp4"


def test_what_is_no_video_is_no_page_of_ours(browser: TestClient, review: Review, tmp_path: Path, monkeypatch):
    """A row may name any file; no browser runs it with the reviewer's cookie."""
    (tmp_path / "page.html").write_text("<script src=/pairs/1/clip></script>")
    row = dict(review.catalogue.row(next(iter(review.catalogue.entries))), video_uri=str(tmp_path / "page.html"))
    monkeypatch.setattr(review.catalogue, "row", lambda pair_id: row)
    answer = browser.get(f"/pairs/{row['pair_id']}/clip")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_pair_is_decided_once_and_then_there_is_none(browser: TestClient, review: Review):
    """The least sure first; each action leads to the next open pair, the last to the progress."""
    page, seen = browser.get("/"), []
    for action in ("accept", "reject", "swap", "accept", "accept", "accept"):
        seen.append(pair_on(page))
        page = browser.post(page.url, data={"action": action})
    entries = review.catalogue.entries
    assert seen == [one.pair_id for one in sorted(entries.values(), key=lambda e: e.certainty) if one.accepted]
    assert page.url.path == "/progress"
    assert "6 of 6 decided" in page.text
    assert [one.action for one in review.decisions.standing()] == ["accept", "reject", "swap", *3 * ["accept"]]


def test_an_edit_keeps_both_texts(browser: TestClient, review: Review):
    """With line ends as they were typed, and its note."""
    page = browser.get("/")
    form = {"action": "edit", "chosen": "It is\r\nred. ", "rejected": "It is blue.", "note": "colour"}
    browser.post(page.url, data=form)
    (one,) = review.decisions.standing()
    assert (one.chosen, one.rejected, one.note) == ("It is\nred.", "It is blue.", "colour")


@pytest.mark.parametrize(
    ("chosen", "rejected", "says"),
    [
        ("", "It is blue.", "need a text"),
        ("It is red.", "it is RED.", "say the same"),
        (None, None, "Nothing was changed"),
    ],
)
def test_an_edit_that_makes_no_pair_is_told(browser: TestClient, review: Review, chosen, rejected, says):
    """What was typed is still there, and nothing is kept."""
    page = browser.get("/")
    row = review.catalogue.row(pair_on(page))
    form = {"action": "edit", "chosen": row["chosen"] if chosen is None else chosen,
            "rejected": row["rejected"] if rejected is None else rejected, "note": "mine"}  # fmt: skip
    answer = browser.post(page.url, data=form)
    assert answer.status_code == 422
    assert says in answer.text
    assert form["rejected"] in answer.text
    assert 'value="mine"' in answer.text
    assert review.decisions.standing() == []


@pytest.mark.parametrize("action", ["accept", "swap"])
def test_changed_answers_are_not_forgotten(browser: TestClient, review: Review, action: str):
    """Who changed them and then presses another button than Save is told; what was typed is still there."""
    page = browser.get("/")
    row = review.catalogue.row(pair_on(page))
    form = {"chosen": row["chosen"], "rejected": row["rejected"], "note": ""}
    answer = browser.post(page.url, data=form | {"action": action, "rejected": "It is blue."})
    assert answer.status_code == 422
    assert "save the edit" in answer.text
    assert "It is blue." in answer.text
    assert review.decisions.standing() == []
    browser.post(page.url, data=form | {"action": action})
    assert [one.action for one in review.decisions.standing()] == [action]


def test_an_edit_is_shown_below_the_answer(browser: TestClient):
    """Of whoever made it."""
    page = browser.get("/")
    browser.post(page.url, data={"action": "edit", "chosen": "It is red.", "rejected": "It is blue."})
    text = browser.get(page.url).text
    assert "Edited by ann: <bdi>It is red.</bdi>" in text
    assert "Edited by ann: <bdi>It is blue.</bdi>" in text


def test_imported_pairs_are_shown_with_what_is_known(review: Review, browser: TestClient, monkeypatch):
    """Without a judge, models, or the frames of the adversarial answer; the preferred one's are there."""
    row = dict(review.catalogue.row(next(iter(review.catalogue.entries))))
    unknown = ("rejected_frame_plan", "verdict", "votes", "unreadable_votes", "seed", "adversarial_query",
               "query_model", "response_model", "judge_model")  # fmt: skip
    monkeypatch.setattr(review.catalogue, "row", lambda pair_id: row | dict.fromkeys(unknown))
    page = browser.get(f"/pairs/{row['pair_id']}")
    assert page.status_code == 200
    assert "/frames/chosen/0" in page.text
    assert "/frames/rejected/0" not in page.text
    for text in ("which frames were seen for it is not known", "no judge saw it", "not judged"):
        assert text in page.text
    assert "confidence " not in page.text


def test_frames_do_not_wait_for_another_clip(browser: TestClient, review: Review, monkeypatch):
    """While the next one is decoded, which may take until its deadline."""
    page = browser.get("/", params={"order": "stored", "failure_mode": "spatial"})
    others = [one for one in review.catalogue.entries if review.catalogue.row(one)["clip_id"] !=
              review.catalogue.row(pair_on(page))["clip_id"]]  # fmt: skip
    review.filmstrips._kept.popitem()  # the one that was decoded ahead
    begun, go_on, load = threading.Event(), threading.Event(), review.filmstrips._loader.load

    def slow(*given: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return load(*given)

    monkeypatch.setattr(review.filmstrips._loader, "load", slow)
    thread = threading.Thread(target=review.filmstrips.make, args=(review.catalogue.row(others[0]),))
    thread.start()
    assert begun.wait(30)
    assert browser.get(f"{page.url.path}/frames/chosen/0").status_code == 200
    go_on.set()
    thread.join()


def test_undo_shows_the_pair_again(browser: TestClient, review: Review):
    """Open, as before; and where there is nothing to take back, nothing happens."""
    page = browser.get("/")
    decided = pair_on(page)
    browser.post(page.url, data={"action": "reject"})
    page = browser.post("/undo")
    assert pair_on(page) == decided
    assert "took back: reject" in page.text
    assert review.decisions.standing() == []
    assert browser.post("/undo").status_code == 200


def test_two_reviewers_get_different_pairs(review: Review):
    """And see what the other decided; both decisions are kept."""
    app = make_app(review, token=TOKEN)
    ann, bob = open_browser(review, app), open_browser(review, app)
    bob.post("/reviewer", data={"reviewer": "bob"})
    first = ann.get("/")
    assert pair_on(bob.get("/")) != pair_on(first)
    assert "ann looks at this pair now" in bob.get(first.url).text
    ann.post(first.url, data={"action": "accept"})
    assert "ann decided" in bob.get(first.url).text
    bob.post(first.url, data={"action": "reject"})
    assert {(one.reviewer, one.action) for one in review.decisions.standing()} == {("ann", "accept"), ("bob", "reject")}
    assert "ann and bob" in ann.get("/progress").text


def test_filters_stay_in_every_address(browser: TestClient, review: Review):
    """From pair to pair, through decisions and undo."""
    page = browser.get("/", params={"failure_mode": "temporal", "order": "stored"})
    for _ in range(2):
        assert review.catalogue.entries[pair_on(page)].failure_mode == "temporal"
        page = browser.post(page.url, data={"action": "accept"})
    assert page.url.path == "/progress"
    assert "failure_mode=temporal" in str(page.url)
    assert "2 of 2 decided" in page.text
    assert "failure_mode=temporal" in str(browser.post("/undo?failure_mode=temporal&order=stored").url)
    assert browser.get("/", params={"failure_mode": "none", "max_confidence": "x", "order": "?"}).status_code == 200


def test_dropped_candidates_can_be_looked_at(browser: TestClient):
    """With why, also those that no judge saw."""
    page = browser.get("/", params={"shown": "dropped"})
    assert "dropped: length ratio" in page.text
    assert "no judge saw it" in page.text


def test_the_progress_says_what_kappa_wants(browser: TestClient):
    """Looked at are what the judge accepted, unless one asks for the others: of one word alone there is no kappa."""
    link = 'href="/?shown=dropped"'
    assert link not in browser.get("/progress").text
    browser.post(browser.get("/").url, data={"action": "accept"})
    assert link in browser.get("/progress").text


def test_a_video_that_is_gone_or_another_is_told(tmp_path: Path):
    """The pair can still be decided."""
    made = make_review(make_folder(tmp_path, num_clips=2), tmp_path)
    (tmp_path / "0.mp4").unlink()
    (tmp_path / "1.mp4").write_bytes((tmp_path / "1.mp4").read_bytes() + bytes(8))
    browser, told = open_browser(made), []
    for pair_id, entry in made.catalogue.entries.items():
        if entry.failure_mode == MODES[0] and entry.accepted:
            told += re.findall(r"No frames: (\w+)", browser.get(f"/pairs/{pair_id}").text)
    assert sorted(told) == ["changed", "missing"]
    assert browser.get("/").status_code == 200
    made.filmstrips.close()
    made.decisions.close()


def test_a_video_that_is_there_again_is_shown(tmp_path: Path):
    """When its page is loaded again; the service goes on meanwhile."""
    made = make_review(make_folder(tmp_path, num_clips=1), tmp_path)
    browser, page = open_browser(made), f"/pairs/{next(iter(made.catalogue.entries))}"
    (tmp_path / "0.mp4").rename(tmp_path / "elsewhere")
    assert "No frames: missing" in browser.get(page).text
    (tmp_path / "elsewhere").rename(tmp_path / "0.mp4")
    assert "No frames" not in browser.get(page).text
    assert browser.get(f"{page}/frames/chosen/0").headers["content-type"] == "image/jpeg"
    made.filmstrips.close()
    made.decisions.close()


def test_pages_of_pairs_that_are_not_there(browser: TestClient):
    """Are said to be missing, whatever the name leads to."""
    for path in ("/pairs/none", "/pairs/..%2F..%2Fetc%2Fpasswd", "/pairs/none/clip", "/pairs/none/frames/chosen/0"):
        assert browser.get(path).status_code == 404
    assert browser.post("/pairs/none", data={"action": "accept"}).status_code == 404


def test_actions_and_names_that_make_no_sense_are_refused(browser: TestClient, review: Review):
    """With what would be right."""
    page = browser.get("/")
    assert "one of accept, reject, swap, edit" in browser.post(page.url, data={"action": "undo"}).text
    assert browser.post("/reviewer", data={"reviewer": "<script>"}).status_code == 400
    assert review.decisions.standing() == []


def test_the_next_pair_is_decoded_while_this_one_is_looked_at(browser: TestClient, review: Review, monkeypatch):
    """A decision is followed by its page, not by a wait."""
    page = browser.get("/", params={"order": "stored", "failure_mode": "spatial"})
    monkeypatch.setattr(review.filmstrips._loader, "load", lambda row, plans: pytest.fail("decoded only now"))
    following = browser.post(page.url, data={"action": "accept"})
    assert pair_on(following) != pair_on(page)
    assert "/frames/chosen/0" in following.text


def test_text_of_models_is_text(tmp_path: Path, review: Review, browser: TestClient, monkeypatch):
    """A tag in an answer is shown, not made."""
    row = dict(review.catalogue.row(next(iter(review.catalogue.entries))), prompt="<script>alert(1)</script>")
    monkeypatch.setattr(review.catalogue, "row", lambda pair_id: row)
    page = browser.get(f"/pairs/{row['pair_id']}")
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert" in page.text


def test_export_by_the_button(browser: TestClient, tmp_path: Path):
    """The page says where the file is."""
    page = browser.get("/")
    browser.post(page.url, data={"action": "accept"})
    said = browser.post("/export").text
    assert "1 decisions written to" in said
    assert pq.read_table(tmp_path / "reviews/decisions.parquet").num_rows == 1


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_candidates_is_told(made: bool, tmp_path: Path):
    """And what to do."""
    if made:
        make_folder(tmp_path, num_clips=0)
    with pytest.raises(UserError, match="no candidates yet" if made else "no run.json"):
        Catalogue(str(tmp_path / "out"))


def test_a_folder_of_another_version_is_told(tmp_path: Path):
    """And what to do."""
    folder = make_folder(tmp_path, num_clips=1)
    run = Path(folder) / "run.json"
    run.write_text(run.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    with pytest.raises(UserError, match="written as schema 1, this is 2"):
        Catalogue(folder)


@pytest.mark.parametrize(
    ("sources", "status"),
    [({"roots": ("/nowhere",)}, 403), ({"schemes": ("s3",)}, 403), ({}, 200)],
    ids=["elsewhere", "nothing local", "anywhere"],
)
def test_only_videos_of_the_named_sources_are_opened(sources: dict, status: int, folder: str, tmp_path: Path):
    """Rows may be a stranger's, and name any file: neither its frames nor the file itself are shown."""
    review = make_review(folder, tmp_path, SourcesConfig(**sources))
    browser = open_browser(review)
    pair_id = next(iter(review.catalogue.entries))
    assert browser.get(f"/pairs/{pair_id}/clip").status_code == status
    assert ("No frames: not_allowed" in browser.get(f"/pairs/{pair_id}").text) == (status == 403)
    review.filmstrips.close()
    review.decisions.close()
