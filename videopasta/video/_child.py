"""The decoder process of `worker.py`: ``python -m videopasta.video._child SOCKET_FD PARENT_PID``.

Reads requests from the socket, answers with a clip, a `VideoError`, or the traceback of a mistake of ours.
Imports neither Ray nor torch (unless torchcodec is the backend).
"""

import resource
import signal
import socket
import sys
import traceback
from pathlib import Path

from videopasta.parent import die_with
from videopasta.video.decode import decode_clip
from videopasta.video.errors import Reason, VideoError
from videopasta.video.worker import Answer, receive_request, send_answer

_TIMER_SLACK_S = 5.0  # the parent kills at the deadline; the timer is for when there is no parent


def main() -> None:
    """Serve until the socket closes."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    die_with(int(sys.argv[2]), signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    import av

    av.logging.set_level(None)
    while True:
        try:
            job = receive_request(connection)
        except (EOFError, ConnectionError):
            return
        if job is None:
            send_answer(connection, "ready")
            continue
        request, deadline_s, memory_gib = job
        # Ends the process by its default action, in the kernel: also when C code holds the GIL.
        signal.setitimer(signal.ITIMER_REAL, deadline_s + _TIMER_SLACK_S)
        _limit_memory(memory_gib)
        answer: Answer
        try:
            answer = decode_clip(request)
        except VideoError as error:
            answer = error
        except MemoryError as error:
            answer = VideoError(Reason.OUT_OF_MEMORY, str(error) or "no memory left")
        except Exception:  # the parent raises it
            answer = traceback.format_exc()
        send_answer(connection, answer)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_memory(gib: float) -> None:
    """On Linux, let this process take at most twice as much more than it has.

    The parent kills it at `gib`. This is for the single step that is larger than that: libraries that are refused
    memory fail in ways that seldom say so.
    """
    if sys.platform == "linux":
        taken_bytes = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = taken_bytes + int(2 * gib * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


if __name__ == "__main__":
    main()
