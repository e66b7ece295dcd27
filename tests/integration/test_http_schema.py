"""The API held to its own OpenAPI description: schemathesis asks what the description allows, and what it does not.

Its plugin of pytest is switched off (pyproject.toml), as it does not work with the pytest here; Hypothesis runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.schemas import BaseSchema

from stocktake.web.app import create_app
from stocktake.web.tokens import Role
from tests.chains import Chain
from tests.harness import wait_for
from tests.http_site import Endpoint, documented, endpoints, listen, serving, site_of, write_tokens
from tests.servers.redis_server import RedisServer

EXAMPLES: Final = 20  # requests for each endpoint and kind
REPOSITORY: Final = "schemathesis"
ASKED: Final = [
    (one, kind)
    for one in endpoints()
    if one.described
    for kind in ("existing", "fitting", "unfit")
    # Nothing about a request could be unfit that takes no values.
    if kind != "unfit" or one.path not in ("/healthz", "/readyz", "/metrics")
]


@dataclass(frozen=True)
class Service:
    """The service on a port, over a baseline in parts and a delta, whose SOP Instance UID is ``uid``."""

    address: str
    headers: dict[str, str]
    schema: BaseSchema
    uid: str

    def existing(self, path: str) -> dict[str, Any]:
        """Values for the parameters of this path that lead to something: what is kept for a while is made anew."""
        at = f"{self.address}/api/v1/repositories/{REPOSITORY}"
        found: dict[str, Any] = {"name": REPOSITORY, "uid": self.uid}
        with httpx.Client(headers=self.headers) as client:
            if "{number}" in path:
                found["number"] = client.post(at + "/deltas").json()["number"]
            if "{id}" in path:
                found["id"] = job = client.post(f"{at}/inventories/{self.uid}/verifications").json()["id"]
                wait_for(lambda: client.get(f"{at}/verifications/{job}").json()["state"] == "done", "the end of it")
        return {name: value for name, value in found.items() if f"{{{name}}}" in path}


@pytest.fixture(scope="module")
def service(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    redis_server.start()
    folder = tmp_path_factory.mktemp("http")
    token = write_tokens(folder / "tokens")[Role.OPERATE]
    given = {"HTTP__LISTEN": listen(), "HTTP__TOKENS_FILE": str(folder / "tokens")}
    given |= {"CUTOVER__SOURCE": REPOSITORY, "CUTOVER__TARGET": "other", "REPOSITORIES__OTHER__TOPICS": "none-yet"}
    chain = Chain(folder, redis_server.url, REPOSITORY, INVENTORY__MAX_RECORDS_PER_INSTANCE="2", **given)
    with closing(chain.deployment):
        chain.store(1, 2, 3)
        chain.produce()
        chain.store(1)
        uid = chain.produce().sop_instance_uid
        schema = schemathesis.openapi.from_dict(documented(create_app(site_of(chain.deployment), None)))
        headers = {"Authorization": f"Bearer {token}"}
        with serving(chain.deployment.settings, [REPOSITORY]) as address:
            yield Service(address, headers, schema, uid)


@pytest.mark.parametrize(("one", "kind"), ASKED, ids=lambda one: one if isinstance(one, str) else one.method + one.path)
def test_no_answer_is_a_fault_or_undocumented(one: Endpoint, kind: str, service: Service) -> None:
    operation = service.schema[one.path][one.method]
    mode = GenerationMode.NEGATIVE if kind == "unfit" else GenerationMode.POSITIVE
    values = service.existing(one.path) if kind == "existing" else None
    statuses: set[int] = set()

    @given(case=operation.as_strategy(mode, path_parameters=values))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        statuses.add(case.call_and_validate(base_url=service.address, headers=service.headers).status_code)

    try:
        ask()
    except Unsatisfiable:
        assert kind == "unfit"
    if kind == "existing":
        # No study that is open has the identifier that was drawn.
        good = {409} if "/acknowledgements" in one.path else {200, 202}
        assert statuses & good  # what exists was found: it is not errors alone that were looked at
