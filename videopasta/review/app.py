"""The review page: pages made on the server, forms that work without JavaScript, keys for who is quick.

    GET  /                          the next open pair
    GET  /pairs/ID?FILTERS          one pair: filmstrips, clip, answers, verdict, decisions
    POST /pairs/ID?FILTERS          decide, and go on
    POST /undo?FILTERS              take the last decision back
    GET  /pairs/ID/frames/VIEW/N    a frame that the model saw, as JPEG
    GET  /pairs/ID/clip             the video file
    GET  /progress?FILTERS          counts and agreement; POST /export writes reviews/decisions.parquet

Pages name pairs, never files: what can be opened is what the rows name, of local files and buckets
(docs/security.md).
"""

import hmac
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from mimetypes import guess_type
from pathlib import Path
from typing import Any, cast, get_args
from urllib.parse import urlencode, urlsplit

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, QueryParams
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from videopasta import storage
from videopasta.config import SourcesConfig
from videopasta.errors import UserError
from videopasta.pages import templates
from videopasta.pairs.reviews import Action
from videopasta.review.agreement import between_reviewers, with_judge
from videopasta.review.catalogue import Catalogue
from videopasta.review.decisions import Decisions
from videopasta.review.differences import differing_words
from videopasta.review.filmstrips import VIEWS, FilmstripMaker
from videopasta.review.queue import Entry, Filters, Order, Shown, next_open, place
from videopasta.video import VideoError, check_source

_HERE = Path(__file__).parent
_HELD_S = 300.0  # a pair that someone looks at is given to nobody else for so long
_TEXTS = ("chosen", "rejected")
_REVIEWER = re.compile(r"[\w.@ -]{1,60}")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'self'; "
    "script-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Review:
    """What the pages are made of."""

    catalogue: Catalogue
    decisions: Decisions
    filmstrips: FilmstripMaker
    sources: SourcesConfig
    """Where a video must lie to be played."""
    out: str
    reviewer: str
    """Who reviews, until a browser says another name."""


class _Looking:
    """Who looks at what now."""

    def __init__(self) -> None:
        self._by_reviewer: dict[str, tuple[str, float]] = {}

    def note(self, reviewer: str, pair_id: str) -> None:
        self._by_reviewer[reviewer] = pair_id, time.monotonic() + _HELD_S

    def others(self, reviewer: str) -> dict[str, str]:
        """Reviewers but this one, and their pairs."""
        now = time.monotonic()
        found = self._by_reviewer.copy().items()
        return {who: pair_id for who, (pair_id, until) in found if who != reviewer and until > now}


def make_app(review: Review, *, token: str, cookie: str = "videopasta-review") -> Starlette:
    """The application.

    Args:
        review: what is shown, and where decisions go.
        token: whoever has it may look and decide; it comes once in the address, then as a cookie.
        cookie: its name: cookies know hosts, not ports.
    """
    pages = _Pages(review)
    return Starlette(
        routes=[
            Route("/", pages.start),
            Route("/pairs/{pair_id}", pages.show),
            Route("/pairs/{pair_id}", pages.decide, methods=["POST"]),
            Route("/pairs/{pair_id}/frames/{view}/{number:int}", pages.frame),
            Route("/pairs/{pair_id}/clip", pages.clip),
            Route("/undo", pages.undo, methods=["POST"]),
            Route("/reviewer", pages.rename, methods=["POST"]),
            Route("/progress", pages.progress),
            Route("/export", pages.export, methods=["POST"]),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_Door(token, cookie))],
    )


