"""The walks: each executes the blocks of one page in their order, and looks whether what the page promises is there."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pydicom.data import get_testdata_file

from consumers.simulate import simulate
from stocktake.embedded import free_ports, wait_until
from stocktake.settings import load
from tests.docs.blocks import ROOT, blocks
from tests.docs.walk import PATIENCE, Walk, need
from tests.docs.world import STUDIES, World, tell
from tests.servers.fake_dicomweb import FakeArchive, instance, run_archive

_HEAD: Final = "stocktake-data/inventories/main"


def readme(walk: Walk, world: World) -> None:
    """All that the README has people do but `make`: install, look at the demo, walk with files of one's own."""
    walk.environ = {"STOCKTAKE_HTTP__LISTEN": _address()}
    walk.replaced = {"/path/to/this/folder": str(ROOT), "FOLDER": "files", "INTERVAL=10s": "INTERVAL=2s"}
    walk.patience = 600.0  # it takes packages from an index, and plays the demo
    walk.run("python3 -m venv stocktake-env")
    (walk.folder / ".venv").symlink_to(walk.folder / "stocktake-env")
    walk.shell("stocktake demo")
    walk.run(".venv/bin/stocktake show")
    (walk.folder / "files").mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm"):
        shutil.copy(str(get_testdata_file(name)), walk.folder / "files" / name)
    _with_embedded_servers(walk, "stocktake publish FOLDER", 2)


def quick_start(walk: Walk, world: World) -> None:
    """The laptop: one process with servers of its own, a simulated archive, the first inventory."""
    walk.environ = {"STOCKTAKE_HTTP__LISTEN": _address()}
    walk.replaced = {"INTERVAL=10s": "INTERVAL=1s"}
    _with_embedded_servers(walk, "stocktake simulate", 20)


def _with_embedded_servers(walk: Walk, second_terminal: str, studies: int) -> None:
    walk.start("export STOCKTAKE_INVENTORY__INTERVAL")
    walk.patiently("test -f stocktake-data/stocktake.toml")
    walk.run_patiently(second_terminal)
    rows = f"stocktake resolve {_HEAD} --removed --format csv"
    walk.patiently(rows, sees=lambda out: out.count("\n") > studies)
    walk.shell(f"stocktake verify {_HEAD}")


def inventories(walk: Walk, world: World) -> None:
    """Reading a chain: with the program and jq, with dcmtk, with pydicom; what one tree has beyond another."""
    need("jq", "dcmdump")
    with world.filled(walk, "main") as [main]:
        (walk.folder / "old").mkdir()
        shutil.copy(main.path(main.produce()), walk.folder / "old" / "head.dcm")
        tell(main, list(simulate(STUDIES, 2, max_instances=20)), 10_000)
        main.produce()
        walk.run("stocktake resolve inventories/main | jq")
        assert (walk.folder / "all.csv").read_bytes().count(b"\r\n") == 2 * STUDIES + 1
        walk.run_each("stocktake diff old/head.dcm", 1, 0)
        walk.run("cd inventories/main")
        [pydicom] = blocks(walk.page, "python")
        (walk.folder / "read.py").write_text(pydicom.text, encoding="utf-8")
        assert walk.shell(f"{walk.python} read.py").count("\n") == STUDIES


def verify(walk: Walk, world: World) -> None:
    """A folder and a file are checked, and there is nothing to find."""
    need("jq")
    with world.filled(walk, "main") as [main]:
        shutil.copy(main.path(main.produce()), walk.folder / "head.dcm")
        walk.run("stocktake verify inventories/main")


def cutover(walk: Walk, world: World) -> None:
    """Two archives that hold the same: the heads are verified, the report is written, and repeated from the files."""
    walk.environ |= {"STOCKTAKE_CUTOVER__SOURCE": "pacs", "STOCKTAKE_CUTOVER__TARGET": "vna"}
    for name in ("PACS", "VNA"):
        walk.environ[f"STOCKTAKE_REPOSITORIES__{name}__TOPICS"] = world.topic()
    with world.filled(walk, "pacs", "vna") as [pacs, vna]:
        walk.replaced = {
            "pacs/2026/11/27/2.25.1.dcm": f"pacs/{pacs.produce().file}",
            "vna/2026/11/27/2.25.2.dcm": f"vna/{vna.produce().file}",
        }
        walk.run("stocktake verify inventories/pacs --record")
        walk.run_each("stocktake cutover --report", 1, 1)  # nobody has consumed, so the gate is closed
        report = json.loads((walk.folder / "sign-off.json").read_text(encoding="utf-8"))
        assert report["listed"] == 0
        walk.run("stocktake diff pacs/", where="inventories")


