"""A decoder process that can be killed: decoders hang with the GIL held, crash and leak.

`DecodeWorker` owns one child (`_child.py`), hands it one clip at a time and waits until the deadline. A child
that is late or takes too much memory is killed, and one that died is replaced. One that has done `recycle_after`
clips, or still holds half the memory it may take, retires. The child never outlives its parent: it ends when its
socket closes, when its parent dies, and, should it hang in C code then, by a kernel timer set for each clip.

On the wire to the child: a length and a pickle. Back from it: a length, JSON, and the frames' bytes, whose number the
frame plans in the JSON tell. Nothing that the child says is unpickled: it has read what strangers wrote. Pixels are
not copied: numpy's memory goes straight into the socket and out of it.
"""

import itertools
import json
import math
import os
import pickle
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from videopasta import scratch
from videopasta.config.video import DecodeConfig
from videopasta.video.decode import ClipRequest, DecodedClip
from videopasta.video.errors import Reason, VideoError
from videopasta.video.plan import FramePlan
from videopasta.video.probe import VideoInfo

# Importing numpy, pydantic and PyAV on a loaded machine; not the clip's time.
_START_DEADLINE_S = 120.0
_OF_THE_MOMENT = frozenset((Reason.DECODER_DIED, Reason.FETCH_FAILED))
_PAUSE_S = 0.5  # before the second attempt; twice as long before the third
_SCRATCH = "decode"
_LOOK_EVERY_S = 0.05  # at the child's memory: at 4 GB/s it takes 0.2 GB more before it is killed
_LENGTH = struct.Struct("!Q")
# Of the secrets in this environment the child, which parses hostile files, gets those alone that open remote stores.
_NOT_FOR_THE_CHILD = re.compile(r"(?!AWS_|GOOGLE_|AZURE_|HF_|FSSPEC_)\w*(KEY|TOKEN|SECRET|PASSWORD)", re.IGNORECASE)
_SCALARS = tuple(field.name for field in fields(DecodedClip) if field.name not in ("info", "plans", "frames"))


class DecodeWorker:
    """Decodes clips one at a time in a process of its own. Not for several threads at once.

    >>> with DecodeWorker(DecodeConfig()) as worker:  # doctest: +SKIP
    ...     clip = worker.decode(ClipRequest("a.mp4", None, None, {"dense": UniformPlan()}, config))
    """

    def __init__(self, config: DecodeConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._child: _Child | None = None
        scratch.sweep(_SCRATCH)

    def decode(self, request: ClipRequest) -> DecodedClip:
        """`decode_clip(request)` in the child, by `deadline_s`; tried again where only the moment was bad.

        Raises:
            VideoError: as `decode_clip`, and `deadline`, `out_of_memory` or `decoder_died`.
            RuntimeError: a mistake in our code in the child, with its traceback, or a child that cannot
            start.
        """
        for attempt in itertools.count(1):
            try:
                return self._decode_once(request)
            except VideoError as error:
                if error.reason not in _OF_THE_MOMENT or attempt >= self._config.attempts:
                    raise
            except _NoStartError:
                if attempt >= self._config.attempts:
                    raise
            time.sleep(attempt * _PAUSE_S)
        raise AssertionError("not reached")

    def _decode_once(self, request: ClipRequest) -> DecodedClip:
        with self._lock:
            child = self._ready_child()
            deadline_s, memory_gib = self._config.deadline_s, self._config.memory_gib
            memory_bytes = memory_gib * 2**30
            try:
                result = child.ask((request, deadline_s, memory_gib), time.monotonic() + deadline_s, memory_bytes)
            except TimeoutError as error:
                self._drop()
                raise VideoError(Reason.DEADLINE, f"not decoded in {deadline_s:g} s") from error
            except _TooLargeError as error:
                self._drop()
                raise VideoError(Reason.OUT_OF_MEMORY, f"{error}, over memory_gib={memory_gib:g}") from error
            except (EOFError, ConnectionError) as error:
                died = child.kill()
                self._drop()
                raise VideoError(Reason.DECODER_DIED, died) from error
            if child.num_clips >= self._config.recycle_after or child.memory_bytes() > memory_bytes / 2:
                self._drop()
        if isinstance(result, VideoError):
            raise result
        if isinstance(result, str):
            raise RuntimeError(f"decoding {request.uri} failed in the decoder process:\n{result}")
        return result

    @property
    def pid(self) -> int | None:
        """Process id of the child; None before the first clip and after a kill."""
        return self._child.process.pid if self._child else None

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready_child(self) -> "_Child":
        if self._child is not None and self._child.process.poll() is not None:
            self._drop()  # it died between two clips: no clip's fault
        if self._child is None:
            try:
                self._child = _Child()
            except OSError as error:  # no room, no memory, no file handles: this machine's
                raise _NoStartError(f"the decoder process does not start: {error}") from error
        return self._child

    def _drop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


class _NoStartError(RuntimeError):
    pass


class _TooLargeError(Exception):
    """The child takes more memory than it may."""


def decode_stored(worker: DecodeWorker, request: ClipRequest, video_sha256: str) -> DecodedClip:
    """A clip as a row has it: decoded from the content that the row was made from.

    Raises:
        VideoError: as `DecodeWorker.decode`, and `changed` where the file has another hash than `video_sha256`.
    """
    decoded = worker.decode(request)
    if decoded.video_sha256 != video_sha256:
        raise VideoError(
            Reason.CHANGED,
            f"{request.uri} has SHA-256 {decoded.video_sha256}, its rows were made from {video_sha256}",
            decoded.video_sha256,
        )
    return decoded


class _Child:
    """The process, its socket, and its scratch folder, which goes with it."""

    def __init__(self) -> None:
        self.num_clips = 0
        self._scratch = tempfile.TemporaryDirectory(prefix=scratch.prefix(_SCRATCH))
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "videopasta.video._child", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=self._stderr,
                env={
                    **{name: value for name, value in os.environ.items() if not _NOT_FOR_THE_CHILD.match(name)},
                    # What this process can import (Ray adds folders while running), the child can.
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    "TMPDIR": self._scratch.name,
                },
            )
        try:
            self.ask(None, time.monotonic() + _START_DEADLINE_S)
        except (EOFError, ConnectionError, TimeoutError) as error:
            raise _NoStartError(f"the decoder process does not start: {self.kill()}") from error
        self.num_clips = 0

    def ask(
        self, message: tuple[ClipRequest, float, float] | None, deadline: float, memory_bytes: float = math.inf
    ) -> "Answer":
        """Send and await the answer until `deadline` (of the monotonic clock), with an eye on the memory."""
        self.num_clips += 1
        send_request(self._socket, message)
        while True:
            self._socket.settimeout(max(1e-3, min(_LOOK_EVERY_S, deadline - time.monotonic())))
            try:
                self._socket.recv(1, socket.MSG_PEEK)
                return receive_answer(self._socket, deadline)
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise
            if (taken := self.memory_bytes()) > memory_bytes:
                raise _TooLargeError(f"{taken / 2**30:.2f} GiB")

    def memory_bytes(self) -> int:
        """What it holds now; 0 where the system does not tell (it tells on Linux)."""
        try:
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()
        except OSError:
            return 0

    def kill(self) -> str:
        """End the process at once; how it ended, and the last words it wrote."""
        self._socket.close()
        code = self.process.poll()
        if code is None:
            try:  # with its socket closed, a process that is dying already needs a moment to say how
                code = self.process.wait(0.05)
            except subprocess.TimeoutExpired:
                self.process.kill()
                code = self.process.wait()
        self._scratch.cleanup()
        ending = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        words = "" if self._stderr.closed else _tail(self._stderr)
        self._stderr.close()
        return f"ended by {ending}" + (f": {words}" if words else "")


