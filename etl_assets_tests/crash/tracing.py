"""Seeing from outside every system call by which a process changes files, and striking at one of them.

The kernel stops the process before each such call, whoever makes it: Python, DuckDB, Arrow. So nothing has to be told
where a step is, and a new one is seen by itself. What belongs here: stopping, looking, letting go, killing, failing a
call. What does not: what the process does, and which calls are struck (`etl_assets_tests.crash.nursery`).

References: ptrace(2), seccomp(2), and the kernel's Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import platform
import signal
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

NOTES = 200
"""File descriptor on which a traced process tells where in the code it is."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]

_TRACEME, _CONTINUE, _GET_REGISTERS, _SET_REGISTERS, _TO_THE_END_OF_THE_CALL, _SET_OPTIONS = (
    0,
    7,
    12,
    13,
    24,
    0x4200,
)
_OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x80 | 0x100000
"""System calls told from other traps; forks and threads followed; the filter's stops; killed with the tracer."""
_SECCOMP_STOP, _ALL_THREADS = 7, 0x40000000
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_RET_TRACE, _RET_ALLOW, _X86_64 = 0x7FF00000, 0x7FFF0000, 0xC000003E
_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_AT_CWD = -100
_SIGNAL_RETURN = 15

_BY_DESCRIPTOR = {
    "write": 1, "pwrite64": 18, "writev": 20, "pwritev": 296, "pwritev2": 328, "sendfile": 40, "ftruncate": 77,
    "fallocate": 285, "fsync": 74, "fdatasync": 75, "sync_file_range": 277, "syncfs": 306, "fchmod": 91, "fchown": 93,
    "flock": 73, "fcntl": 72,
}  # fmt: skip
_BY_PATH = {
    "open": 2, "creat": 85, "truncate": 76, "rename": 82, "unlink": 87, "mkdir": 83, "rmdir": 84, "link": 86,
    "symlink": 88, "chmod": 90, "chown": 92, "mknod": 133,
}  # fmt: skip
_BY_FOLDER_AND_PATH = {
    "openat": 257, "openat2": 437, "renameat": 264, "renameat2": 316, "unlinkat": 263, "mkdirat": 258, "fchmodat": 268,
    "fchownat": 260, "utimensat": 280, "mknodat": 259,
}  # fmt: skip
_TARGET_LAST = {"copy_file_range": 326, "splice": 275, "linkat": 265, "symlinkat": 266}
_UNKNOWABLE = {"io_uring_setup": 425, "msync": 26}
"""Ways of changing files that cannot be told from here; none of them may be used without this module learning it."""

CALLS = _BY_DESCRIPTOR | _BY_PATH | _BY_FOLDER_AND_PATH | _TARGET_LAST | _UNKNOWABLE
_NAMES = {number: name for name, number in CALLS.items()}
TAKING_ROOM = frozenset(
    {"write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range", "fallocate",
     "mkdir", "mkdirat", "open", "openat", "creat", "link", "linkat", "symlink", "symlinkat"}
)  # fmt: skip
"""Calls that a full disk refuses."""

_NAMES_OF_REGISTERS = """
    r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs
"""


class _Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in _NAMES_OF_REGISTERS.split()]


class Blow(Enum):
    """What happens to a process at one of its steps."""

    NONE = "none"
    KILL_BEFORE = "kill before"
    KILL_AFTER = "kill after"
    FAIL = "fail"
    TELL = "tell"
    """Go on, and tell afterwards where in the code that was."""


@dataclass(frozen=True, slots=True)
class Step:
    """A call that changes files.

    Attributes:
        call: Its name.
        path: The file, as the process names it.
    """

    call: str
    path: str


@dataclass(slots=True)
class Ended:
    """How a traced process ended.

    Attributes:
        status: Of `os.waitpid`.
        stacks: For each step that was to be told: places in Python, innermost first; none for a native thread.
    """

    status: int
    stacks: list[list[str]]

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL


Watch = Callable[[Step], tuple[Blow, int]]
"""Told of each step; decides what happens to it, and for `FAIL` with which error number."""


