"""The plan, and both ways of asking: a real server that speaks vLLM's protocol, and a module in the library's place."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import GenerationConfig

from ft_plugin_rollout_vllm import plugin, server
from ft_plugin_rollout_vllm.adapter import checked
from ft_plugin_rollouts.rollouts import EVERY_TOKEN, Rollouts
from ftk.problems import ConfigError, RunError
from ftk_sdk.contracts import PluginContract
from ftk_sdk.testing import make_plan, make_run
from ftk_sdk.tiny import tiny_llama, tiny_tokenizer

PROMPTS = [[5, 6, 7], [8, 9, 10, 11], [14]]
SERVER = {"rollouts_engine": "vllm-server", "rollout_vllm_url": "http://localhost:8000"}
GRPO = {"stage": "grpo", "model_name_or_path": "x", "dataset": "x", "reward_funcs": ["length"], "template": "chatml"}


class TestPlugin(PluginContract):
    plugin = plugin


def planned(**keys):
    return make_plan(GRPO | SERVER | keys)


@pytest.mark.parametrize("stage", ["grpo", "rloo", "reinforce_plus_plus", "ppo"])
def test_a_run_that_names_it_holds_it(stage):
    assert "rollout-engine:vllm-server" in planned(stage=stage)


def test_a_run_without_the_package_is_told_what_to_install():
    with pytest.raises(ConfigError) as error:
        planned(rollouts_engine="vllm")
    assert "rollout-engine:vllm needs the package 'vllm'\n    pip install vllm" in str(error.value)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"finetuning_type": "full"}, "finetuning_type is 'full'\n    set finetuning_type: lora"),
        ({"finetuning_type": "freeze"}, "finetuning_type is 'freeze'\n    set finetuning_type: lora"),
        ({"use_dora": True}, "DoRA"),
        ({"additional_target": ["lm_head"]}, "additional_target trains other modules"),
        ({"adapter_name_or_path": ["a/b", "c/d"]}, "merged into weights that vLLM does not see"),
        ({"train_from_scratch": True}, "weights that vLLM does not see"),
        ({"rollout_vllm_url": None}, "needs rollout_vllm_url"),
        ({"rollout_vllm_url": "localhost:8000"}, "rollout_vllm_url='localhost:8000' is no address"),
        ({"rollout_vllm_timeout": 0}, "rollout_vllm_timeout=0.0 is not positive"),
        ({"rollout_vllm_retries": -1}, "rollout_vllm_retries=-1 is negative"),
        ({"rollout_vllm_concurrency": 0}, "rollout_vllm_concurrency=0 must be at least 1"),
        ({"rollout_vllm_gpu_util": 1.5}, "rollout_vllm_gpu_util=1.5 is not a share"),
        ({"rollout_vllm_max_length": 1}, "rollout_vllm_max_length=1 must be at least 2"),
    ],
)
def test_what_cannot_be_handed_over_or_means_nothing_is_refused(keys, said):
    with pytest.raises(ConfigError) as error:
        planned(**keys)
    assert said in str(error.value)


class Vllm:
    """Answers as vLLM's server does, from the tiny model with the adapter that it was told to load."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict]] = []
        self.statuses: list[tuple[int, dict]] = []
        """What to answer first, whatever is asked."""
        self.change = lambda answer: answer
        self.loaded: dict[str, PeftModel] = {}
        self.lock = threading.Lock()

    def answer(self, path, question):
        with self.lock:
            self.asked.append((path, question))
            if self.statuses:
                return self.statuses.pop(0)
            if path == "/v1/load_lora_adapter":
                model = PeftModel.from_pretrained(tiny_llama(dtype=torch.float64), question["lora_path"])
                self.loaded[question["lora_name"]] = model.eval()
                return 200, "Success"
            if path == "/v1/unload_lora_adapter":
                del self.loaded[question["lora_name"]]
                return 200, "Success"
            return 200, self.change({"choices": list(self.choices(question))})

    def choices(self, question):
        prompt = torch.tensor([question["prompt"]])
        greedy = question["temperature"] == 0
        sampled = {} if greedy else {"temperature": question["temperature"], "top_p": 1.0, "top_k": 0}
        for index in reversed(range(question["n"])):
            torch.manual_seed(question["seed"] + index)
            config = GenerationConfig(
                max_new_tokens=question["max_tokens"],
                do_sample=not greedy,
                eos_token_id=question["stop_token_ids"],
                pad_token_id=3,
                **sampled,
            )
            made = self.loaded[question["model"]].generate(input_ids=prompt, generation_config=config)
            yield {"index": index, "text": "", "token_ids": made[0, prompt.shape[1] :].tolist()}

    def paths(self):
        return [path.rpartition("/")[2] for path, _ in self.asked]


