"""The review page's server: on this machine alone, for who has the address that it printed."""

import contextlib
import ipaddress
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from videopasta import storage
from videopasta.config import DecodeConfig, SourcesConfig
from videopasta.errors import UserError
from videopasta.pairs.reviews import FOLDER
from videopasta.review.app import Review, make_app
from videopasta.review.catalogue import Catalogue
from videopasta.review.decisions import DATABASE, Decisions
from videopasta.review.filmstrips import FilmstripMaker

_PATIENCE_S = 2  # at the end, with a browser whose player holds a video open


def database_of(out: str, given: Path | None) -> Path:
    """Where the decisions about `out` are kept.

    Raises:
        UserError: the folder is remote, where SQLite cannot write.
    """
    if given is not None:
        return given
    if not storage.is_local(out):
        raise UserError(
            f"{out}: decisions are kept in a local SQLite file; name it with --db, e.g. --db decisions.sqlite3"
        )
    return Path(storage.local_path(storage.join(out, FOLDER, DATABASE)))


def serve(
    out: str, database: Path, reviewer: str, decode: DecodeConfig, *, host: str, port: int, tell: Callable[[str], None]
) -> int:
    """Serve until Ctrl-C or SIGTERM; then write the decisions as Parquet, and say how many stand.

    Args:
        out: an output folder of `videopasta generate`.
        database: gets the decisions.
        reviewer: who reviews, until a browser says another name.
        decode: what may be opened to show frames and clips, and within which limits.
        host: what it listens on.
        port: 0: any that is free.
        tell: gets the address, once it answers.

    Raises:
        UserError: the folder holds nothing to review, the port is taken, or others could be shown any file.
    """
    _check_host(host, decode.sources)
    catalogue = Catalogue(out)
    decisions = Decisions(database)
    filmstrips = FilmstripMaker(decode)
    try:
        listening = _listen(host, port)
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(24)
        review = Review(catalogue, decisions, filmstrips, decode.sources, out, reviewer)
        app = make_app(review, token=token, cookie=f"videopasta-review-{port}")
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=_PATIENCE_S
        )
        tell(f"http://{_name_of(host)}:{port}/?token={token}")
        _Server(config).run(sockets=[listening])
        return decisions.export(out)
    finally:
        filmstrips.close()
        decisions.close()


def _check_host(host: str, sources: SourcesConfig) -> None:
    """Rows name any file; whoever has the address may be shown those of the folders of videos alone."""
    local = host == "localhost"
    with contextlib.suppress(ValueError):  # a name
        local = ipaddress.ip_address(host).is_loopback
    if not local and "file" in sources.schemes and not sources.roots:
        raise UserError(
            f"--host {host}: others could be shown any file of this machine that a row names; say where the videos "
            "are, for example --set decode.sources.roots=[/data/videos]"
        )


def _name_of(host: str) -> str:
    """What others write for it in an address: where it listens on all of the machine's, the machine's name."""
    if host in ("", "0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


class _Server(uvicorn.Server):
    """Ends at a signal, and leaves the process to us: uvicorn's own would raise the signal once more."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """See uvicorn."""
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: {error.strerror}; give another --port") from error
