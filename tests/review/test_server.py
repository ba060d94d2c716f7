import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from tests.review.folders import make_folder
from videopasta.config import DecodeConfig, SourcesConfig
from videopasta.errors import UserError
from videopasta.review.server import _check_host, _listen, _name_of, serve


@pytest.mark.parametrize(
    ("host", "name"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("0.0.0.0", socket.gethostname()), ("::", socket.gethostname())],
)
def test_the_address_is_one_that_others_can_open(host: str, name: str):
    """Nobody reaches 0.0.0.0 on another machine."""
    assert _name_of(host) == name


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "reviews.example"])
def test_others_are_shown_videos_of_named_folders_alone(host: str, tmp_path: Path):
    """Rows name any file: who listens beyond this machine says where the videos are."""
    with pytest.raises(UserError, match=r"--set decode\.sources\.roots="):
        serve("out", tmp_path / "db", "ann", DecodeConfig(), host=host, port=0, tell=print)
    _check_host(host, SourcesConfig(roots=("/data/videos",)))
    _check_host(host, SourcesConfig(schemes=("s3",)))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_who_reviews_alone_need_not_say_where_videos_are(host: str):
    """Whoever sits at this machine opens its files anyway."""
    _check_host(host, SourcesConfig())


def test_a_port_that_is_taken_is_told():
    """And what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: .*give another --port"):
            _listen("127.0.0.1", port)


def test_it_ends_while_a_player_holds_a_video_open(tmp_path: Path):
    """A browser reads of a long video only what it plays."""
    folder = make_folder(tmp_path, num_clips=1)
    with (tmp_path / "0.mp4").open("r+b") as video:
        video.truncate(1 << 30)
    command = [sys.executable, "-u", "-m", "videopasta.cli", "review", folder, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found is not None
    opener = build_opener(HTTPCookieProcessor())
    page = opener.open(found[0]).url.partition("?")[0]
    with opener.open(f"{page}/clip") as clip:
        clip.read(1000)
        process.send_signal(signal.SIGTERM)
        assert "0 decisions" in process.communicate(timeout=30)[0]
    assert process.returncode == 0