@pytest.fixture
def vllm():
    made = Vllm()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = made.answer(self.path, question)
            raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    made.url = f"http://127.0.0.1:{listening.server_port}"
    yield made
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def waited(monkeypatch):
    seconds = []
    monkeypatch.setattr(server.time, "sleep", seconds.append)
    return seconds


def trained(**keys) -> PeftModel:
    """The tiny model as if training had changed its adapter."""
    model = make_run(keys, components=["adapter:lora"]).adapt_model(tiny_llama(dtype=torch.float64))
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def rollouts_of(tmp_path, engine=None, **keys) -> Rollouts:
    components = ["template:chatml", "addon:rollouts", "loader:hf", *([engine] if engine else [])]
    keys = {"max_new_tokens": 9, "output_dir": str(tmp_path / "out"), "model_name_or_path": "org/model", **keys}
    run = make_run(keys, components=components)
    tokenizer = tiny_tokenizer()
    return Rollouts(run, tokenizer, run.load_template(tokenizer), unset=EVERY_TOKEN)


def from_server(tmp_path, vllm, **keys) -> Rollouts:
    return rollouts_of(tmp_path, "rollout-engine:vllm-server", rollout_vllm_url=vllm.url, **keys)


def test_its_completions_are_those_of_the_adapter_as_it_is_now(tmp_path, vllm):
    model = trained()
    with model.disable_adapter():
        untrained = rollouts_of(tmp_path, do_sample=False).generate(model, PROMPTS)
    found = from_server(tmp_path, vllm, do_sample=False).generate(model, PROMPTS)
    assert found == rollouts_of(tmp_path, do_sample=False).generate(model, PROMPTS) != untrained


def test_the_adapter_is_loaded_then_asked_then_forgotten_and_no_name_comes_again(tmp_path, vllm):
    rollouts, model = from_server(tmp_path, vllm), trained()
    for step in (3, 3):
        rollouts.generate(model, PROMPTS, n=2, step=step)
    assert vllm.paths() == ["load_lora_adapter", *["completions"] * 3, "unload_lora_adapter"] * 2
    names = [question["lora_name"] for path, question in vllm.asked if path == "/v1/load_lora_adapter"]
    assert len(set(names)) == 2 and all(name.endswith("-3") for name in names)
    path = Path(vllm.asked[0][1]["lora_path"])
    assert path.is_absolute() and path == (tmp_path / "out" / "vllm" / names[0]).resolve() and not path.exists()
    assert not vllm.loaded


def test_the_adapter_goes_where_the_config_says(tmp_path, vllm):
    from_server(tmp_path, vllm, rollout_vllm_adapter_dir=str(tmp_path / "shared")).generate(trained(), PROMPTS)
    assert Path(vllm.asked[0][1]["lora_path"]).parent == (tmp_path / "shared").resolve()


