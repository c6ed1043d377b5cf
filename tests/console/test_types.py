"""The console's sources: their types are those of the OpenAPI documents, and their style is clean."""

import json

import pytest

from services.api.console import build
from services.ops.reference.admin_page import admin_document
from services.ops.reference.api_page import api_document
from tests.support.built_console import alone

pytestmark = [pytest.mark.processes, pytest.mark.long]


@pytest.mark.parametrize("field", ["answer_rate", "waiting_deltas"])
def test_a_field_that_an_api_no_longer_has_is_found(field: str) -> None:
    documents = [json.dumps(api_document()), json.dumps(admin_document())]
    assert any(f'"{field}"' in document for document in documents)
    with alone(), pytest.raises(build.BuildFailed, match=field):
        build.check(*(document.replace(f'"{field}"', '"renamed"') for document in documents))


def test_types_agree_with_the_openapi_documents_and_the_style_is_clean() -> None:
    with alone():
        build.check(json.dumps(api_document()), json.dumps(admin_document()))
