"""Routes of pair jobs: POST /v1/pairs, GET and DELETE /v1/pairs/ID, GET /v1/pairs/ID/result."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response, StreamingResponse

from videopasta.pairs import PairStore
from videopasta.serve.errors import ApiError
from videopasta.serve.pair_jobs import PairJob, PairJobs, PairOrder, is_id, json_lines, write_parquet

_PIECE_BYTES = 2**20


def pair_routes(jobs: PairJobs, **common: Any) -> APIRouter:
    """The routes; `common`: of each of them."""
    router = APIRouter(prefix="/v1/pairs", **common)

    @router.post("", status_code=202)
    async def order(
        given: PairOrder,
        request: Request,
        response: Response,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
    ) -> PairJob:
        """Order pairs of videos. With an `Idempotency-Key`, the same order again is the same job."""
        job = await jobs.order(given, client=request.state.client, key=idempotency_key)
        response.headers["Location"] = f"/v1/pairs/{job.id}"
        return job

    @router.get("/{job_id}")
    async def look(job_id: str) -> PairJob:
        """How far it is."""
        return await jobs.look(_checked(job_id))

    @router.delete("/{job_id}")
    async def cancel(job_id: str) -> PairJob:
        """End it; the pairs that are there stay."""
        return await jobs.cancel(_checked(job_id))

    @router.get("/{job_id}/result", response_class=Response)
    async def result(job_id: str, format: Literal["jsonl", "parquet"] = "jsonl") -> Response:
        """The pairs of a job that is over, with the columns of `videopasta generate`."""
        store = await jobs.store_of(_checked(job_id))
        if format == "jsonl":
            return StreamingResponse(json_lines(store), media_type="application/jsonl")
        file = await asyncio.to_thread(_parquet, store)
        headers = {"Content-Length": str(os.fstat(file.fileno()).st_size)}
        return StreamingResponse(_pieces(file), headers=headers, media_type="application/vnd.apache.parquet")

    return router


def _parquet(store: PairStore) -> BinaryIO:
    """Without a name: it is gone with the answer, also where the client is before it."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - `_pieces` closes it
    write_parquet(store, file)
    file.seek(0)
    return file


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _checked(job_id: str) -> str:
    if not is_id(job_id):
        raise ApiError(404, f"no job {job_id!r}", code="job_not_found")
    return job_id