def http(walk: Walk, world: World) -> None:
    """The service without tokens, every example of curl, and a service that asks for a token."""
    need("curl")
    open_to_all, with_tokens = _address(), _address()
    walk.replaced = {"127.0.0.1:8080": open_to_all, "curl ": "curl --silent --show-error --fail-with-body "}
    walk.environ |= {
        "STOCKTAKE_HTTP__LISTEN": open_to_all,
        "STOCKTAKE_CUTOVER__SOURCE": "main",
        "STOCKTAKE_CUTOVER__TARGET": "vna",
        "STOCKTAKE_REPOSITORIES__MAIN__TOPICS": world.topic(),
        "STOCKTAKE_REPOSITORIES__VNA__TOPICS": world.topic(),
    }
    (walk.folder / "stocktake.toml").touch()
    with world.filled(walk, "main", "vna") as [main, _]:
        uid = walk.replaced["2.25.61"] = main.produce().sop_instance_uid
        serve, list_names = walk.block("stocktake serve").commands
        walk.go(serve)
        assert json.loads(walk.patiently(list_names))["items"] == [{"name": "main"}, {"name": "vna"}]
        listed = json.loads(walk.run('curl "http://127.0.0.1:8080/api/v1/repositories/main/inventories?'))
        assert [one["sop_instance_uid"] for one in listed["items"]] == [uid]
        walk.run("curl -OJ")
        assert list(walk.folder.glob("*.dcm"))
        begin, findings = walk.block(
            "curl -X POST http://127.0.0.1:8080/api/v1/repositories/main/inventories/"
        ).commands
        walk.replaced["5d1f..."] = json.loads(walk.shell(begin))["id"]
        assert json.loads(walk.patiently(findings))["items"] == []
        asked = json.loads(walk.run("curl -X POST http://127.0.0.1:8080/api/v1/repositories/main/deltas"))
        assert asked["state"] == "waiting"
        assert walk.run_patiently('curl -X POST -H "Content-Type')
        _with_tokens(walk, with_tokens)


def _with_tokens(walk: Walk, address: str) -> None:
    walk.environ |= {"STOCKTAKE_HTTP__LISTEN": address, "STOCKTAKE_HTTP__TOKENS_FILE": str(walk.folder / "tokens")}
    reader, operator, ask = walk.block("stocktake token").commands
    walk.environ["TOKEN"] = walk.shell(reader).strip()
    walk.shell(operator)
    walk.replaced["https://stocktake.example.org:8443"] = f"http://{address}"
    walk.go("stocktake serve")
    walk.patiently(ask)


def operations(walk: Walk, world: World) -> None:
    """An import from a tree and from a tree in two places; then what the page's sentences have people run."""
    topic = world.topic()
    walk.environ["STOCKTAKE_REPOSITORIES__MAIN__TOPICS"] = topic
    with world.filled(walk, "main") as [main]:
        main.produce()
        tell(main, list(simulate(STUDIES, 2, max_instances=20)), 10_000)
        head = main.path(main.produce())
    archive = (walk.folder / "inventories" / "main").rename(walk.folder / "archive")
    (archive / "head.json").unlink()
    (archive / head.relative_to(walk.folder / "inventories" / "main")).rename(archive / "head.dcm")
    walk.environ["STOCKTAKE_REDIS__URL"] = world.redis_url.replace("/0", "/1")
    whole, in_two_places = walk.block("stocktake import").commands
    assert json.loads(walk.shell(whole))["imported"] == 2 * STUDIES
    (archive / "2026").rename(walk.folder / "members")
    assert json.loads(walk.shell(in_two_places))["unchanged"] == 2 * STUDIES
    events = walk.folder / "events.ndjson"
    walk.shell(f"stocktake simulate --studies {STUDIES} --seed 3 > {events}")
    walk.shell(f"stocktake publish {events} && stocktake consume --until-caught-up")
    walk.shell("stocktake write --once && stocktake diff inventories/main --state && stocktake status")
    walk.shell("stocktake reset --to earliest --yes && stocktake consume --until-caught-up")
    walk.shell("stocktake baseline && stocktake delta && stocktake rollup && stocktake verify inventories/main")
    walk.shell("stocktake delta --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z --output alone.dcm")
    walk.shell("stocktake verify alone.dcm && stocktake resume")