def _tail(file: BinaryIO, num_bytes: int = 2000) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - num_bytes))
    return file.read().decode(errors="replace").strip()


Answer = DecodedClip | VideoError | str
"""What the child says: a clip, why there is none, or words: it is ready, or the traceback of a mistake of ours."""


def send_request(connection: socket.socket, message: tuple[ClipRequest, float, float] | None) -> None:
    """Ask the child for a clip within so many seconds and GiB, or (None) whether it is there."""
    body = pickle.dumps(message)
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive_request(connection: socket.socket) -> tuple[ClipRequest, float, float] | None:
    """The parent's next message.

    Raises:
        EOFError: the parent is gone.
    """
    (length,) = _LENGTH.unpack(_read(connection, _LENGTH.size, None))
    request: tuple[ClipRequest, float, float] | None = pickle.loads(_read(connection, length, None))
    return request


def send_answer(connection: socket.socket, answer: Answer) -> None:
    """Say what came of a request."""
    frames: list[np.ndarray] = []
    if isinstance(answer, DecodedClip):
        frames = [answer.frames[plan.key] for plan in _distinct(answer.plans)]
        value: dict[str, Any] = {
            "clip": {name: getattr(answer, name) for name in _SCALARS},
            "info": answer.info.to_dict(),
            "plans": {name: plan.to_dict() for name, plan in answer.plans.items()},
        }
    elif isinstance(answer, VideoError):
        value = {"refused": answer.args}
    else:
        value = {"words": answer}
    body = json.dumps(value).encode()
    connection.sendall(_LENGTH.pack(len(body)) + body)
    for array in frames:
        connection.sendall(array.data)


def receive_answer(connection: socket.socket, deadline: float) -> Answer:
    """What the child says.

    Raises:
        TimeoutError: not complete by `deadline` (of the monotonic clock).
        EOFError: the child is gone, or says what no child of ours would.
    """
    try:
        (length,) = _LENGTH.unpack(_read(connection, _LENGTH.size, deadline))
        value = json.loads(_read(connection, length, deadline))
        if "words" in value:
            return str(value["words"])
        if "refused" in value:
            reason, detail, video_sha256 = value["refused"]
            return VideoError(Reason(reason), detail, video_sha256)
        plans = {name: FramePlan.from_dict(plan) for name, plan in value["plans"].items()}
        frames = {}
        for plan in _distinct(plans):
            shape = (plan.num_frames, plan.height, plan.width, 3)
            frames[plan.key] = np.frombuffer(_read(connection, math.prod(shape), deadline), np.uint8).reshape(shape)
        return DecodedClip(**value["clip"], info=VideoInfo(**value["info"]), plans=plans, frames=frames)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, MemoryError) as error:
        raise EOFError(f"the decoder's answer is not readable: {error!r}") from error


def _distinct(plans: Mapping[str, FramePlan]) -> Iterable[FramePlan]:
    """Equal plans share their frames."""
    return {plan.key: plan for plan in plans.values()}.values()


def _read(connection: socket.socket, num_bytes: int, deadline: float | None) -> bytearray:
    data = bytearray(num_bytes)
    view = memoryview(data)
    while view:
        if deadline is not None:
            connection.settimeout(max(1e-3, deadline - time.monotonic()))
        received = connection.recv_into(view)
        if not received:
            raise EOFError("the other end closed")
        view = view[received:]
    return data
