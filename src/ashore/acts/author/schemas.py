# SPDX-License-Identifier: Apache-2.0
"""The published JSON Schemas, made from the types and tables that read the documents."""

from typing import Any

import msgspec

from ashore.nouns.facts import Facts
from ashore.rules.bundles import manifest

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def bundle_schema() -> dict[str, Any]:
    """JSON Schema of bundle.toml (docs/reference/bundle.schema.json)."""
    return manifest.json_schema()


def facts_schema() -> dict[str, Any]:
    """JSON Schema of what ``ashore facts --json`` prints and ``--facts FILE`` reads."""
    return {"$schema": _DRAFT, "title": "ashore facts", **msgspec.json.schema(Facts, schema_hook=_anything)}


def _anything(kind: type) -> dict[str, Any]:
    """What a cloud says of itself has no form that is known here."""
    if kind is not object:
        raise NotImplementedError(kind)
    return {"description": "anything"}
