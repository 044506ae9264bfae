"""Errors as answers: application/problem+json (RFC 9457)."""

from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from onelook.errors import Error, ModelError, SourceError

MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """What a request is answered with in place of a result.

    Args:
        status: of HTTP.
        detail: one line.
        headers: of the answer.
    """

    def __init__(self, status: int, detail: str, **headers: str):
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def to_dict(self) -> dict[str, Any]:
        """The members of RFC 9457; "type" is left out, as the status says all."""
        return {"title": HTTPStatus(self.status).phrase, "status": self.status, "detail": self.detail}

    def answer(self) -> JSONResponse:
        """The response."""
        return JSONResponse(self.to_dict(), self.status, self.headers, MEDIA_TYPE)


class BusyError(ProblemError):
    """The queue is full."""

    def __init__(self) -> None:
        super().__init__(429, "too many pictures are waiting; try again", Retry_After="1")


class FullError(ProblemError):
    """Too many requests are under way."""

    def __init__(self) -> None:
        super().__init__(503, "too many requests are under way; try again", Retry_After="1")


class LateError(ProblemError):
    """The deadline has passed."""

    def __init__(self) -> None:
        super().__init__(504, "not answered in time")


class ClosingError(ProblemError):
    """The server, or the model, is being shut down."""

    def __init__(self) -> None:
        super().__init__(503, "shutting down", Retry_After="5")


def problem_of(error: Exception) -> ProblemError:
    """How an exception is answered. What nobody expected says nothing of itself."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, TimeoutError):
        return LateError()
    if isinstance(error, SourceError):
        return ProblemError(400, str(error))
    if isinstance(error, Error) and not isinstance(error, ModelError):
        return ProblemError(422, str(error))
    return ProblemError(500, "the model failed on this picture" if isinstance(error, ModelError) else "internal error")
