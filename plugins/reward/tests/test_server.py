"""Asking a real server for scores."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ft_plugin_reward import server
from ft_plugin_rewards.scoring import Rewards
from ftk.problems import RunError
from ftk_sdk.testing import make_run

TOGETHER = ("addon:reward", "addon:rewards", "loader:hf", "template:chatml")
PROMPTS = [[{"role": "user", "content": "hello"}]] * 3
SAID = ["one", "three", "eleven"]


def lengths(question):
    return 200, {"scores": [len(text) for text in question["messages"]]}


@pytest.fixture
def serve():
    """Start a server that gives each request to a function: question -> status, answer."""
    running = []

    def start(answer):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append(question)
                status, body = answer(question)
                raw = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # the client has given up
                    self.wfile.write(raw)

            def log_message(self, *args):
                pass

        made = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        running.append(made)
        return f"http://127.0.0.1:{made.server_port}/v1/score/evaluation", asked

    yield start
    for made in running:
        made.shutdown()
        made.server_close()


def rewards_of(model_dir, address, **keys):
    keys = {"model_name_or_path": str(model_dir), "template": "chatml", "reward_model": address, **keys}
    return Rewards(make_run({"reward_api_retries": 0} | keys, components=TOGETHER))


def test_it_is_sent_whole_conversations_in_batches_and_its_scores_come_back_in_order(tiny_model_dir, serve):
    address, asked = serve(lengths)
    made = rewards_of(tiny_model_dir, address, reward_batch_size=2).score(PROMPTS, SAID, {})
    start = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    texts = [f"{start}{said}<|im_end|>\n" for said in SAID]
    assert asked == [{"model": "model", "messages": texts[:2]}, {"model": "model", "messages": texts[2:]}]
    assert made.totals == [len(text) for text in texts]


def test_a_failure_that_may_pass_is_tried_again(tiny_model_dir, serve, monkeypatch):
    waited = []
    monkeypatch.setattr(server.time, "sleep", waited.append)
    statuses = iter([503, 500, 200])
    address, asked = serve(lambda question: (next(statuses), lengths(question)[1]))
    made = rewards_of(tiny_model_dir, address, reward_api_retries=3).score(PROMPTS, SAID, {})
    assert len(asked) == 3 and waited == [1, 2] and None not in made.parts["reward_model"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((405, b"not allowed"), "answers 405: not allowed"),
        ((200, {"scores": [1.0]}), "was asked for 3 scores and gave"),
        ((200, {"error": "no"}), "was asked for 3 scores and gave {'error': 'no'}"),
        ((200, [1, 2, 3]), "was asked for 3 scores and gave"),
        ((200, b"<html>"), "gives no JSON"),
        ((200, {"scores": ["a", None, float("nan")]}), "is no finite number"),
    ],
)
def test_what_it_says_instead_of_scores_is_told(tiny_model_dir, serve, answer, message, caplog):
    address, asked = serve(lambda question: answer)
    rewards = rewards_of(tiny_model_dir, address)
    try:
        rewards.score(PROMPTS, SAID, {})
        said = caplog.text
    except RunError as e:
        said = str(e)
    assert message in said
    assert len(asked) == 1


def test_a_server_that_is_down_stops_the_run_with_its_address(tiny_model_dir, serve):
    with pytest.raises(RunError, match=r"the reward server http://127.0.0.1:9/score does not answer: .*refused"):
        rewards_of(tiny_model_dir, "http://127.0.0.1:9/score").score(PROMPTS, SAID, {})


def test_a_server_that_is_slow_is_given_up(tiny_model_dir, serve):
    waiting = threading.Event()

    def slow(question):
        waiting.wait(2)
        return lengths(question)

    address, _ = serve(slow)
    with pytest.raises(RunError, match="does not answer: timed out"):
        rewards_of(tiny_model_dir, address, reward_api_timeout=0.2).score(PROMPTS, SAID, {})
    waiting.set()
