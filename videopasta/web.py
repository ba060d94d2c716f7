"""Files by http(s), read as what was named and nothing else: no redirects, no way into networks behind the machine.

A name is resolved once, every address it has must be a public one, and the connection goes to the address that was
checked. An address written as such stands for itself: whoever allows it says so (`decode.sources.hosts`).
"""

import http.client
import io
import ipaddress
import socket
import ssl
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

_TIMEOUT_S = 30.0  # of connecting and of each read


class ForbiddenAddressError(OSError):
    """A name that leads to a loopback, link-local, private or otherwise reserved address, or a redirect."""


def open_url(url: str) -> BinaryIO:
    """The content behind an http(s) URL, to be read from start to end.

    Raises:
        ForbiddenAddressError: it leads elsewhere than its name says.
        FileNotFoundError: there is nothing (404, 410).
        PermissionError: it may not be read (401, 403).
        OSError: any other failure.
    """
    parts = urlsplit(url)
    if parts.hostname is None:
        raise OSError(f"{url}: no host")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    connection = _Pinned(parts.hostname, port, tls=parts.scheme == "https")
    try:
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request("GET", target, headers={"User-Agent": "videopasta"})
        response = connection.getresponse()
    except http.client.HTTPException as error:
        connection.close()
        raise OSError(f"no answer in HTTP ({type(error).__name__})") from error
    except BaseException:
        connection.close()
        raise
    if response.status == http.client.OK:
        return cast(BinaryIO, _Content(connection, response))
    connection.close()
    said = f"HTTP {response.status} {response.reason}"
    if 300 <= response.status < 400:
        raise ForbiddenAddressError(f"{said}: redirects are not followed; name the file where it lies")
    if response.status in (404, 410):
        raise FileNotFoundError(said)
    raise (PermissionError if response.status in (401, 403) else OSError)(said)


class _Content(io.RawIOBase):
    """The body of a response. One that ends early is an error, never a shorter file."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection, self._response = connection, response

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            count = self._response.readinto(buffer)
        except http.client.HTTPException as error:
            raise OSError(f"the answer breaks off ({type(error).__name__})") from error
        if not count and self._response.length:
            raise OSError(f"the answer breaks off {self._response.length} bytes before its end")
        return count

    def close(self) -> None:
        self._response.close()
        self._connection.close()
        super().close()


class _Pinned(http.client.HTTPConnection):
    """Connects to an address that was checked; certificates are checked for the name."""

    def __init__(self, host: str, port: int, *, tls: bool) -> None:
        super().__init__(host, port, timeout=_TIMEOUT_S)
        self._tls = tls
        self.default_port = 443 if tls else 80  # left out of the header Host

    def connect(self) -> None:
        problem = OSError(f"{self.host} has no address")
        for address in checked_addresses(self.host, self.port):
            try:
                self.sock = socket.create_connection((address, self.port), _TIMEOUT_S)
                break
            except OSError as error:  # the next may be of the kind that this machine's network has
                problem = error
        else:
            raise problem
        if self._tls:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def checked_addresses(host: str, port: int) -> list[str]:
    """The addresses to connect to for `host`.

    Raises:
        ForbiddenAddressError: one of the addresses of the name is no public one.
        OSError: the name has none.
    """
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in found:
        ip = ipaddress.ip_address(address.partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if not ip.is_global or ip.is_multicast:
            raise ForbiddenAddressError(f"{host} is {address}, which is no public address; name the address itself")
    return found
