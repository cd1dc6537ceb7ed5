# SPDX-License-Identifier: Apache-2.0
"""Who computes: contexts (threads) and groups (ranks that call collectively)."""

from __future__ import annotations

from typing import Any, NamedTuple

from weft import _core


class MemoryUse(NamedTuple):
    """What the operating system has given for a window or a packed weight, in whole pages. docs/binding.md says what to do
    where huge pages are missing."""

    bytes: int  #: of addresses
    resident_bytes: int  #: of those, in memory
    huge_page_bytes: int  #: of those, reached through huge pages


class Context:
    """Threads and scratch memory of calls without ranks. Calls of one Context take turns.

    threads: of each call, the calling one included; 0: this process's usable cores / local_ranks. isa caps the instruction
    sets ("avx2", "avx512", …); empty: WEFT_ISA, else all. Errors: ValueError, MemoryError.
    """

    def __init__(self, threads: int = 0, *, local_ranks: int = 1, isa: str = ""):
        self._handle = _core.create_context(threads, local_ranks, isa)

    @property
    def threads(self) -> int:
        return self._handle.threads

    @property
    def isa(self) -> str:
        """The instruction sets in use, best first."""
        return self._handle.isa


def set_default_context(context: Context | None) -> None:
    """What calls that name no context compute with; None: the next such call makes one of all usable cores, divided by the
    ranks of this host if a launcher says how many (LOCAL_WORLD_SIZE and its kin)."""
    _core.set_default_context(handle_of(context))


def handle_of(context: Any) -> Any:
    """The compiled core's object of a Context, Group or Planned; None of None."""
    if context is None:
        return None
    try:
        return context._handle
    except AttributeError:
        raise TypeError(f"context must be a weft.Context or weft.Group, but is a {type(context).__name__}") from None


def member(group: Any, name: str = "group") -> Any:
    """The compiled core's object of a Group or Planned. tp_group may be None."""
    if group is None and name == "tp_group":
        return None
    try:
        return group._handle
    except AttributeError:
        raise TypeError(f"{name} must be a weft.Group, but is a {type(group).__name__}") from None


def unique_id() -> str:
    """A fresh id for Group.join, as hexadecimal digits. It is a secret: who has it may join."""
    return _core.unique_id()


class Group:
    """One rank's membership of a group of ranks that call collectively: all make the same calls in the same order.

    Calls on one Group take turns, so it may be used from several threads, but which thread comes first decides the order. A
    group that is left or fails ends the others' calls with PeerLost. Use it with `with`, or close() it.

    Options of the three ways to form one: threads and isa as for Context (0 threads: usable cores / ranks); name, at most
    127 characters; window_bytes per rank (0: 2 x HCCL_BUFFSIZE MB); connect_timeout and timeout in seconds (0:
    HCCL_CONNECT_TIMEOUT and HCCL_EXEC_TIMEOUT; negative: for ever).
    """

    def __init__(self, handle: Any):
        self._handle = handle

    @staticmethod
    def local(ranks: int, *, threads: int = 0, isa: str = "", name: str = "", window_bytes: int = 0,
              connect_timeout: float = 0, timeout: float = 0) -> list[Group]:
        """Ranks that are threads of this process: element i is rank i, for its thread. Errors: ValueError, MemoryError."""
        options = _core.group_options(name, window_bytes, connect_timeout, timeout)
        return [Group(handle) for handle in _core.local(ranks, threads, isa, options)]

    @staticmethod
    def join(id: str, rank: int, ranks: int, *, threads: int = 0, isa: str = "", name: str = "", window_bytes: int = 0,
             connect_timeout: float = 0, timeout: float = 0) -> Group:
        """Ranks that are processes of this host. Collective: returns when all have joined with the same id.

        Errors: ValueError, Mismatch, Timeout (names who is missing), PeerLost.
        """
        options = _core.group_options(name, window_bytes, connect_timeout, timeout)
        return Group(_core.join(id, rank, ranks, threads, isa, options))

    @staticmethod
    def from_environment(*, threads: int = 0, isa: str = "", name: str = "", window_bytes: int = 0,
                         connect_timeout: float = 0, timeout: float = 0) -> Group:
        """join() with rank and size from the launcher: weft run, torchrun, mpirun, srun. Collective. Errors: those of join;
        ValueError says what was looked for."""
        options = _core.group_options(name, window_bytes, connect_timeout, timeout)
        return Group(_core.from_environment(threads, isa, options))

    @staticmethod
    def from_torch(process_group: Any = None) -> Group:
        """The group of a torch.distributed.ProcessGroup's ranks; None: of the whole program's.

        Of the backend weft, it is that group itself: calls on both take turns, and closing one closes the other. Beside
        another backend (gloo) a group is formed once, through the process group's store: the first call is collective.
        Errors: ValueError, and those of join.
        """
        from weft.torch import groups

        return groups.from_torch(process_group)

    @property
    def name(self) -> str:
        return self._handle.name

    @property
    def key(self) -> str:
        """What torch.ops.weft takes for this group."""
        return self._handle.key

    @property
    def rank(self) -> int:
        return self._handle.rank

    @property
    def ranks(self) -> int:
        return self._handle.ranks

    @property
    def threads(self) -> int:
        return self._handle.threads

    @property
    def isa(self) -> str:
        return self._handle.isa

    @property
    def transport(self) -> str:
        """"loopback" or "shm"."""
        return self._handle.transport

    @property
    def closed(self) -> bool:
        return self._handle.closed

    def health(self) -> None:
        """Returns, or raises the error that made the group unusable."""
        self._handle.health()

    def memory_use(self) -> MemoryUse:
        """Of this rank's window, as far as calls have used it. Local; takes milliseconds. Errors: NotImplementedError."""
        return self._handle.memory_use()

    def barrier(self, timeout: float = 0) -> None:
        """Collective. Returns when every rank has called it. timeout in seconds; 0: the group's."""
        self._handle.barrier(timeout)

    def abort(self, reason: str = "abort() was called") -> None:
        """Gives the group up: on every rank, calls under way and later ones raise PeerLost, which names this rank and the
        reason. Local; any thread may do it while another is inside a call."""
        self._handle.abort(reason)

    def close(self) -> None:
        """Leaves the group after the calls made so far. Local: waits for no other rank. May be called twice."""
        self._handle.close()

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<weft.Group {self.name}: rank {self.rank} of {self.ranks}{', closed' if self.closed else ''}>"
