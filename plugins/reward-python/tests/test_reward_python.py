import os
import socket
import sys
import threading
import time

import pytest

from ft_plugin_reward_python import plugin
from ft_plugin_reward_python.reward import PythonTests, code_of
from ft_plugin_reward_python.sandbox import Sandbox
from ft_plugin_rewards.scoring import Rewards
from ftk.problems import ConfigError
from ftk_sdk.contracts import PluginContract, RewardContract
from ftk_sdk.testing import make_plan, make_run

PARTS = ["addon:rewards", "reward:python_tests"]
SANDBOX = Sandbox(seconds=2, megabytes=256)
ISOLATED = not SANDBOX.run("", ["pass"]).missing


class TestPlugin(PluginContract):
    plugin = plugin


class TestReward(RewardContract):
    component = "reward:python_tests"
    good, bad, row = "x = 1", "x = 2", {"tests": ["assert x == 1"]}


def works(code: str, test: str = "pass") -> bool:
    (passed,) = SANDBOX.run(code, [test]).passed
    return passed


def test_each_test_is_one_of_its_own():
    outcome = SANDBOX.run(
        "calls = []\ndef add(a, b):\n    calls.append(a)\n    return a + b",
        ["assert add(1, 2) == 3 and len(calls) == 1"] * 2 + ["assert add(1, 1) == 3", "raise SystemExit", "1 / 0"],
    )
    assert outcome.passed == [True, True, False, False, False]


@pytest.mark.parametrize(
    "code",
    [
        "import os; os._exit(0)",
        "import sys; sys.exit(0)",
        "exit()",
        "def f(:",
        "raise KeyboardInterrupt",
        "print('{}')",
    ],
)
def test_ending_early_is_not_passing(code):
    assert not works(code, "assert False")


def test_a_test_that_never_ends_is_stopped_and_so_is_what_it_started():
    began = time.monotonic()
    marker = f"ftk-test-{os.getpid()}-{time.time_ns()}"
    code = f"import subprocess, sys\nfor _ in range(2): subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', '{marker}'])"
    assert not works(code, "while True: pass")
    assert time.monotonic() - began < 25
    time.sleep(0.2)
    assert not any(marker in arguments for arguments in processes())


def processes() -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as f:
                found.append(f.read())
        except OSError:
            pass
    return found


def test_memory_and_file_sizes_are_limited():
    assert not works("held = bytearray(10**9)")
    assert not works("open('big', 'wb').write(bytes(64 << 20))")
    assert works("open('small', 'wb').write(bytes(1 << 20))")


def test_a_fork_bomb_ends_with_its_test():
    began = time.monotonic()
    assert not works("import os\nwhile True: os.fork()")
    assert time.monotonic() - began < 25
    assert works("x = 1", "assert x == 1")


def test_nothing_of_the_environment_is_there(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    assert works("import os", "assert 'SECRET_TOKEN' not in os.environ and os.listdir('.') == []")
    assert works("import sys", "assert not any('site-packages' in p for p in sys.path)")


@pytest.mark.skipif(not ISOLATED, reason="this machine has no namespaces or Landlock for users")
def test_files_outside_can_be_neither_read_nor_written(tmp_path):
    (tmp_path / "private").write_text("secret")
    assert not works(f"open('{tmp_path}/private').read()")
    assert not works(f"open('{tmp_path}/new', 'w').write('x')")
    assert not works(f"import os; os.remove('{tmp_path}/private')")
    assert not works("open('/etc/passwd').read()")
    assert (tmp_path / "private").read_text() == "secret" and not (tmp_path / "new").exists()


@pytest.mark.skipif(not ISOLATED, reason="this machine has no namespaces or Landlock for users")
def test_there_is_no_network_and_no_other_process():
    server = socket.create_server(("127.0.0.1", 0))
    reached = []
    threading.Thread(target=lambda: reached.append(server.accept()), daemon=True).start()
    port = server.getsockname()[1]
    assert not works(f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=1)")
    assert not works(f"import os; os.kill({os.getpid()}, 0)")
    assert not reached
    server.close()


def test_code_is_the_last_fenced_block_or_everything():
    assert code_of("so:\n```python\na = 1\n```\nor\n```\nb = 2\n```\n") == "b = 2\n"
    assert code_of("a = 1") == "a = 1"


def test_the_reward_is_the_share_of_tests_that_pass():
    reward = PythonTests(SANDBOX, 2)
    found = reward(
        completions=["```python\nx = one\n```", "x = 2", "x = 1"],
        tests=[["assert x == 1", "assert x == 2"], "assert x == 2", None],
        setup=["one = 1", None, None],
    )
    assert found == [0.5, 1.0, None]


def test_it_is_a_reward_by_its_name():
    run = make_run({"reward_funcs": ["python_tests"], "reward_python_timeout": 3}, components=PARTS)
    scores = Rewards(run).score([[]], ["x = 1"], {"tests": ["assert x == 1"]})
    assert scores.totals == [1.0]
    with pytest.raises(ConfigError, match="reward_python_timeout=0"):
        make_plan({"reward_python_timeout": 0}, components=PARTS)


def test_the_interpreter_is_the_one_that_trains():
    assert works("import sys", f"assert sys.version_info[:2] == {sys.version_info[:2]}")
