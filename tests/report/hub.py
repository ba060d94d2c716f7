"""A stand-in for the hub: what `huggingface_hub` asks of it to create a dataset and to commit files."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """Keeps what is sent, for who has the token."""

    def __init__(self, token: str) -> None:
        self.files: dict[str, bytes] = {}
        self.created: list[dict[str, object]] = []
        self.is_public = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.headers.get("authorization") != f"Bearer {token}":
                    self._answer({"error": "Invalid username or password."}, 401)
                elif self.path == "/api/repos/create":
                    hub.created.append(json.loads(body))
                    self._answer(
                        {"url": f"{hub.url}/datasets/{json.loads(body)['organization']}/{json.loads(body)['name']}"}
                    )
                elif self.path == "/api/validate-yaml":
                    self._answer({"errors": [], "warnings": []})
                elif "/preupload/" in self.path:
                    files = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                             for one in json.loads(body)["files"]]  # fmt: skip
                    self._answer({"files": files})
                elif "/commit/" in self.path:
                    for line in body.splitlines():
                        one = json.loads(line)
                        if one["key"] == "file":
                            hub.files[one["value"]["path"]] = base64.b64decode(one["value"]["content"])
                    self._answer({"commitUrl": f"{hub.url}/datasets/me/pasta/commit/1", "commitOid": "1"})
                else:
                    self._answer({"error": f"no such thing: {self.path}"}, 404)

            def do_GET(self) -> None:
                if self.path.startswith("/api/datasets/me/pasta"):
                    self._answer({"id": "me/pasta", "private": not hub.is_public, "tags": [], "siblings": []})
                else:
                    self._answer({"error": "Invalid username or password."}, 401)

            def _answer(self, value: object, status: int = 200) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(value).encode())

            def log_message(self, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
