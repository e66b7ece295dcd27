"""Whether the commands of a block are commands: what is checked of blocks that cannot be executed."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Final

import yaml

from stocktake.cli import COMMANDS, parser
from tests.docs.blocks import BASH, ROOT, Block

# What pages may have people run beside `stocktake`; a word that is not here is a slip, or is to be added on purpose.
PROGRAMS: Final = frozenset(
    re.findall(
        r"\S+",
        """. awk buildah cat cd chmod cp curl cut dcmdump docker echo export find grep head helm jq kafka-acls.sh
        kafka-configs.sh kafka-console-consumer.sh kafka-consumer-groups.sh kafka-get-offsets.sh kafka-topics.sh kubectl
        ls mkdir mv openssl pip podman printf promtool python python3 redis-cli rm rsync sed sha256sum sleep sort tail
        tar tee test touch trivy umask valkey-cli watch wc""",
    )
)
_KEYWORDS: Final = frozenset(re.findall(r"\S+", "if then else elif fi while until do done { } ! [ [["))
_PUNCTUATION: Final = set("();<>|&")


def faults(block: Block) -> list[str]:
    """What is wrong with the block's commands; none is executed."""
    return [*_syntax(block), *(fault for words in calls(block.text) for fault in _faults(words))]


def _syntax(block: Block) -> Iterator[str]:
    answer = subprocess.run([BASH, "-n"], input=block.text, capture_output=True, text=True, check=False)
    if answer.returncode:
        yield f"{block}: {answer.stderr.strip()}"


def calls(text: str) -> Iterator[list[str]]:
    """The simple commands of a script, without assignments before them and redirections after them."""
    for line in re.sub(r"\$\(([^()]*)\)", r"$VALUE", text.replace("\\\n", " ")).splitlines():
        without_numbers = re.sub(r"(?<=\s)\d(?=[<>])", "", line)  # of the files that redirections are of
        lexer = shlex.shlex(without_numbers, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        skip = False
        for word in [*lexer, ";"]:
            if set(word) <= _PUNCTUATION:
                skip = ">" in word or "<" in word
                if not skip:
                    yield from _stripped(words)
                    words = []
            elif skip:
                skip = False
            else:
                words.append(word)


def _stripped(words: list[str]) -> Iterator[list[str]]:
    while words and (re.match(r"\w+=", words[0]) or words[0] in _KEYWORDS or words[0] == "sudo"):
        if words[0] == "for":
            return
        words = words[1:]
    if words:
        yield words


def _faults(words: list[str]) -> Iterator[str]:
    program, rest = words[0].rsplit("/", 1)[-1], words[1:]
    if program == "stocktake":
        yield from _stocktake(rest)
    elif program in ("docker", "podman") and rest[:1] == ["compose"]:
        yield from _compose(rest[1:])
    elif program == "kubectl" and "--" in rest:
        yield from _faults(rest[rest.index("--") + 1 :])
    elif program == "make":
        yield from (f"make {word}: no such verb" for word in rest if "=" not in word and word not in _verbs())
    elif program not in PROGRAMS and program not in _functions():
        yield f"{program}: no program that pages may use; see tests/docs/parsing.py"


def _stocktake(arguments: list[str]) -> Iterator[str]:
    if arguments[:1] in ([], ["--version"], ["--help"], ["$@"]):
        return
    command = arguments[0]
    if command not in COMMANDS:
        yield f"stocktake {command}: no such command"
        return
    # What stands for a value is one that fits everywhere.
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            parser(command).parse_args(arguments)
    except SystemExit as ended:
        if ended.code:
            yield f"stocktake {shlex.join(arguments)}: {said.getvalue().strip().splitlines()[-1]}"


def _compose(words: list[str]) -> Iterator[str]:
    """``run`` and ``exec`` of a service of deploy/compose.yaml, and what they have it do."""
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in ("-f", "--file") else words[1:]
    verb, *rest = words
    if verb == "cp":
        rest = [word.split(":")[0] for word in rest if ":" in word]
    if verb not in ("run", "exec"):
        yield from (
            f"compose {verb} {word}: no such service" for word in rest if word[0] != "-" and word not in services
        )
        return
    while rest and rest[0].startswith("-"):
        rest = rest[2:] if rest[0] in ("-v", "--volume", "-e", "--env") else rest[1:]
    service, *command = rest
    if service not in services:
        yield f"compose {verb} {service}: no such service"
    elif services[service]["image"].startswith("stocktake:") and command:
        yield from _stocktake(command if verb == "run" else command[1:])


def _verbs() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def _functions() -> set[str]:
    """Shell functions that a page of the runbook defines in its first block, for the blocks after it."""
    page = ROOT / "docs" / "runbook.md"
    return set(re.findall(r"^(\w+)\(\)", page.read_text(encoding="utf-8"), re.MULTILINE)) if page.exists() else set()