def events(walk: Walk, world: World) -> None:
    """Every example event is published and applied, and none is a dead letter."""
    walk.environ["STOCKTAKE_REPOSITORIES__MAIN__TOPICS"] = world.topic()
    examples = [json.dumps(json.loads(one.text)) for one in blocks(walk.page, "json")]
    (walk.folder / "events.ndjson").write_text("\n".join(examples) + "\n", encoding="utf-8")
    walk.shell("stocktake publish events.ndjson && stocktake consume --until-caught-up")
    found = json.loads(walk.shell("stocktake status --json"))
    assert found["studies"] > 0
    assert found["lag"] == 0
    assert not any(found["counters"].get(name) for name in ("dead_letters", "values_repaired", "values_emptied"))


def sinks(walk: Walk, world: World) -> None:
    """The page's sinks are settings; a folder in place of the bucket gets what the chain consists of."""
    [example] = blocks(walk.page, "toml")
    config = walk.folder / "example.toml"
    config.write_text(example.text + '[repositories.pacs]\ntopics = ["pacs.events"]\n', encoding="utf-8")
    assert {one.name for one in load(config, {}).inventory.sinks} == set(tomllib.loads(example.text)["sinks"])
    walk.environ["STOCKTAKE_SINKS__BUCKET__URL"] = f"file://{walk.folder}/bucket"
    with world.filled(walk, "main") as [main]:
        main.produce()
        walk.shell("stocktake deliver && stocktake verify bucket/main")
        shutil.rmtree(walk.folder / "bucket")
        walk.shell("stocktake deliver --sink bucket --again && stocktake diff bucket/main --state")


def archives(walk: Walk, world: World) -> None:
    """Looks, a bridge and crawls, with an archive of DICOMweb; then the counts against the archive."""
    archive = FakeArchive()
    archive.add(*(instance(f"1.2.{study}", f"1.2.{study}.1", f"1.2.{study}.1.1") for study in range(1, 4)))
    with run_archive(archive):
        walk.environ |= {
            "STOCKTAKE_REPOSITORIES__PACS__TOPICS": world.topic(),
            "STOCKTAKE_ARCHIVES__PACS__URL": archive.url,
            "STOCKTAKE_ARCHIVES__PACS__QUIET": "0",
            "STOCKTAKE_ARCHIVES__PACS__REQUESTS_PER_SECOND": "1000",
            "STOCKTAKE_INVENTORY__INTERVAL": "1s",
            "STOCKTAKE_HTTP__LISTEN": _address(),
        }
        walk.go("stocktake run")
        [look] = re.findall(r'^{"action": "look".*}$', (ROOT / walk.page).read_text(encoding="utf-8"), re.MULTILINE)
        (walk.folder / "look.ndjson").write_text(look + "\n", encoding="utf-8")
        walk.patiently(walk.block("stocktake publish look.ndjson").text)
        walk.run_patiently("stocktake status")
        _, bridge = walk.block("stocktake bridge orthanc").commands
        polling = walk.go(bridge)
        assert wait_until(lambda: any("StudyDate=" in one for one in archive.requests), PATIENCE)
        walk.interrupt(polling)
        crawl, *from_another_terminal, anew, absent = walk.block("stocktake crawl").commands
        archive.latency = 1.0  # so that it does not end before it is let wait
        crawling = walk.go(crawl)
        for command in from_another_terminal:
            walk.patiently(command)
        archive.latency = 0.0
        assert crawling.wait(PATIENCE) == 0
        assert json.loads(walk.shell(anew))["whole"]
        walk.shell(absent)
        walk.run_patiently("stocktake resolve inventories/pacs")
        rows = (walk.folder / "head.csv").read_text(encoding="utf-8").splitlines()
        assert sorted(rows[1:]) == [f"1.2.{study},1" for study in range(1, 4)]


def _address() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


WALKS: Final[Mapping[str, Callable[[Walk, World], None]]] = {
    function.__name__: function
    for function in (readme, quick_start, inventories, verify, cutover, http, operations, events, sinks, archives)
}


def take(page: str, walk: str, folder: Path, world: World) -> Any:
    """Take a walk; the blocks that it executed."""
    one = world.walk(page, folder)
    try:
        WALKS[walk](one, world)
    finally:
        one.close()
    return one.executed
