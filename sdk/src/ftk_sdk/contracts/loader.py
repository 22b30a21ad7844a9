"""What holds for every loader of models."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftk.problems import FtkError

from .subject import Subject

IDS = torch.arange(32).view(2, 16) % 11


class LoaderContract(Subject):
    """Set ``component`` and ``keys``. The loader reads ``model_name_or_path``."""

    model_key = "model_name_or_path"

    def test_the_tokenizer_is_that_of_the_folder_and_pads(self, tiny_model_dir):
        made = self.run({self.model_key: str(tiny_model_dir)}).load_tokenizer()
        wanted = AutoTokenizer.from_pretrained(tiny_model_dir)
        text = "hello world, what is your name"
        assert made(text)["input_ids"] == wanted(text)["input_ids"], "its tokenizer gives other ids"
        assert made.pad_token_id is not None, "its tokenizer has no pad token"

    def test_the_model_says_what_the_folders_model_says(self, tiny_model_dir):
        made = self.run({self.model_key: str(tiny_model_dir)}).load_model()
        with torch.no_grad():
            wanted = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)(input_ids=IDS).logits
            gap = (made.float()(input_ids=IDS).logits - wanted).abs().max().item()
        # A loader may choose half precision, whose rounding this allows.
        assert gap < 0.05, f"its logits differ from the folder's model by up to {gap:.3g}"

    def test_keyword_arguments_of_others_reach_the_model(self, tiny_model_dir):
        run = self.run({self.model_key: str(tiny_model_dir)})
        own = run.merged("ftk_model_kwargs", into="from_pretrained", run=run, role="policy")
        kwargs = {**own, "attn_implementation": "eager"}
        model = run.single("ftk_load_model", run=run, kwargs=kwargs, role="policy")
        made = model.config._attn_implementation
        assert made == "eager", f"attn_implementation is {made!r}: it does not pass the keyword arguments on"

    def test_each_role_gets_a_model_of_its_own(self, tiny_model_dir):
        run = self.run({self.model_key: str(tiny_model_dir)})
        policy, reference = run.load_model(), run.load_model("reference")
        shared = {id(p) for p in policy.parameters()} & {id(p) for p in reference.parameters()}
        assert not shared, "the policy and the reference model share weights, so training one trains the other"

    def test_a_folder_that_is_not_there_is_an_error_that_names_it(self, tmp_path):
        name = str(tmp_path / "no-such-model")
        try:
            run = self.run({self.model_key: name})
            told = [str(p) for p in run.plan.problems if p.level == "missing"]
            assert all(name in text for text in told)
            run.load_model()
        except FtkError as e:
            assert name in str(e), f"the error does not name {name!r}: {e}"
        except Exception as e:
            pytest.fail(f"{name!r} raised {type(e).__name__}: {e}; raise a RunError that says what to do")
        else:
            pytest.fail(f"{name!r} is not there, and a model was loaded")
