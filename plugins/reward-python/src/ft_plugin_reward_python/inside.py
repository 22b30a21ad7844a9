"""Running code that nobody has read: the side of the sandbox. A script of the standard library alone.

Three processes: this one starts a keeper, the first process of a namespace in which it sees nobody else, and the keeper
starts one for each test. When the keeper ends, the kernel ends everything that is left in there.
"""

import contextlib
import ctypes
import json
import os
import resource
import secrets
import select
import signal
import struct
import sys

CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
READ, WRITE = 0b1101, (1 << 13) - 1
"""Landlock's rights: execute, read files, read folders; and all thirteen of its first version."""
READABLE = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/dev/null", "/dev/zero", "/dev/urandom")

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    task = json.load(sys.stdin)
    folder = sys.argv[1]
    answer = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    missing = []
    if not guarded_files(folder):
        missing.append("reading and writing files")
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC) != 0:
        missing.append("the network and other processes")
    keeper = os.fork()
    if keeper == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        passed = [passes(task["code"], test, task, answer) for test in task["tests"]]
        os.write(answer, json.dumps({"passed": passed, "missing": missing}).encode())
        os._exit(0)
    os.waitpid(keeper, 0)


def passes(code: str, test: str, task: dict, answer: int) -> bool:
    """Whether a process gets to the end of both. Ending early is not passing: the end is told by a word of its own."""
    reading, writing = os.pipe()
    word = secrets.token_bytes(16)
    child = os.fork()
    if child == 0:
        os.close(answer)
        os.close(reading)
        limit(task)
        run(code, test, writing, word)
    os.close(writing)
    ready, _, _ = select.select([reading], [], [], task["seconds"])
    said = os.read(reading, 16) if ready else b""
    os.close(reading)
    end(child)
    return said == word


def run(code: str, test: str, writing: int, word: bytes) -> None:
    try:
        space: dict = {"__name__": "__main__"}
        exec(compile(code, "<completion>", "exec"), space)
        exec(compile(test, "<test>", "exec"), space)
        os.write(writing, word)
    except BaseException:
        pass
    finally:
        os._exit(0)


def end(child: int) -> None:
    """The test's process and whatever it has started."""
    try:
        os.killpg(child, signal.SIGKILL)
    except OSError:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if os.getpid() == 1:  # of the namespace, in which all others are the test's
        with contextlib.suppress(OSError):
            os.kill(-1, signal.SIGKILL)


def limit(task: dict) -> None:
    os.setsid()
    size, seconds = task["megabytes"] << 20, int(task["seconds"]) + 1
    for what, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, size),
        (resource.RLIMIT_FSIZE, 16 << 20),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, 32),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def guarded_files(folder: str) -> bool:
    """Landlock: read Python and what it needs, write ``folder``, and nothing else. False where the kernel has none."""
    if libc.syscall(LANDLOCK_CREATE, None, 0, 1) < 1:
        return False
    rules = libc.syscall(LANDLOCK_CREATE, ctypes.byref(ctypes.c_uint64(WRITE)), 8, 0)
    if rules < 0:
        return False
    readable = {*READABLE, sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.__file__)}
    for path, rights in [*((path, READ) for path in readable), (folder, WRITE), ("/dev/null", 0b110)]:
        if not os.path.exists(path):
            continue
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rights &= WRITE if os.path.isdir(path) else 0b111  # a file has no rights of folders
        rule = struct.pack("=QI", rights, opened)
        libc.syscall(LANDLOCK_ADD, rules, 1, rule, 0)
        os.close(opened)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return libc.syscall(LANDLOCK_RESTRICT, rules, 0) == 0


if __name__ == "__main__":
    main()
