"""The server's OpenAPI document."""

from typing import Any

import mere_ds
from mere_ds.config import AUTO
from mere_ds.serving.asking import Reader

_TEXT = {"type": "string", "description": "In Unicode; its offsets count code points."}
_SPAN = {
    "type": "object",
    "required": ["text", "start", "end"],
    "properties": {
        "text": {"type": "string"},
        "start": {"type": "integer", "minimum": 0},
        "end": {"type": "integer", "minimum": 0, "description": "The place after its last character."},
    },
    "additionalProperties": False,
}
_TRIPLE = {
    "type": "object",
    "required": ["head", "relation", "tail", "score"],
    "properties": {
        "head": {"$ref": "#/components/schemas/Span"},
        "relation": {"type": "string"},
        "tail": {"$ref": "#/components/schemas/Span"},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "additionalProperties": False,
}
_ANSWER = {
    "type": "object",
    "required": ["text", "lang", "triples"],
    "properties": {
        "text": {"type": "string"},
        "lang": {"type": ["string", "null"], "description": "null: detected, but unclear"},
        "triples": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/Triple"},
            "description": "The highest score first; of a document in the order of its sentences.",
        },
        "note": {"type": "string", "description": "Why there is none, or that only the text's beginning was read."},
    },
}
_ABOUT = {
    "type": "object",
    "required": [
        "model",
        "version",
        "languages",
        "labels",
        "min_score",
        "max_text",
        "max_texts",
        "max_body",
        "documents",
    ],
    "properties": {
        "model": {"type": "string"},
        "version": {"type": "string"},
        "languages": {"type": "array", "items": {"type": "string"}},
        "labels": {"type": "array", "items": {"type": "string"}},
        "min_score": {"type": ["number", "null"], "description": "Least score of a triple if a request names none."},
        "max_text": {"type": "integer"},
        "max_texts": {"type": "integer"},
        "max_body": {"type": "integer"},
        "documents": {"type": "boolean", "description": "Whether requests may have a document."},
    },
}
_ERRORS = {
    400: "Not JSON",
    401: "No token, or another one",
    408: "The body came too slowly",
    413: "Too much: the body, a text, or the number of texts",
    415: "Not sent as application/json",
    421: "Another Host than this server's",
    422: "JSON of another shape, or an unknown language",
    429: "The queue is full: try again after the seconds of Retry-After",
    500: "Not computed",
}


def description(reader: Reader, max_body: int, with_token: bool) -> dict[str, Any]:
    """OpenAPI 3.1 of a server whose requests `reader` reads."""
    language = {
        "type": "string",
        "enum": list(reader.languages),
        "description": f"{AUTO}: detected" if AUTO in reader.languages else "Of the text",
    }
    text = _TEXT | {"maxLength": reader.max_text}
    common = {
        "lang": language,
        "min_score": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "max_triples": {"type": ["integer", "null"], "minimum": 1},
    }
    one = _object({"text": text, **common}, "text", "lang")
    member = {"oneOf": [text, _object({"text": text, "lang": language}, "text")]}
    texts = {"type": "array", "maxItems": reader.max_texts, "items": member}
    many = _object({"texts": texts, **common}, "texts")
    whole = _object(
        {"document": text | {"description": "Read whole, sentence by sentence."}, **common}, "document", "lang"
    )
    answers = {"$ref": "#/components/schemas/Answers"}
    found = {"oneOf": [{"$ref": "#/components/schemas/Answer"}, answers]}
    extract = {
        "summary": "The triples of one text, of many, or of a document",
        "description": f"At most {max_body} bytes. Texts without a language of their own have that of the request. "
        "max_triples is of a text, and of each sentence of a document.",
        "operationId": "extract",
        "requestBody": {"required": True, "content": _json({"oneOf": [one, many, *[whole] * reader.documents]})},
        "responses": {"200": {"description": "The answer, or one for each text in order", "content": _json(found)}}
        | _errors(400, 401, 408, 413, 415, 421, 422, 429, 500),
    }
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "mere_ds", "version": mere_ds.__version__, "license": {"name": "Apache-2.0"}},
        "paths": {
            "/extract": {"post": extract},
            "/about": {"get": _get("about", "The model and the limits", _json(_ABOUT), 401, 421)},
            "/metrics": {"get": _get("metrics", "Counters in Prometheus' format", _plain(), 401, 421)},
            "/healthz": {"get": _get("healthz", "Whether the server answers", _json({"type": "object"}), 421)},
        },
        "components": {
            "schemas": {
                "Span": _SPAN,
                "Triple": _TRIPLE,
                "Answer": _ANSWER,
                "Answers": _object(
                    {"answers": {"type": "array", "items": {"$ref": "#/components/schemas/Answer"}}}, "answers"
                ),
                "Error": _object({"error": {"type": "string"}}, "error"),
            }
        },
    }
    if with_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path in ("/extract", "/about", "/metrics"):
            for operation in document["paths"][path].values():
                operation["security"] = [{"token": []}]
    return document


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _get(name: str, summary: str, content: dict[str, Any], *errors: int) -> dict[str, Any]:
    its = {"200": {"description": summary, "content": content}}
    return {"summary": summary, "operationId": name, "responses": its | _errors(*errors)}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _plain() -> dict[str, Any]:
    return {"text/plain": {"schema": {"type": "string"}}}


def _errors(*statuses: int) -> dict[str, Any]:
    content = _json({"$ref": "#/components/schemas/Error"})
    return {str(status): {"description": _ERRORS[status], "content": content} for status in statuses}