def test_all_that_decides_what_is_drawn_is_said(tmp_path, vllm):
    keys = {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "repetition_penalty": 1.1, "rollout_vllm_concurrency": 1}
    from_server(tmp_path, vllm, **keys).generate(trained(), PROMPTS, n=4)
    asked = [question for path, question in vllm.asked if path == "/v1/completions"]
    assert [question.pop("prompt") for question in asked] == PROMPTS
    assert len({question.pop("seed") for question in asked}) == 3
    name = vllm.asked[0][1]["lora_name"]
    assert asked[0] == {
        "model": name, "n": 4, "max_tokens": 9, "temperature": 0.7, "top_p": 0.9, "top_k": 5, "min_p": 0.0,
        "repetition_penalty": 1.1, "stop_token_ids": [2], "stop": [], "skip_special_tokens": False,
        "return_token_ids": True,
    }  # fmt: skip


def test_every_token_may_be_drawn_where_nothing_is_set_and_the_likeliest_alone_without_sampling(tmp_path, vllm):
    from_server(tmp_path, vllm).generate(trained(), PROMPTS[:1])
    from_server(tmp_path, vllm, do_sample=False).generate(trained(), PROMPTS[:1])
    drawn, greedy = [question for path, question in vllm.asked if path == "/v1/completions"]
    assert [drawn[key] for key in ("temperature", "top_p", "top_k")] == [1.0, 1.0, -1]
    assert [greedy[key] for key in ("temperature", "top_p", "top_k")] == [0.0, 1.0, -1]


def test_the_same_step_gives_the_same_completions_in_order_and_another_others(tmp_path, vllm):
    rollouts, model = from_server(tmp_path, vllm), trained()
    first = rollouts.generate(model, [*PROMPTS, PROMPTS[0]], n=2, step=3)
    assert from_server(tmp_path, vllm).generate(model, [*PROMPTS, PROMPTS[0]], n=2, step=3) == first
    assert rollouts.generate(model, [*PROMPTS, PROMPTS[0]], n=2, step=4) != first
    assert first[0] != first[3] and first[0][0] != first[0][1]
    assert all(0 < len(completion.ids) <= 9 for group in first for completion in group)


def test_a_failure_that_may_pass_is_tried_again(tmp_path, vllm, waited):
    vllm.statuses = [(503, {}), (429, {})]
    assert from_server(tmp_path, vllm).generate(trained(), PROMPTS[:1])
    assert waited == [1, 2] and vllm.paths()[:4] == [*["load_lora_adapter"] * 3, "completions"]


def test_an_adapter_that_was_loaded_by_a_try_whose_answer_was_lost_is_there(tmp_path, vllm):
    name = {"message": "The lora adapter 'ftk' has already been loaded."}
    vllm.statuses = [(400, {"error": name}), (200, {"choices": [{"token_ids": [5, 2]}]})]
    ((completion,),) = from_server(tmp_path, vllm).generate(trained(), PROMPTS[:1])
    assert completion.ids == [5, 2]


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (404, {"detail": "Not Found"}, "takes no adapters while it runs\n    start it: VLLM_ALLOW_RUNTIME_LORA"),
        (404, {"error": {"message": "No adapter found"}}, "does not find the adapter"),
        (500, {"error": {"message": "LoRA is not enabled"}}, "--enable-lora --max-lora-rank 8"),
        (503, {"error": "busy"}, "refuses the adapter: answers 503"),
    ],
)
def test_a_server_that_does_not_take_the_adapter_is_explained(tmp_path, vllm, status, answer, said):
    vllm.statuses = [(status, answer)]
    with pytest.raises(RunError) as error:
        from_server(tmp_path, vllm, rollout_vllm_retries=0).generate(trained(), PROMPTS)
    assert said in str(error.value)
    assert vllm.paths() == ["load_lora_adapter"] and not list((tmp_path / "out" / "vllm").iterdir())


