"""What is done while a server is not ready, over a pair of sockets that the test reads and writes itself."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from hiredis import Reader

from state.dialer import Pending


@dataclass
class Work:
    """So many pieces of work; ``after`` the given one the peer answers."""

    pieces: int
    peer: socket.socket
    answer_after: int = -1
    done: int = 0

    def some(self) -> bool:
        self.done += 1
        if self.done == self.answer_after:
            self.peer.send(b"+OK\r\n")
        return self.done < self.pieces


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def waited(
    ours: socket.socket, work: Work | None, event: int = select.POLLIN, times: int = 1, read: bytes = b""
) -> None:
    """Wait so many times, on a connection that has read ``read`` and given nothing of it out."""
    pending = Pending([], None if work is None else work.some)
    reader = Reader()
    reader.feed(read)
    for _ in range(times):
        pending.wait(SimpleNamespace(_sock=ours, _parser=SimpleNamespace(_reader=reader)), event)


def test_work_is_done_until_the_server_answers(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    work = Work(10, theirs, answer_after=4)
    waited(ours, work)
    assert work.done == 4


def test_when_no_work_is_left_nothing_is_waited_for_and_nothing_asked_again(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    work = Work(3, theirs)
    waited(ours, work, times=5)
    assert work.done == 3


def test_a_server_that_is_ready_does_not_wait_for_our_work(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.send(b"+OK\r\n")
    work = Work(3, theirs)
    waited(ours, work)
    waited(ours, work, select.POLLOUT)
    assert work.done == 0


def test_replies_that_came_with_the_one_before_are_not_waited_for(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    work = Work(3, theirs)
    waited(ours, work, read=b"+OK\r\n")
    assert work.done == 0


def test_while_the_server_takes_no_more_there_is_work(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    ours.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            ours.send(bytes(1 << 16))
    work = Work(3, theirs)
    waited(ours, work, select.POLLOUT)
    assert work.done == 3


def test_a_lost_connection_ends_the_wait(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.close()
    work = Work(3, theirs)
    waited(ours, work)
    assert work.done == 0


def test_without_work_nothing_is_asked(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = ends
    waited(ours, None)
