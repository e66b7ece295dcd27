"""The shape of the source tree: who may import whom, how long a module is, what every package and script carries."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("consumers", "state", "writers", "monitor", "stocktake")
MAY_IMPORT = {
    "stocktake": {"consumers", "writers", "monitor", "state"},
    "consumers": {"state"},
    "writers": {"state"},
    "monitor": {"state"},
    "state": set[str](),
}
LONGEST_MODULE = 400


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def all_modules() -> list[Path]:
    return [path for package in PACKAGES for path in modules(package)]


def imported_packages(path: Path) -> set[str]:
    """The top-level names that a module imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            found.add(str(node.module).partition(".")[0])
    return found


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every string of a module that is not a docstring, with its line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            if isinstance(node.value, str):
                yield node.lineno, node.value
            elif isinstance(node.value, bytes):
                yield node.lineno, node.value.decode("latin-1")


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    paths = modules(package)
    assert paths
    forbidden = set(PACKAGES) - MAY_IMPORT[package] - {package} | {"tests"}
    for path in paths:
        wrong = imported_packages(path) & forbidden
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_no_module_is_too_long_to_read_in_one_go() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in all_modules()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_MODULE
    }
    assert not long


def test_every_module_says_what_it_is_for() -> None:
    for path in all_modules():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_owns_a_package_of_ours(package: str) -> None:
    assert set(packages_distributions()[package]) == {"stocktake"}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_tells_type_checkers_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "__init__.py").is_file()
    assert (ROOT / package / "py.typed").is_file()


SCRIPTS = sorted(path for path in (ROOT / "state" / "lua").glob("*.lua") if path.stem != "place")  # is part of others


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_has_a_header_that_names_its_keys_and_arguments(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    header = []
    for line in lines:
        if not line.startswith("--"):
            break
        header.append(line)
    for part in ("KEYS", "ARGV", "Reply"):
        assert any(line.startswith(f"-- {part} ") for line in header), f"{path.name} does not name its {part}"


def test_there_are_scripts_to_look_at() -> None:
    assert (ROOT / "state" / "lua" / "apply.lua").is_file()


def test_no_module_but_state_keys_spells_a_redis_key() -> None:
    for path in all_modules():
        if path != ROOT / "state" / "keys.py":
            wrong = [line for line, text in texts(path) if text.startswith("st:")]
            assert not wrong, f"{path.relative_to(ROOT)}, lines {wrong}: keys are spelt in state/keys.py"
    for path in (ROOT / "state" / "lua").glob("*.lua"):
        assert '"st:' not in path.read_text(encoding="utf-8"), path.name


# --- constraints.txt -------------------------------------------------------------------------------------------


def pinned() -> dict[str, list[str]]:
    """The hashes of each pin in constraints.txt, by normalised name."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==\S+", line):
            name = normalised(match[1])
            found[name] = []
        elif match := re.match(r"\s+--hash=(sha256:[0-9a-f]{64})", line):
            found[name].append(match[1])
    return found


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_constraints_pin_every_dependency_with_hashes() -> None:
    pins = pinned()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [text for extra in project["optional-dependencies"].values() for text in extra]
    wanted = {normalised(re.split(r"[^A-Za-z0-9._-]", text)[0]) for text in (*project["dependencies"], *extras)}
    assert len(wanted) > 10
    assert wanted <= pins.keys()
    assert [name for name, hashes in pins.items() if not hashes] == []


def test_constraints_name_no_address() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--(index-url|extra-index-url|find-links|trusted-host))\b", text, re.MULTILINE)