def test_no_server_is_told_with_the_command_that_starts_it(tmp_path, waited):
    keys = {"rollout_vllm_url": "http://127.0.0.1:9", "rollout_vllm_retries": 2}
    with pytest.raises(RunError) as error:
        rollouts_of(tmp_path, "rollout-engine:vllm-server", **keys).generate(trained(), PROMPTS)
    assert "http://127.0.0.1:9 does not answer" in str(error.value) and waited == [1, 2]
    assert "vllm serve org/model --enable-lora --max-lora-rank 8" in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: {"choices": [{**c, "token_ids": None} for c in a["choices"]]}, "upgrade it to vLLM 0.10.2"),
        (lambda a: {"choices": [{"index": c["index"], "text": "x"} for c in a["choices"]]}, "gives no token ids"),
        (lambda a: {"choices": a["choices"][1:]}, "asked for 2 completions of a prompt and gave 1"),
        (lambda a: {"choices": [{**c, "token_ids": [5] * 10} for c in a["choices"]]}, "asked for 9 tokens and gave 10"),
        (lambda a: {"answer": 1}, "gives no completions: {'answer': 1}"),
        (lambda a: b"<html>", "gives no JSON"),
    ],
)
def test_an_answer_that_cannot_be_used_is_explained_and_the_adapter_forgotten(tmp_path, vllm, change, said):
    vllm.change = change
    with pytest.raises(RunError) as error:
        from_server(tmp_path, vllm).generate(trained(), PROMPTS, n=2)
    assert said in str(error.value)
    assert vllm.paths()[-1] == "unload_lora_adapter" and not vllm.loaded


def test_what_the_server_says_of_a_request_is_passed_on(tmp_path, vllm):
    vllm.statuses = [(200, {}), (400, {"error": {"message": "maximum context length is 12"}})]
    with pytest.raises(RunError, match="answers 400: .*maximum context length is 12"):
        from_server(tmp_path, vllm).generate(trained(), PROMPTS[:1])


def test_an_adapter_that_cannot_be_forgotten_is_a_warning(tmp_path, vllm, caplog):
    vllm.statuses = [(200, {}), (200, {"choices": [{"token_ids": [5, 2]}]}), (500, {"error": "no"})]
    assert from_server(tmp_path, vllm).generate(trained(), PROMPTS[:1])
    assert "keeps the adapter ftk-" in caplog.text


def test_a_folder_that_cannot_be_written_is_told(tmp_path, vllm):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="rollout_vllm_adapter_dir"):
        from_server(tmp_path, vllm, rollout_vllm_adapter_dir=str(tmp_path / "file")).generate(trained(), PROMPTS)
    assert not vllm.asked


