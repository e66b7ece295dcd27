"""docs/security.md held to the program: the rights that it lists are of the commands that the program sends.

That they are enough is tested on servers: tests/integration/test_least_rights.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from consumers.dead_letters import SUFFIX
from stocktake.doctor.rights import ROLES
from stocktake.setting_table import NAMED, SETTINGS

ROOT: Final = Path(__file__).resolve().parents[2]
TEXT: Final = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
OPENING: Final = {"hello", "auth", "client|setinfo", "select"}  # sent when a connection is opened
IN_A_CLUSTER: Final = {"cluster|slots", "cluster|info", "asking", "multi", "exec"}
NO_COMMANDS: Final = {"limit"}  # words of a command that stand at the beginning of a tuple
OF_SENTINELS: Final = {"sentinel|get-master-addr-by-name"}


def rules() -> dict[str, list[str]]:
    """The rules of each role's user."""
    lines = re.findall(r"^ACL SETUSER stocktake-(\w+) on >PASSWORD (.+)$", TEXT, re.MULTILINE)
    return {role: given.split() for role, given in lines}


def granted(role: str) -> set[str]:
    return {one[1:] for one in rules()[role] if one.startswith("+")}


def sent() -> Iterator[tuple[Path, str]]:
    """Each command that a module or script of the state spells, but those of migrations, which an operator runs."""
    for path in [*(ROOT / "state").glob("*.py"), *(ROOT / "state" / "lua").glob("*.lua")]:
        if re.match(r"schema|migrat", path.stem):
            continue
        text = re.sub(r"^(\s*(--|#)|_\w+: Final = ).*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        before = "" if path.suffix == ".lua" else r"(?<!\w)"  # in Python a command is a tuple
        found = re.findall(before + r"\(\"([A-Z]{3,})\"(?:, \"([A-Z-]{4,})\")?", text)
        subcommands = ("CLUSTER", "SCRIPT", "SENTINEL")
        for command, word in found:
            yield path, (f"{command}|{word}" if command in subcommands else command).lower()


def test_every_command_that_is_sent_is_granted_to_some_role_by_its_name() -> None:
    known = set().union(*(granted(role) for role in ROLES)) | IN_A_CLUSTER | OF_SENTINELS | NO_COMMANDS
    for path, command in sent():
        assert command in known, f"{path.relative_to(ROOT)} sends {command}"


def test_what_is_sent_to_clusters_and_sentinels_is_named() -> None:
    assert f"add `{' '.join('+' + one for one in ('cluster|slots', 'cluster|info', 'asking', 'multi', 'exec'))}`" in (
        " ".join(TEXT.split())
    )
    assert "+sentinel|get-master-addr-by-name" in TEXT
    assert {"cluster|slots", "cluster|info", "asking"} <= {command for _, command in sent()}


def test_no_role_but_the_operator_has_a_category_of_commands() -> None:
    found = rules()
    assert {role for role, given in found.items() if any(one.startswith("+@") for one in given)} == {"operator"}
    for role, given in found.items():
        assert given[0] == "resetchannels", role
        assert "-@all" in given, role
        assert all("st:" in one for one in given if "~" in one), role
    assert {"-@dangerous", "-@scripting"} <= {*found["operator"]}


def test_the_doctor_asks_for_the_same_rights() -> None:
    assert {role: granted(role) - OPENING for role in rules() if role not in ("operator", "run")} == ROLES


def test_run_has_the_rights_of_all_roles_and_no_more() -> None:
    assert granted("run") == set().union(*(granted(role) for role in ROLES))


def test_the_table_of_kafkas_rights_has_the_same_roles_and_who_publishes() -> None:
    roles = re.findall(r"^\| `(\w+)` \| (?:topic|group) \| ", TEXT, re.MULTILINE)
    assert {*roles} == {*rules(), "publisher"} - {"run"}
    assert f"`TOPIC{SUFFIX}`" in TEXT


def test_every_setting_that_is_named_is_one() -> None:
    known = {one.name for one in SETTINGS} | {one.name for some in NAMED.values() for one in some}
    groups = {name.partition(".")[0] for name in known}
    named = set(re.findall(r"`([a-z]+\.(?:<name>\.)?[a-z_]+)(?: = [^`]*)?`", TEXT))
    assert {name for name in named if name.partition(".")[0] in groups} <= known
