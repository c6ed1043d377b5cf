"""`/admin/proofs`: runs of `callfold verify`, with their progress and results."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response

from services.api.http.answers import answer
from services.api.http.error_codes import ErrorCode
from services.api.http.errors import ApiError
from services.api.http.query import no_query
from services.ops.admin import documentation
from services.ops.admin.queries import ProofsQuery, proofs_query
from services.ops.admin.running_admin import RunningAdmin
from services.ops.proof.recorded_proofs import ProofRuns, begin_proof, find_proof, list_proofs

router = APIRouter(prefix="/proofs", tags=["proofs"])

ProofId = Annotated[UUID, Path(alias="id", description="The id of the proof.")]


@router.get("", **documentation.LIST_PROOFS)
async def list_all(request: Request, query: Annotated[ProofsQuery, Depends(proofs_query)]) -> Response:
    """Returns the newest proofs that were recorded, here or by `callfold verify --record`."""
    async with RunningAdmin.of(request).connection() as connection:
        rows = await list_proofs(connection, query.limit)
    return answer({"data": [dict(row) for row in rows]})


@router.get("/{id}", dependencies=[Depends(no_query)], **documentation.GET_PROOF)
async def get(request: Request, proof_id: ProofId) -> Response:
    """Returns one proof. While it runs, its progress is about a second old."""
    async with RunningAdmin.of(request).connection() as connection:
        row = await find_proof(connection, proof_id)
    if row is None:
        raise ApiError(ErrorCode.NOT_FOUND, "There is no proof with this id.")
    return answer(dict(row))


@router.post("", dependencies=[Depends(no_query)], **documentation.START_PROOF)
async def start(request: Request) -> Response:
    """Starts `callfold verify --record` in a process of its own. The process ends with the API, and the proof
    is then lost."""
    admin = RunningAdmin.of(request)
    async with admin.connection() as connection:
        try:
            proof_id = await begin_proof(connection)
        except ProofRuns:
            raise ApiError(ErrorCode.PROOF_RUNS, "A proof is running; wait for its end.") from None
        row = await find_proof(connection, proof_id)
    # The process of the proof before has stored its result and still ends, or its proof is lost.
    await admin.proof.stop()
    await admin.proof.start(proof_id)
    return answer(dict(row or {}), status=HTTPStatus.ACCEPTED)