class _Door:
    """Lets in who has the token, and no form of another site."""

    def __init__(self, token: str, cookie: str) -> None:
        self._token, self._cookie = token, cookie

    async def __call__(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        given = request.query_params.get("token")
        if given is not None and self._is_token(given):
            rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
            response: Response = RedirectResponse(_path(request.url.path, rest), 303)
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
        elif not self._is_token(request.cookies.get(self._cookie, "")):
            response = PlainTextResponse("Open the address that `videopasta review` printed, with its token.\n", 403)
        elif request.method == "POST" and not _is_own(request):
            response = PlainTextResponse("A form of another site.\n", 403)
        else:
            response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


def _is_own(request: Request) -> bool:
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


class _Pages:
    """One method a route."""

    def __init__(self, review: Review) -> None:
        self._review, self._looking = review, _Looking()
        self._templates = Jinja2Templates(env=templates(_HERE / "templates"))
        entries = review.catalogue.entries.values()
        self._choices = {
            "failure_mode": sorted({entry.failure_mode for entry in entries}),
            "adversary": sorted({entry.adversary for entry in entries}),
        }

    # -- pages ---------------------------------------------------------------------------------------------

    def start(self, request: Request) -> Response:
        """The next open pair, or where one stands when there is none."""
        filters = read_filters(request.query_params)
        queue = filters.select(self._review.catalogue.entries.values(), self._review.decisions.decided())
        return self._go_on(request, filters, queue, after=None)

    def show(self, request: Request, *, problem: str = "", draft: Mapping[str, str] | None = None) -> Response:
        """One pair."""
        row = self._row(request)
        if row is None:
            return self._missing(request)
        pair_id = row["pair_id"]
        decisions = self._review.decisions
        reviewer, filters = self._reviewer(request), read_filters(request.query_params)
        self._looking.note(reviewer, pair_id)
        entries, decided = self._review.catalogue.entries, decisions.decided()
        queue = filters.select(entries.values(), decided)
        everything = replace(filters, undecided=False).select(entries.values(), decided)
        standing = decisions.standing(pair_id)
        strips = self._review.filmstrips.make(row)
        chosen, rejected = differing_words(row["chosen"], row["rejected"])
        page = self._page(
            request, "pair.html.j2", 422 if problem else 200,
            row=row, chosen=chosen, rejected=rejected, place=place(pair_id, queue), standing=standing, strips=strips,
            mine=next((one for one in standing if one.reviewer == reviewer), None),
            others=sorted(who for who, at in self._looking.others(reviewer).items() if at == pair_id),
            num_decided=sum(entry.pair_id in decided for entry in everything), num_all=len(everything),
            problem=problem, draft=draft or {"chosen": row["chosen"], "rejected": row["rejected"], "note": ""},
            undone=request.query_params.get("undone"), span=_span(row),
        )  # fmt: skip
        page.background = BackgroundTask(self._look_ahead, queue, pair_id, reviewer)
        return page

    async def decide(self, request: Request) -> Response:
        """Keep a decision, and show the next open pair."""
        form = await request.form()
        return await run_in_threadpool(self._decide, request, form)

    def _decide(self, request: Request, form: FormData) -> Response:
        row = self._row(request)
        if row is None:
            return self._missing(request)
        action = str(form.get("action", ""))
        draft = {name: _one_line_end(str(form.get(name, ""))) for name in ("chosen", "rejected", "note")}
        if action not in get_args(Action):
            return PlainTextResponse(f"action={action!r}: one of {', '.join(get_args(Action))}\n", 400)
        texts: dict[str, str] = {}
        if action == "edit":
            texts = {name: draft[name].strip() for name in _TEXTS}
            if problem := _problem_of(row, texts):
                return self.show(request, problem=problem, draft=draft)
        elif action != "reject" and any(name in form and _plain(draft[name]) != _plain(row[name]) for name in _TEXTS):
            problem = f"The answers were changed, and {action} would forget it: save the edit, or undo the changes."
            return self.show(request, problem=problem, draft=draft)
        filters = read_filters(request.query_params)
        entries, decided = self._review.catalogue.entries.values(), self._review.decisions.decided()
        queue = filters.select(entries, decided)  # before the decision: it may take this pair out of it
        self._review.decisions.decide(
            row["pair_id"], self._reviewer(request), cast("Action", action), note=draft["note"].strip(),
            **texts,
        )  # fmt: skip
        return self._go_on(request, filters, queue, after=row["pair_id"])

    def undo(self, request: Request) -> Response:
        """Take the last decision back, and show its pair."""
        undone = self._review.decisions.undo(self._reviewer(request))
        if undone is None:
            return RedirectResponse(_path("/", _items(read_filters(request.query_params))), 303)
        items = [*_items(read_filters(request.query_params)), ("undone", undone.action)]
        return RedirectResponse(_path(f"/pairs/{undone.pair_id}", items), 303)

    def progress(self, request: Request, *, exported: str = "") -> Response:
        """How far it is, and how well judge and reviewers agree."""
        entries = self._review.catalogue.entries
        standing = self._review.decisions.standing()
        known = [one for one in standing if one.pair_id in entries]
        decided = {one.pair_id for one in known}
        shown = read_filters(request.query_params)
        everything = replace(shown, undecided=False).select(entries.values(), decided)
        by_mode = {
            mode: (
                sum(entry.pair_id in decided for entry in everything if entry.failure_mode == mode),
                sum(entry.failure_mode == mode for entry in everything),
            )
            for mode in self._choices["failure_mode"]
        }
        return self._page(
            request, "progress.html.j2",
            by_mode=by_mode, actions=sorted(Counter(one.action for one in known).items()),
            by_reviewer=sorted(Counter(one.reviewer for one in known).items()),
            judge=with_judge(entries, known), between=between_reviewers(known),
            num_decided=sum(entry.pair_id in decided for entry in everything), num_all=len(everything),
            strangers=len(standing) - len(known), exported=exported,
        )  # fmt: skip

    def export(self, request: Request) -> Response:
        """Write the standing decisions as Parquet."""
        try:
            count = self._review.decisions.export(self._review.out)
        except UserError as error:
            return PlainTextResponse(f"{error}\n", 500)
        where = storage.join(self._review.out, "reviews/decisions.parquet")
        return self.progress(request, exported=f"{count} decisions written to {where}")

    async def rename(self, request: Request) -> Response:
        """Who reviews in this browser."""
        name = str((await request.form()).get("reviewer", "")).strip()
        if not _REVIEWER.fullmatch(name):
            return PlainTextResponse(f"reviewer={name!r}: give letters, digits, blanks or .@-, up to 60\n", 400)
        response = RedirectResponse(_path("/", _items(read_filters(request.query_params))), 303)
        response.set_cookie("videopasta-reviewer", name.encode().hex(), httponly=True, samesite="strict")
        return response

    # -- files ---------------------------------------------------------------------------------------------

    def frame(self, request: Request) -> Response:
        """A frame that the model saw."""
        row, view, number = self._row(request), request.path_params["view"], request.path_params["number"]
        pictures = self._review.filmstrips.make(row).pictures.get(view, ()) if row and view in VIEWS else ()
        if number >= len(pictures):
            return PlainTextResponse("No such frame.\n", 404)
        return Response(pictures[number], media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    def clip(self, request: Request) -> Response:
        """The video file, with ranges, for the player."""
        row = self._row(request)
        if row is None:
            return self._missing(request)
        try:
            uri = check_source(row["video_uri"], self._review.sources)
        except VideoError as error:
            return PlainTextResponse(f"{error}\n", 403)
        if not storage.is_local(uri):
            return PlainTextResponse("Only local videos are played; the frames above are what the model saw.\n", 404)
        path = Path(storage.local_path(uri))
        if not path.is_file():
            return PlainTextResponse("The video is gone.\n", 404)
        kind = guess_type(path.name)[0] or ""
        # Rows may name a page or a script, which a browser would take for one of ours.
        media_type = kind if kind.startswith("video/") else "application/octet-stream"
        return FileResponse(path, media_type=media_type, headers={"Cache-Control": "private"})

    # -- what they share -----------------------------------------------------------------------------------

    def _go_on(self, request: Request, filters: Filters, queue: list[Entry], *, after: str | None) -> Response:
        reviewer = self._reviewer(request)
        pair_id = self._next(queue, after, reviewer)
        if pair_id is None:
            return RedirectResponse(_path("/progress", _items(filters)), 303)
        self._looking.note(reviewer, pair_id)  # now, or another could be sent there too
        return RedirectResponse(_path(f"/pairs/{pair_id}", _items(filters)), 303)

    def _next(self, queue: list[Entry], after: str | None, reviewer: str) -> str | None:
        closed = self._review.decisions.decided().union(self._looking.others(reviewer).values())
        return next_open(queue, after, closed)

    def _look_ahead(self, queue: list[Entry], pair_id: str, reviewer: str) -> None:
        """While this pair is looked at, decode the one to which a decision will lead."""
        following = self._next(queue, pair_id, reviewer)
        if following is not None:
            self._review.filmstrips.make(self._review.catalogue.row(following))

    def _row(self, request: Request) -> Mapping[str, Any] | None:
        pair_id = request.path_params["pair_id"]
        return self._review.catalogue.row(pair_id) if pair_id in self._review.catalogue.entries else None

    def _missing(self, request: Request) -> Response:
        return PlainTextResponse(f"{request.path_params['pair_id']}: no such pair in this folder.\n", 404)

    def _reviewer(self, request: Request) -> str:
        try:
            name = bytes.fromhex(request.cookies.get("videopasta-reviewer", "")).decode()
        except ValueError:
            name = ""
        return name if _REVIEWER.fullmatch(name) else self._review.reviewer

    def _page(self, request: Request, template: str, status_code: int = 200, /, **values: Any) -> HTMLResponse:
        filters = read_filters(request.query_params)
        shared = {
            "filters": filters, "query": urlencode(_items(filters)), "choices": self._choices,
            "reviewer": self._reviewer(request), "out": self._review.out,
            "shown_choices": get_args(Shown), "order_choices": get_args(Order),
        }  # fmt: skip
        return self._templates.TemplateResponse(request, template, shared | values, status_code)


def read_filters(query: QueryParams) -> Filters:
    """The filters in an address; what makes no sense there is left out."""
    found: dict[str, Any] = {name: query[name] for name in ("failure_mode", "adversary") if query.get(name)}
    found |= {name: True for name in ("disagreed", "undecided") if query.get(name) == "1"}
    for name, allowed in (("shown", get_args(Shown)), ("order", get_args(Order))):
        if query.get(name) in allowed:
            found[name] = query[name]
    if re.fullmatch(r"\d+(\.\d+)?", query.get("max_confidence", "")):
        found["max_confidence"] = float(query["max_confidence"])
    return Filters(**found)


def _items(filters: Filters) -> list[tuple[str, str]]:
    """As an address has them: only what is not the default."""
    defaults = {field.name: field.default for field in fields(Filters)}
    return [
        (name, "1" if value is True else str(value))
        for name, value in asdict(filters).items()
        if value != defaults[name]
    ]


def _path(path: str, items: list[tuple[str, str]]) -> str:
    return f"{path}?{urlencode(items)}" if items else path


def _span(row: Mapping[str, Any]) -> str:
    """What a player's address ends in, so that it plays the clip alone (W3C Media Fragments)."""
    if row["start_s"] is None and row["end_s"] is None:
        return ""
    return f"#t={row['start_s'] or 0:g}" + ("" if row["end_s"] is None else f",{row['end_s']:g}")


def _one_line_end(text: str) -> str:
    return text.replace("\r\n", "\n")  # as forms send it


def _plain(text: str) -> str:
    """Without what a form changes by itself: line ends, blanks around."""
    return " ".join(text.split())


def _problem_of(row: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """Why an edit cannot be kept; empty where it can."""
    if not all(texts.values()):
        return "Both answers need a text."
    if texts["chosen"].casefold() == texts["rejected"].casefold():
        return "The two answers say the same: reject the pair instead."
    if all(texts[name] == row[name] for name in texts):
        return "Nothing was changed: accept the pair instead."
    return ""
