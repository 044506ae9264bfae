"""Whatever fits the API's description, and much that does not, is answered as the description says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from onelook.serve.app import create_app
from onelook.serve.settings import Settings

SHORT = 1.0  # seconds in which an answer may not be there, on a busy machine


def no_fault(context: Any, response: Any, case: Any) -> bool | None:
    """Schemathesis's own check, which takes the answer to a client's own short deadline, 504, for a fault too."""
    asked = parse_qs(urlsplit(response.request.url).query).get("timeout", ["inf"])
    if response.status_code == 504 and float(asked[-1]) < SHORT:
        return None
    return not_a_server_error(context, response, case)


CHECKS = [no_fault, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def api(model_paths: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("folder")
    (folder / "new.onnx").write_bytes(Path(model_paths["labels"]).read_bytes())
    app = create_app(Settings(models=model_paths, folder=folder, allow_urls=False))
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    app.state.models.close()


def test_answers_are_as_described(api: Any) -> None:
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) > 15
    for operation in operations:
        check(operation.as_strategy())


def check(cases: SearchStrategy[Any]) -> None:
    """Call with cases of one operation."""

    @settings(max_examples=20, suppress_health_check=list(HealthCheck))
    @given(cases)
    def call(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    call()