def reason_not_to_trace() -> str | None:
    """Say why nothing can be traced here; None where it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "system calls can be traced on Linux on x86-64 only"
    child = os.fork()
    if child == 0:
        os._exit(0 if _libc.ptrace(_TRACEME, 0, None, None) == 0 and _filtered() else 1)
    _, status = os.waitpid(child, 0)
    while os.WIFSTOPPED(status):
        _libc.ptrace(_CONTINUE, child, None, None)
        _, status = os.waitpid(child, 0)
    return None if os.waitstatus_to_exitcode(status) == 0 else "ptrace or seccomp is not permitted here"


def traced_from_here(telling: bool) -> None:
    """Have the parent trace this process, from the next call on.

    Args:
        telling: Whether it is to tell where in the code it is, on `NOTES`.

    Raises:
        OSError: If that is not permitted.
    """
    if telling:
        faulthandler.register(signal.SIGUSR1, file=NOTES, all_threads=False)
    if _libc.ptrace(_TRACEME, 0, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    os.kill(os.getpid(), signal.SIGSTOP)
    if not _filtered():
        raise OSError(ctypes.get_errno(), "seccomp")


def follow(pid: int, folder: Path, watch: Watch, notes: int | None = None) -> Ended:
    """Follow a process that has itself traced until it ends.

    Args:
        pid: The process.
        folder: Steps below it are told of; all others pass.
        watch: Decides.
        notes: Where to read what the process writes to `NOTES`.
    """
    return _Tracer(pid, str(folder), watch, notes).run()


class _Tracer:
    def __init__(self, pid: int, folder: str, watch: Watch, notes: int | None) -> None:
        self.pid = pid
        self.folder = folder
        self.watch = watch
        self.notes = notes
        self.stacks: list[list[str]] = []
        self.registers = _Registers()
        self.leaving: dict[int, Blow] = {}

    def run(self) -> Ended:
        os.waitpid(self.pid, 0)
        self._ptrace(_SET_OPTIONS, self.pid, _OPTIONS)
        self._ptrace(_CONTINUE, self.pid)
        while True:
            thread, status = os.waitpid(-1, _ALL_THREADS)
            if os.WIFSTOPPED(status):
                self._stopped(thread, status)
            elif thread == self.pid:
                return Ended(status, self.stacks)

    def _stopped(self, thread: int, status: int) -> None:
        sent, event = os.WSTOPSIG(status), status >> 16
        if event == _SECCOMP_STOP:
            self._before_call(thread)
        elif sent == signal.SIGTRAP | 0x80 and thread in self.leaving:
            self._after_call(thread)
        else:
            # A thread's own first stop, and those that tell of it, are of no interest; a signal is handed on.
            hand_on = sent if not event and sent not in (signal.SIGTRAP, signal.SIGSTOP) else 0
            self._ptrace(_CONTINUE, thread, hand_on)

    def _before_call(self, thread: int) -> None:
        if not self._ptrace(_GET_REGISTERS, thread, ctypes.addressof(self.registers)):
            return
        step = self._step(thread)
        blow, number = self.watch(step) if step is not None else (Blow.NONE, 0)
        if blow is Blow.KILL_BEFORE:
            os.kill(self.pid, signal.SIGKILL)
        elif blow is Blow.FAIL:
            self.registers.orig_rax, self.registers.rax = 2**64 - 1, 2**64 - number
            self._ptrace(_SET_REGISTERS, thread, ctypes.addressof(self.registers))
            self._ptrace(_CONTINUE, thread)
        elif blow is Blow.NONE:
            self._ptrace(_CONTINUE, thread)
        else:
            self.leaving[thread] = blow
            self._ptrace(_TO_THE_END_OF_THE_CALL, thread)

    def _after_call(self, thread: int) -> None:
        if self.leaving.pop(thread) is Blow.KILL_AFTER:
            os.kill(self.pid, signal.SIGKILL)
            return
        # Its handler runs in this very thread, and takes no lock; its return is a call that the filter stops.
        for _ in ("the signal arrives", "the handler returns"):
            self._ptrace(_CONTINUE, thread, signal.SIGUSR1)
            os.waitpid(thread, _ALL_THREADS)
        assert self.notes is not None
        self.stacks.append(_places(_read(self.notes)))
        self._ptrace(_CONTINUE, thread)

    def _step(self, thread: int) -> Step | None:
        registers = self.registers
        name = _NAMES.get(registers.orig_rax)
        if name is None:
            return None
        if name in _BY_DESCRIPTOR:
            path = _opened(thread, registers.rdi)
        elif name in _BY_PATH:
            path = self._text(thread, registers.rdi)
        elif name in _BY_FOLDER_AND_PATH:
            path = self._below(thread, registers.rdi, registers.rsi)
        elif name in _UNKNOWABLE:
            raise NotImplementedError(f"{name} changes files in a way that cannot be seen here")
        elif name == "linkat":
            path = self._below(thread, registers.rdx, registers.r10)
        elif name == "symlinkat":
            path = self._below(thread, registers.rsi, registers.rdx)
        else:
            path = _opened(thread, registers.rdx)
        return Step(name, path) if path.startswith(self.folder) else None

    def _below(self, thread: int, folder: int, address: int) -> str:
        path = self._text(thread, address)
        descriptor = ctypes.c_int(folder & 0xFFFFFFFF).value
        if path.startswith("/") or descriptor == _AT_CWD:
            return path
        return f"{_opened(thread, descriptor)}/{path}"

    def _text(self, thread: int, address: int) -> str:
        with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            # Up to the end of the page, which is all that is sure to be there.
            read = memory.read(4096 - address % 4096)
            if b"\0" not in read:
                read += memory.read(4096)
        return os.fsdecode(read.partition(b"\0")[0])

    def _ptrace(self, request: int, thread: int, data: int = 0) -> bool:
        """False where the thread is gone, because the process is."""
        return bool(_libc.ptrace(request, thread, None, data) == 0)


def _opened(thread: int, descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/{thread}/fd/{ctypes.c_int(descriptor & 0xFFFFFFFF).value}")
    except OSError:
        return ""


def _read(notes: int) -> bytes:
    os.set_blocking(notes, False)
    try:
        return os.read(notes, 1 << 16)
    except BlockingIOError:
        return b""  # a thread that is not Python's


def _places(dump: bytes) -> list[str]:
    """Read what faulthandler wrote: `File "<file>", line <line> in <function>`."""
    lines = [line.strip() for line in dump.decode().splitlines()]
    return [line.removeprefix("File ") for line in lines if line.startswith("File ")]


def _filtered() -> bool:
    """Have the kernel stop this process before each call that changes files."""
    body = b"".join(_program())
    buffer = ctypes.create_string_buffer(body)
    program = struct.pack("HxxxxxxP", len(body) // 8, ctypes.addressof(buffer))
    holder = ctypes.create_string_buffer(program)
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(holder), 0, 0) == 0)


def _program() -> list[bytes]:
    """Write the filter: which calls stop."""
    changing = os.O_CREAT | os.O_TRUNC | (os.O_TMPFILE & ~os.O_DIRECTORY)
    program = [_code(_LOAD, 4), _code(_IF_EQUAL, _X86_64, 1, 0), _code(_RETURN, _RET_ALLOW), _code(_LOAD, 0)]
    program += _only_if(CALLS["open"], 1, _code(_IF_ANY_BIT, changing, 0, 1))
    program += _only_if(CALLS["openat"], 2, _code(_IF_ANY_BIT, changing, 0, 1))
    program += _only_if(
        CALLS["fcntl"],
        1,
        *(_code(_IF_EQUAL, lock, 3 - n, int(n == 3)) for n, lock in enumerate((6, 7, 37, 38))),
    )
    program += _only_if(CALLS["write"], 0, _code(_IF_EQUAL, NOTES, 1, 0))
    for number in (*CALLS.values(), _SIGNAL_RETURN):
        program += [_code(_IF_EQUAL, number, 0, 1), _code(_RETURN, _RET_TRACE)]
    return [*program, _code(_RETURN, _RET_ALLOW)]


def _only_if(number: int, argument: int, *conditions: bytes) -> list[bytes]:
    """Stop a call only if a condition on the lower half of an argument holds: it then goes on with the next line."""
    inner = [
        _code(_LOAD, 16 + 8 * argument),
        *conditions,
        _code(_RETURN, _RET_TRACE),
        _code(_RETURN, _RET_ALLOW),
    ]
    return [_code(_IF_EQUAL, number, 0, len(inner)), *inner]


def _code(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
