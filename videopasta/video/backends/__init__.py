"""Decoders behind one protocol; each imports its library only when used."""

from videopasta.config.video import Backend as BackendName
from videopasta.video.backends.base import Backend


def get_backend(name: BackendName) -> Backend:
    """The backend of that name: `pyav`, `decord` or `torchcodec`."""
    match name:
        case "pyav":
            from videopasta.video.backends.pyav import PyAVBackend

            return PyAVBackend()
        case "decord":
            from videopasta.video.backends.decord import DecordBackend

            return DecordBackend()
        case "torchcodec":
            from videopasta.video.backends.torchcodec import TorchcodecBackend

            return TorchcodecBackend()


__all__ = ["Backend", "get_backend"]
