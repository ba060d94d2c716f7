import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.bad_videos import allowing, silent_server
from tests.clips import make_clip
from videopasta import scratch
from videopasta.config.video import DecodeConfig, NativePlan, UniformPlan
from videopasta.video import ClipRequest, DecodeWorker, Reason, VideoError, decode_clip
from videopasta.video.worker import receive_answer, send_answer

PLANS = {"dense": UniformPlan()}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_clip(tmp_path_factory.mktemp("worker") / "good.mp4"))


@pytest.fixture
def silent() -> Iterator[str]:
    """A file that is never there."""
    with silent_server() as uri:
        yield uri


def request(path: str, config: DecodeConfig) -> ClipRequest:
    return ClipRequest(path, None, None, PLANS, config)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_dead(pid: int, timeout_s: float = 5.0) -> bool:
    limit = time.monotonic() + timeout_s
    while is_alive(pid) and time.monotonic() < limit:
        time.sleep(0.02)
    return not is_alive(pid)


def test_worker_gives_what_decode_clip_gives(good: str):
    """The process in between changes nothing."""
    config = DecodeConfig()
    with DecodeWorker(config) as worker:
        there, here = worker.decode(request(good, config)), decode_clip(request(good, config))
    assert (there.plans, there.clip_id, there.info) == (here.plans, here.clip_id, here.info)
    for key, frames in here.frames.items():
        assert np.array_equal(there.frames[key], frames)


def test_hang_ends_at_the_deadline_and_the_next_clip_works(good: str, silent: str):
    """A file that hangs costs its deadline and its process, nothing else."""
    config = allowing(silent, deadline_s=1.0)
    with DecodeWorker(config) as worker:
        worker.decode(request(good, config))
        pid = worker.pid
        start = time.monotonic()
        with pytest.raises(VideoError) as caught:
            worker.decode(request(silent, config))
        assert caught.value.reason == Reason.DEADLINE
        assert 1.0 <= time.monotonic() - start < 20  # reading alone would wait for 30
        assert wait_until_dead(pid)
        assert worker.decode(request(good, config)).info.num_frames == 60


def test_stopped_process_is_killed_at_the_deadline(good: str):
    """A process that does not run at all, not even its signal handlers, is late too."""
    config = DecodeConfig(deadline_s=1.0)
    with DecodeWorker(config) as worker:
        worker.decode(request(good, config))
        pid = worker.pid
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(VideoError, match="deadline"):
            worker.decode(request(good, config))
        assert wait_until_dead(pid)


def test_death_of_the_decoder_is_a_reason(good: str, silent: str):
    """A crash while decoding is that clip's row; the next clip gets a new process."""
    config = allowing(silent, deadline_s=20.0, attempts=1)
    with DecodeWorker(config) as worker:
        worker.decode(request(good, config))
        killer = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -SEGV {worker.pid}"])
        with pytest.raises(VideoError) as caught:
            worker.decode(request(silent, config))
        killer.wait()
        assert caught.value.reason == Reason.DECODER_DIED
        assert "SIGSEGV" in caught.value.detail
        worker.decode(request(good, config))


def test_clip_that_takes_more_memory_than_allowed_has_its_reason(good: str, tmp_path: Path):
    """Its decoder is killed in the middle of it; the next clip decodes."""
    config = DecodeConfig(memory_gib=0.1)
    large = str(make_clip(tmp_path / "large.mp4", codec="mpeg4", num_frames=16, width=1920, height=1080))
    plans = {"native": NativePlan(max_frames=16)}
    with DecodeWorker(config) as worker:
        with pytest.raises(VideoError) as caught:
            worker.decode(ClipRequest(large, None, None, plans, DecodeConfig()))
        assert caught.value.reason == Reason.OUT_OF_MEMORY
        worker.decode(request(good, config))


def test_decoder_that_keeps_half_the_memory_retires(good: str):
    """What one clip leaves behind is not taken from the next."""
    config = DecodeConfig(memory_gib=0.1)
    with DecodeWorker(config) as worker:
        worker.decode(request(good, config))
        assert worker.pid is None


def test_death_between_clips_is_no_clips_fault(good: str):
    """A process that died idle is replaced without a word."""
    config = DecodeConfig()
    with DecodeWorker(config) as worker:
        worker.decode(request(good, config))
        os.kill(worker.pid, signal.SIGKILL)
        assert wait_until_dead(worker.pid)
        time.sleep(0.1)  # its threads end after what /proc shows
        worker.decode(request(good, config))


def test_clip_whose_decoder_was_killed_is_tried_again(good: str):
    """Memory was short, say: the clip is no worse for it."""
    config = DecodeConfig(deadline_s=20.0)
    with DecodeWorker(config) as worker:
        worker.decode(request(good, config))
        pid = worker.pid
        os.kill(pid, signal.SIGSTOP)
        killer = subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -KILL {pid}"])
        assert worker.decode(request(good, config)).info.num_frames == 60
        killer.wait()
        assert worker.pid != pid