def test_models_that_vllm_could_not_follow_are_refused():
    with pytest.raises(RunError, match="set finetuning_type: lora"):
        checked(tiny_llama())
    assert isinstance(checked(trained()), PeftModel)
    for change in ({"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"init_lora_weights": "pissa_niter_4"}):
        model = trained()
        for key, value in change.items():
            setattr(model.peft_config["default"], key, value)
        with pytest.raises(RunError, match="cannot be handed this adapter"):
            checked(model)


LIBRARY = """
MADE, ASKED = [], []
class SamplingParams:
    def __init__(self, **given):
        self.given = given
class Output:
    def __init__(self, index, token_ids):
        self.index, self.token_ids = index, token_ids
class Answer:
    def __init__(self, outputs):
        self.outputs = outputs
class LLM:
    def __init__(self, **options):
        MADE.append(options)
    def generate(self, prompts, sampling_params, *, lora_request, use_tqdm):
        ASKED.append((prompts, [p.given for p in sampling_params], lora_request, lora_request.files()))
        asked = zip(prompts, sampling_params, strict=True)
        return [
            Answer([Output(i, (*p["prompt_token_ids"], 20 + i)) for i in reversed(range(s.given["n"]))])
            for p, s in asked
        ]
"""
REQUEST = """
import os
class LoRARequest:
    def __init__(self, lora_name, lora_int_id, lora_path):
        self.name, self.number, self.path = lora_name, lora_int_id, lora_path
    def files(self):
        return sorted(os.listdir(self.path))
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    folder = tmp_path / "site" / "vllm"
    (folder / "lora").mkdir(parents=True)
    (folder / "__init__.py").write_text(LIBRARY)
    (folder / "lora/__init__.py").touch()
    (folder / "lora/request.py").write_text(REQUEST)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    for name in ("vllm", "vllm.lora", "vllm.lora.request", "ft_plugin_rollout_vllm.process"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("library")
def test_in_the_training_process_the_library_is_given_the_model_the_adapter_and_a_seed_for_each_prompt(tmp_path):
    keys = {"lora_rank": 12, "rollout_vllm_options": {"enforce_eager": True, "dtype": "float32"}}
    rollouts = rollouts_of(tmp_path, "rollout-engine:vllm", rollout_vllm_max_length=99, **keys)
    model = trained(lora_rank=12)
    groups = [rollouts.generate(model, PROMPTS, n=2, step=step) for step in (0, 1)]
    assert [[c.ids for c in group] for group in groups[0]] == [[[*p, 20], [*p, 21]] for p in PROMPTS]
    vllm = sys.modules["vllm"]
    assert vllm.MADE == [
        {
            "model": "org/model", "revision": None, "trust_remote_code": False, "enable_lora": True, "max_loras": 1,
            "max_lora_rank": 16, "gpu_memory_utilization": 0.3, "max_model_len": 99, "enforce_eager": True,
            "dtype": "float32",
        }
    ]  # fmt: skip
    (prompts, sampling, first, files), (_, later, second, _) = vllm.ASKED
    assert prompts == [{"prompt_token_ids": prompt} for prompt in PROMPTS]
    seeds = [given["seed"] for given in (*sampling, *later)]
    assert len(set(seeds)) == 6
    assert {key: sampling[0][key] for key in ("n", "max_tokens", "top_k")} == {"n": 2, "max_tokens": 9, "top_k": -1}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(files)
    assert (first.number, second.number) == (1, 2) and first.name != second.name and not os.path.exists(first.path)


@pytest.mark.usefixtures("library")
def test_in_the_training_process_there_is_one_process(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RunError, match="set rollouts_engine: vllm-server"):
        rollouts_of(tmp_path, "rollout-engine:vllm")


@pytest.mark.usefixtures("library")
def test_with_the_package_a_run_may_name_it():
    assert "rollout-engine:vllm" in planned(rollouts_engine="vllm")


def test_planning_imports_nothing_heavy():
    code = (
        "import sys; from ftk_sdk.testing import make_plan; "
        f"make_plan({GRPO | SERVER!r}); print({{'torch', 'peft', 'vllm'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_a_stage_that_generates_nothing_cannot_name_it():
    with pytest.raises(ConfigError, match="requires addon:rollouts, which this run does not use"):
        planned(stage="sft", reward_funcs=None)


def test_a_chat_with_the_file_of_a_training_run_is_planned_as_without_it():
    assert "engine:hf" in make_plan({**GRPO, **SERVER}, action="chat")


def test_a_run_learns_from_the_completions_of_the_server(tmp_path, vllm, tiny_model_dir):
    rows = [{"instruction": f"say {i}", "output": "x"} for i in range(2)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    keys = {"model_name_or_path": str(tiny_model_dir), "dataset": str(tmp_path / "rows.json"), "max_steps": 2}
    keys |= {"output_dir": str(tmp_path / "out"), "rollout_vllm_url": vllm.url, "grpo_num_generate_samples": 2}
    run = make_run(GRPO | SERVER | keys | {"max_new_tokens": 4, "logging_steps": 1, "report_to": "none"})
    run.start()
    assert vllm.paths().count("load_lora_adapter") == vllm.paths().count("unload_lora_adapter") == 2
    assert (tmp_path / "out" / "adapter_model.safetensors").exists()
    assert not list((tmp_path / "out" / "vllm").iterdir())
