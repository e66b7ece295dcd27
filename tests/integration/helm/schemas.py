"""The API schemas of Kubernetes, as kubernetes-validate has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import jsonschema
from kubernetes_validate import utils as kubernetes
from referencing import Registry, Resource

VERSIONS: Final = ("1.27", "1.30", "1.37")  # from the oldest that the chart takes to the newest


def complaints(version: str, item: dict[str, Any]) -> Iterator[str]:
    """What this version would say of an object.

    As ``kubernetes_validate.validate``, strictly: a key that is not known is an error. But that reads the schemas anew
    for each object, which takes a fifth of a second.
    """
    api = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", item["apiVersion"])  # networking.k8s.io/v1 is networking-v1 there
    for error in _validator(version, item["kind"], api).iter_errors(item):
        yield f"{item['kind']} {item['metadata']['name']}: {error.json_path}: {error.message}"


@cache
def _validator(version: str, kind: str, api: str) -> Any:
    name = f"{_folder(version)}/{kind.lower()}-{api}.json"
    return jsonschema.Draft202012Validator(kubernetes.schema_contents(name, version), registry=_definitions(version))


@cache
def _definitions(version: str) -> Registry[Any]:
    contents = kubernetes.schema_contents(f"{_folder(version)}/_definitions.json", version)
    return (Resource.from_contents(contents) @ Registry()).crawl()


def _folder(version: str) -> str:
    return f"kubernetes-json-schema/v{version}.0-local-strict"
