"""What the server takes and gives, for programs (OpenAPI) and for the page."""

from __future__ import annotations

from typing import Any

from trunkline.schema import Preprocessing
from trunkline.serving.limits import Limits

MANY = 200  # names of a category that are listed
JSON_TYPES: dict[str, dict[str, Any]] = {
    "number": {"type": ["number", "string", "boolean", "null"]},
    "vector": {"type": ["array", "string", "null"]},
    "graph": {"type": ["string", "object", "null"]},
}

ANSWERS = {"text": "string", "transcript": "string", "tags": "array", "boxes": "array"}  # other kinds' are objects


def inputs_of(preprocessing: Preprocessing) -> list[dict[str, Any]]:
    """By column `{column, names, kind, is_file, choices}`: one column may be several inputs."""
    found: dict[str, dict[str, Any]] = {}
    for name, column in preprocessing.schema.inputs.items():
        choices = list(preprocessing.input_state(name).get("values") or ())
        told = {
            "column": column.column,
            "kind": type(column.modality).__name__.lower(),
            "is_file": column.modality.reads_files,
            "choices": choices if all(isinstance(c, str) for c in choices) and len(choices) <= MANY else [],
        }
        found.setdefault(column.column, {**told, "names": []})["names"].append(name)
    return list(found.values())


def tasks_of(preprocessing: Preprocessing) -> list[dict[str, Any]]:
    """`{name, kind, of}` of each task."""
    return [
        {"name": name, "kind": type(column.task).__name__.lower(), "of": column.of}
        for name, column in preprocessing.schema.tasks.items()
    ]


def openapi(preprocessing: Preprocessing, name: str, version: str, limits: Limits) -> dict[str, Any]:
    """OpenAPI 3.1."""
    inputs = inputs_of(preprocessing)
    row = {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {one["column"]: _cell(one) for one in inputs},
        "anyOf": [
            {"required": [one["column"]], "properties": {one["column"]: {"not": {"type": "null"}}}} for one in inputs
        ],
    }
    tasks = {"type": ["array", "null"], "items": {"enum": [task["name"] for task in tasks_of(preprocessing)]}}
    rows = {"type": "array", "items": row, "minItems": 1, "maxItems": limits.rows}
    body = {"type": "object", "required": ["rows"], "properties": {"rows": rows, "tasks": tasks},
            "additionalProperties": False}  # fmt: skip
    upload = {one["column"]: {"type": "string", **({"format": "binary"} if one["is_file"] else {})} for one in inputs}
    form = {"type": "object", "properties": upload, "minProperties": 1, "additionalProperties": False}
    answer = {
        "type": "object",
        "required": ["predictions"],
        "properties": {
            "predictions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        task["name"]: {
                            "type": [ANSWERS.get(task["kind"], "object"), "null"],
                            "description": f"{task['kind']}; null: its input is absent",
                        }
                        for task in tasks_of(preprocessing)
                    },
                },
            }
        },
    }
    predict = {
        "summary": "Answers of the tasks, for one row or several. Any inputs may be absent, but not all of a row.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": body},
                "multipart/form-data": {"schema": form},
            },
        },
        "responses": {
            "200": {"description": "one prediction a row", "content": {"application/json": {"schema": answer}}},
            **{code: {"description": why, "content": {"application/json": {"schema": ERROR}}} for code, why in REFUSED},
        },
    }
    plain = {"200": {"description": "as said"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": version},
        "paths": {
            "/predict": {"post": predict},
            "/health": {"get": {"summary": "Whether it answers, and what it knows", "responses": plain}},
            "/metrics": {"get": {"summary": "Counters, in Prometheus' format", "responses": plain}},
        },
    }


ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
REFUSED = (
    ("400", "no JSON, or no form"),
    ("403", "a page of another site asks"),
    ("413", "too long"),
    ("415", "neither JSON nor a form"),
    ("422", "a row cannot be used; the error says which, and why"),
    ("500", "a fault of the server's, told in its log"),
    ("503", "too much waits"),
    ("504", "it took too long"),
)


def _cell(one: dict[str, Any]) -> dict[str, Any]:
    if one["is_file"]:
        return {"type": ["string", "null"], "contentEncoding": "base64", "description": f"{one['kind']}, a file"}
    return {
        **JSON_TYPES.get(one["kind"], {"type": ["string", "number", "boolean", "null"]}),
        "description": one["kind"],
    }
