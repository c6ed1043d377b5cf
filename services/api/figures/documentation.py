"""OpenAPI descriptions of the routes of figures, beyond their signatures."""

from typing import Any, Final

from services.api.figures import models
from services.api.figures.stats_query import StatsQuery, TrendsQuery
from services.api.http.common_responses import ERRORS, NOT_MODIFIED, TAGGED
from services.api.http.query import query_parameters

GET_STATS: Final[dict[str, Any]] = {
    "operation_id": "get_stats",
    "summary": "Get the status breakdown and the figures",
    "response_model": models.CallStats,
    "response_description": "The figures.",
    "openapi_extra": {"parameters": query_parameters(StatsQuery)},
    "responses": {**ERRORS, 200: TAGGED, 304: NOT_MODIFIED},
}
GET_TRENDS: Final[dict[str, Any]] = {
    "operation_id": "get_trends",
    "summary": "Get the counts by hour, day, week or month",
    "response_model": models.CallTrends,
    "response_description": "One row per interval.",
    "openapi_extra": {"parameters": query_parameters(TrendsQuery)},
    "responses": {**ERRORS, 200: TAGGED, 304: NOT_MODIFIED},
}

SAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "get_stats": (
        "/calls/stats?start_date=2026-11-01&end_date=2026-11-30&compare=previous",
        "/calls/stats?group_by=phone_number",
    ),
    "get_trends": (
        "/calls/trends?interval=week&start_date=2026-09-01&end_date=2026-11-30",
        "/calls/trends?interval=week&week_start=sunday&compare=previous",
    ),
}
"""Example requests of each operation, for a shell."""
