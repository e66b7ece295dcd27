"""The image's build file held to the tree: pinned, of a Python that we support, the chart's user, nothing to spare."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any, Final

import pytest

from stocktake import __version__
from stocktake.cli import COMMANDS, parser
from tests.image.box import USER
from tests.image.containerfile import Instruction, instructions, pins

ROOT: Final = Path(__file__).resolve().parents[2]
ALL: Final = instructions(ROOT / "Containerfile")
LAST: Final = ALL[-1].stage
FINAL: Final = [one for one in ALL if one.stage == LAST]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def final(name: str) -> list[Instruction]:
    return [one for one in FINAL if one.name == name]


def variables() -> dict[str, str]:
    return dict(word.split("=", 1) for one in final("ENV") for word in one.words)


def test_the_base_is_an_argument_a_short_name_and_a_python_that_is_supported() -> None:
    [argument] = [one.text for one in ALL if one.stage == 0]
    name, base = argument.split("=")
    found = re.fullmatch(r"python:(3\.\d+)-slim", base)
    assert found, "no registry, no `latest`"
    assert f"Programming Language :: Python :: {found[1]}" in PROJECT["classifiers"]
    assert {one.words[0] for one in ALL if one.name == "FROM"} == {f"${{{name}}}"}


def test_the_last_stage_builds_nothing_and_takes_only_what_the_first_one_installed() -> None:
    assert [one.text for one in final("COPY")] == ["--from=build /opt/stocktake /opt/stocktake"]
    assert not any(re.search(r"\b(pip|apt|apk|curl|gcc|setuptools)\b", one.text) for one in final("RUN"))
    assert not [one for one in ALL if one.name == "ADD"]


def test_everything_is_installed_from_the_pinned_file_by_digest_as_wheels() -> None:
    calls = [
        call for one in ALL if one.name == "RUN" for call in re.findall(r"pip (?:--python \S+ )?install[^&]*", one.text)
    ]
    assert len(calls) == 2
    assert "--require-hashes" in calls[0]
    assert "--only-binary :all:" in calls[0]
    assert calls[0].split()[-2:] == ["--requirement", "constraints-runtime.txt"]
    assert {"--no-deps", "--no-build-isolation", "."} <= set(calls[1].split())


def test_what_is_pinned_for_the_image_is_pinned_alike_for_the_tests() -> None:
    ours, all_pins = pins(ROOT / "constraints-runtime.txt"), pins(ROOT / "constraints.txt")
    assert ours
    for name, pin in ours.items():
        assert all_pins.get(name) == pin, f"{name}: make constraints"


def test_what_the_program_requires_and_its_sinks_for_object_storage_are_pinned_and_nothing_for_tests() -> None:
    ours = pins(ROOT / "constraints-runtime.txt").keys()
    optional = PROJECT["optional-dependencies"]
    wanted = {_name(line) for line in (*PROJECT["dependencies"], *optional["s3"])}
    assert wanted <= ours
    assert not {_name(line) for line in (*optional["dev"], *optional["embedded"])} & ours
    for name in sorted(wanted):
        for line in requires(name) or ():
            if "extra ==" not in line and ";" not in line:
                assert _name(line) in ours, f"{name} requires {line}: make constraints"


def test_the_pinned_file_names_no_place_to_take_packages_from() -> None:
    assert "://" not in (ROOT / "constraints-runtime.txt").read_text(encoding="utf-8")
    assert "index" not in (ROOT / "Containerfile").read_text(encoding="utf-8")


def test_it_runs_as_the_user_of_the_chart_who_is_not_root() -> None:
    assert final("USER")[-1].text == f"{USER}:{USER}"
    templates = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "helm" / "templates").iterdir())
    assert set(re.findall(r"runAsUser: (\S+)", templates)) == {str(USER)}
    assert set(re.findall(r"runAsGroup: (\S+)", templates)) == {str(USER)}
    assert set(re.findall(r"fsGroup: (\S+)", templates)) == {str(USER)}


def test_it_imports_nothing_from_the_working_directory_and_writes_no_bytecode() -> None:
    assert variables() | {"PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"} == variables()
    assert variables()["PATH"].split(":")[0] == "/opt/stocktake/bin"


def test_its_program_is_stocktake_which_can_be_asked_for_help() -> None:
    assert final("ENTRYPOINT")[-1].words == ["stocktake"]
    assert final("CMD")[-1].words == ["--help"]
    with pytest.raises(SystemExit) as ended:
        parser(COMMANDS[0]).parse_args(final("CMD")[-1].words)
    assert ended.value.code == 0


def test_the_folders_that_volumes_are_mounted_on_belong_to_its_user() -> None:
    made = next(one.text for one in final("RUN") if "mkdir" in one.text)
    assert f"chown -R {USER}:{USER} /var/lib/stocktake" in made
    values = (ROOT / "helm" / "values.yaml").read_text(encoding="utf-8")
    assert "/var/lib/stocktake/inventories" in made
    assert "dir: /var/lib/stocktake/inventories" in values


def test_its_labels_are_those_of_the_project() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', final("LABEL")[0].text))
    assert labels["version"] == __version__ == PROJECT["version"]
    assert labels["licenses"] == PROJECT["license"]
    assert labels["description"] == PROJECT["description"]
    assert {"title", "revision", "base.name"} <= labels.keys()


def test_only_what_is_copied_is_sent_to_the_build() -> None:
    ignored = (ROOT / ".containerignore").read_text(encoding="utf-8")
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8") == ignored
    lines = [line for line in ignored.splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {word for one in ALL if one.name == "COPY" and "--from" not in one.text for word in one.words[:-1]}
    assert sent == copied
    assert all((ROOT / name).exists() for name in copied)


def test_every_package_of_the_program_is_copied() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    packages = {name for name in tool["setuptools"]["packages"]["find"]["include"] if "*" not in name}
    copied = {one.words[0] for one in ALL if one.name == "COPY"}
    assert packages <= copied


def test_the_page_of_the_image_names_the_base_the_user_and_the_pinned_file() -> None:
    page = (ROOT / "docs" / "image.md").read_text(encoding="utf-8")
    [argument] = [one.text for one in ALL if one.stage == 0]
    for text in (argument.split("=")[1], str(USER), "constraints-runtime.txt", "PYTHONSAFEPATH"):
        assert text in page


def _name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found, requirement
    return found[0].lower().replace("_", "-")


def test_the_json_forms_are_json() -> None:
    for one in ALL:
        if one.text.startswith("["):
            assert all(isinstance(word, str) for word in json.loads(one.text))