def test_decoder_retires_after_its_share(good: str):
    """Decoders leak: a process does `recycle_after` clips."""
    config = DecodeConfig(recycle_after=2)
    with DecodeWorker(config) as worker:
        pids = []
        for _ in range(4):
            worker.decode(request(good, config))
            pids.append(worker.pid)
    assert pids[1] is None
    assert pids[3] is None
    assert len(set(pids)) == 3


def test_close_ends_the_decoder(good: str):
    """Nothing stays behind, neither process nor scratch files."""

    def scratch_folders() -> set[Path]:
        return set(Path(tempfile.gettempdir()).glob(f"{scratch.prefix('decode')}*"))

    config, before = DecodeConfig(), scratch_folders()
    worker = DecodeWorker(config)
    worker.decode(request(good, config))
    pid = worker.pid
    assert scratch_folders() > before
    worker.close()
    assert wait_until_dead(pid)
    assert scratch_folders() <= before


@pytest.mark.parametrize("stopped", [False, True])
def test_decoder_dies_with_its_parent(tmp_path: Path, silent: str, stopped: bool):
    """The parent is killed while its decoder hangs (even stopped): the decoder goes as well."""
    script = (
        "import sys, threading, time\n"
        "from tests.bad_videos import allowing\n"
        "from videopasta.config.video import UniformPlan\n"
        "from videopasta.video import ClipRequest, DecodeWorker\n"
        "config = allowing(sys.argv[1], deadline_s=60)\n"
        "worker = DecodeWorker(config)\n"
        "ask = lambda: worker.decode(ClipRequest(sys.argv[1], None, None, {'a': UniformPlan()}, config))\n"
        "threading.Thread(target=ask, daemon=True).start()\n"
        "while not worker.pid: time.sleep(0.01)\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, silent], stdout=subprocess.PIPE, text=True) as parent:
        decoder = int(parent.stdout.readline())
        time.sleep(0.3)
        assert is_alive(decoder)
        if stopped:
            os.kill(decoder, signal.SIGSTOP)
        parent.kill()
    assert wait_until_dead(decoder)


def test_a_mistake_in_the_decoder_reaches_the_caller(good: str):
    """Our own errors are not rows: they arrive with the child's traceback."""
    config = DecodeConfig()
    with DecodeWorker(config) as worker, pytest.raises(RuntimeError, match="Traceback"):
        worker.decode(ClipRequest(good, None, None, {"dense": "no plan"}, config))


class Canary:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self):
        return Path.touch, (self._path,)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"plans": 1}', b'{"refused": ["no such reason", "", null]}', b"\xff{", None],
    ids=["nothing", "list", "no plans", "reason", "no text", "pickle"],
)
def test_a_decoder_that_was_taken_over_says_nothing_that_runs(tmp_path: Path, body: bytes | None):
    """Whatever comes back from the process that reads hostile bytes is data: a pickle is an unreadable answer."""
    body = body if body is not None else pickle.dumps(Canary(tmp_path / "ran"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(struct.pack("!Q", len(body)) + body)
        with pytest.raises(EOFError, match="not readable"):
            receive_answer(ours, time.monotonic() + 5)
    assert not (tmp_path / "ran").exists()


def test_a_claim_of_more_than_memory_is_no_answer():
    """A length that nothing can hold ends in a reason, not in the parent's death."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(struct.pack("!Q", 2**63))
        with pytest.raises(EOFError, match="not readable"):
            receive_answer(ours, time.monotonic() + 5)


def test_errors_arrive_as_they_were_raised():
    """Reason, detail and hash, also with bytes in the detail that are not UTF-8."""
    error = VideoError(Reason.CORRUPT, "caf\udce9", "0" * 64)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send_answer(theirs, error)
        there = receive_answer(ours, time.monotonic() + 5)
    assert isinstance(there, VideoError)
    assert there.args == error.args


def test_the_decoder_is_given_no_secret_but_those_of_stores(good: str, monkeypatch: pytest.MonkeyPatch):
    """Keys of endpoints and Ray's token stay with the parent."""
    for name in ("OPENAI_API_KEY", "RAY_AUTH_TOKEN", "my_password", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "canary")
    config = DecodeConfig()
    with DecodeWorker(config) as worker:
        worker.decode(request(good, config))
        environment = Path(f"/proc/{worker.pid}/environ").read_bytes().decode().split("\0")
    assert [line for line in environment if line.endswith("=canary")] == ["AWS_SECRET_ACCESS_KEY=canary"]


def test_decoder_imports_no_ray_and_no_torch():
    """The child starts in a fraction of a second because it carries neither."""
    script = "import sys, videopasta.video._child\nprint(sorted({'ray', 'torch', 'vllm', 'av'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_decoder_killed_while_it_starts_costs_no_clip(good: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Its process is there a second before it can decode, and what kills processes does not ask."""
    started = tmp_path / "started"
    wrapper = tmp_path / "python"
    wrapper.write_text(
        f'#!/bin/sh\n[ -e {started} ] || {{ touch {started}; kill -KILL $$; }}\nexec {sys.executable} "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(wrapper))
    config = DecodeConfig()
    with DecodeWorker(config) as worker:
        assert worker.decode(request(good, config)).info.num_frames == 60
    assert started.exists()
