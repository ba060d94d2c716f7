"""What a client hears when it does not get what it asked for, in OpenAI's shape."""

import math

from pydantic import BaseModel
from starlette.responses import JSONResponse

from videopasta.engine import EngineDead, RequestError
from videopasta.video import Reason, VideoError


class ErrorBody(BaseModel):
    """Of `ErrorAnswer`."""

    message: str
    type: str
    param: str | None = None
    """The field of the request."""
    code: str | None = None
    """What a program can tell cases apart by."""


class ErrorAnswer(BaseModel):
    """The body of every answer but 2xx."""

    error: ErrorBody


class ApiError(Exception):
    """Ends a request with a status and words for people."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s
        kind = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
        fallback = "invalid_request_error" if status < 500 else "server_error"
        self.body = ErrorAnswer(
            error=ErrorBody(message=message, type=kind.get(status, fallback), code=code, param=param)
        )

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {} if self.retry_after_s is None else {"Retry-After": str(math.ceil(self.retry_after_s))}

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.body.model_dump(mode="json"), self.status, self.headers)


_STATUS_OF_VIDEO = {
    Reason.NOT_ALLOWED: 403,
    Reason.TOO_LARGE_FILE: 413,
    Reason.TOO_LARGE: 413,
    Reason.OUT_OF_MEMORY: 413,
    Reason.DEADLINE: 504,
    Reason.FETCH_FAILED: 502,
}
_STATUS_OF_ENGINE = {"prompt_too_long": 400, "engine_refused": 400, "control_token": 400, "deadline": 504}


def as_api_error(error: RequestError | VideoError | EngineDead) -> ApiError:
    """A refusal of decoders or engines as an answer."""
    if isinstance(error, VideoError):
        status = _STATUS_OF_VIDEO.get(error.reason, 400)
        return ApiError(status, f"the video cannot be used: {error.detail}", code=error.reason.value, param="messages")
    if isinstance(error, EngineDead):
        return ApiError(503, "the engine ended; another one starts", code="engine_died", retry_after_s=10)
    return ApiError(_STATUS_OF_ENGINE.get(error.reason, 502), error.detail, code=error.reason)
