"""Creates OpenAPI descriptions of the pods' HTTP interfaces from the pydantic models that parse their requests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from middleware.http.addressee import HEADER, MISDIRECTED, PATTERN

PATH: Final = "/v1/openapi.json"
LARGEST: Final = 2**31 - 1
"""The largest number in paths and queries: the largest integer of a database column."""
_PARAMETER = re.compile(r"\{(\w+)\}")
_ADDRESSEE: Final[Mapping[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "required": True,
    "description": "target node: the run's uid, a slash, the node's index; another node answers 421",
    "schema": {"type": "string", "pattern": PATTERN},
}
_REF = "#/components/schemas/{model}"


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    path: may contain `{parameters}`
    body: model of the request's body
    answer: model or dataclass of the answer's body, a media type, or None for no body
    status: of success
    refusals: statuses that are answered with a `Problem`
    parameters: schemas of the parameters in the path and in the query, by name
    optional: names of the parameters that a request may leave out
    headers: schemas of the required headers, by name
    addressed: whether a request needs the header with the target node (`addressee.py`)
    """

    method: str
    path: str
    summary: str
    body: type[BaseModel] | None = None
    answer: type | str | None = None
    status: int = 200
    refusals: tuple[int, ...] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    headers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    addressed: bool = False


def describe(title: str, operations: Sequence[Operation], secured: bool, open_paths: Sequence[str]) -> dict[str, Any]:
    """The OpenAPI 3.1 description. secured: whether all paths except `open_paths` need a bearer token"""
    models = {one for each in operations for one in (each.body, each.answer) if isinstance(one, type)}
    ordered = sorted(models | {Problem}, key=lambda model: model.__name__)
    # A field with a default is optional in a request's body, but always present in an answer.
    inputs = {each.body for each in operations if each.body is not None}
    modes: Any = [
        (model, "validation" if model in inputs else "serialization", TypeAdapter(model)) for model in ordered
    ]
    _, schemas = TypeAdapter.json_schemas(modes, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        needs_token = secured and each.path not in open_paths
        paths.setdefault(each.path, {})[each.method.lower()] = _described(each, needs_token)
    components: dict[str, Any] = {"schemas": schemas["$defs"]}
    if secured:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version("offload-testbed")},
        "paths": paths,
        "components": components,
    }


def _described(operation: Operation, needs_token: bool) -> dict[str, Any]:
    answers: dict[str, Any] = {str(operation.status): {"description": "done", **_content(operation.answer)}}
    refusals = {*operation.refusals}
    if operation.body is not None:
        refusals |= {400, 413, 422}
    if operation.addressed:
        refusals |= {400, MISDIRECTED}
    if needs_token:
        refusals.add(401)
    for status in sorted(refusals):
        answers[str(status)] = {"description": "refused", **_content(Problem)}
    described: dict[str, Any] = {
        "operationId": f"{operation.method.lower()}{re.sub(r'[^a-z]+', '_', operation.path.lower())}".rstrip("_"),
        "summary": operation.summary,
        "responses": answers,
    }
    in_path = set(_PARAMETER.findall(operation.path))
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path" if name in in_path else "query",
            "required": name not in operation.optional,
            "schema": dict(schema),
        }
        for name, schema in operation.parameters.items()
    ] + [
        {"name": name, "in": "header", "required": True, "schema": dict(schema)}
        for name, schema in operation.headers.items()
    ]
    if operation.addressed:
        parameters.append(dict(_ADDRESSEE))
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {"required": True, **_content(operation.body)}
    if needs_token:
        described["security"] = [{"token": []}]
    return described


def _content(what: type | str | None) -> dict[str, Any]:
    if what is None:
        return {}
    if isinstance(what, str):
        return {"content": {what: {}}}
    media = "application/problem+json" if what is Problem else "application/json"
    return {"content": {media: {"schema": {"$ref": _REF.format(model=what.__name__)}}}}
