from pathlib import Path
from typing import Literal

import pytest

from ftk.aliases import Alias
from ftk.compose import compose
from ftk.load import Raw, parse_overrides, parse_yaml
from ftk.problems import ConfigError, Origin
from ftk.section import section
from ftk.settings import RunConfig


@section("lora")
class Lora:
    lora_rank: int = 8
    """Rank of the update matrices."""
    lora_alpha: int | None = None
    """Scale."""
    lora_target: list[str] | Literal["all"] = "all"
    """Modules."""

    @property
    def alpha(self) -> int:
        return self.lora_alpha or 2 * self.lora_rank


@section("trainer")
class Trainer:
    learning_rate: float = 5e-5
    """Step size."""
    save_strategy: Literal["no", "steps", "epoch"] = "steps"
    """When to save."""
    options: dict[str, float] | None = None
    """More."""
    warmup_steps: float = 0
    """Warm-up."""


@pytest.fixture
def composed(plugin, install):
    installed = install(
        plugin("ft-plugin-lora", sections=[Lora]),
        plugin("ft-plugin-trainer", sections=[Trainer]),
        plugin("ft-plugin-gguf", load=lambda: 1 / 0),
    )

    def run(text: str, aliases=(), overrides=()):
        raw = parse_yaml(text, "a.yaml") | parse_overrides(overrides)
        return compose(raw, installed.index, aliases)

    return run


def problems_of(composed, text, **options) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        composed(text, **options)
    return str(caught.value).splitlines()


def test_values_get_the_types_of_their_keys(composed):
    config, warnings = composed("lora_rank: '16'\nlora_target: q_proj, v_proj\nlearning_rate: 2e-5\noutput_dir: 2024\n")
    assert config[Lora].lora_rank == 16
    assert config[Lora].lora_target == ["q_proj", "v_proj"]
    assert config[Trainer].learning_rate == 2e-5
    assert config[RunConfig].output_dir == "2024"
    assert not warnings


def test_a_word_that_yaml_reads_as_a_boolean_is_the_word_where_one_is_wanted(composed):
    config, _ = composed("save_strategy: no\n")
    assert config[Trainer].save_strategy == "no"


def test_every_error_is_reported_at_once_with_its_line(composed):
    lines = problems_of(
        composed,
        "lora_rnak: 8\nlora_rank: eight\nsave_strategy: step\nuse_galore: true\nfrobnicate: 1\ngalore_rnak: 3\nquant_bit: Q4_K_M\n",
    )
    assert lines == [
        "a.yaml:1: error: unknown key 'lora_rnak'",
        "    did you mean 'lora_rank'?",
        "a.yaml:2: error: lora_rank: input should be a valid integer, unable to parse string as an integer (got 'eight')",
        "a.yaml:3: error: save_strategy: 'step' is not one of 'no', 'steps', 'epoch'",
        "    did you mean 'steps'?",
        "a.yaml:4: error: 'use_galore' is provided by ft-plugin-galore, which is not installed",
        "    pip install ft-plugin-galore",
        "a.yaml:5: error: unknown key 'frobnicate'",
        "    run 'ftk keys' to list every key",
        "a.yaml:6: error: unknown key 'galore_rnak'",
        "    did you mean 'galore_rank'? (from ft-plugin-galore, not installed)",
        "a.yaml:7: error: 'quant_bit' is provided by ft-plugin-gguf, which is installed but cannot be used",
        "    ZeroDivisionError: division by zero (details: ftk plugins check ft-plugin-gguf)",
    ]


def test_a_harmless_default_of_an_absent_plugin_is_accepted(composed):
    config, warnings = composed("use_galore: false\ngalore_rank: 16\npref_beta: 0.1\nquant_bit: ''\n")
    assert config.dump() == {} and not warnings


def test_a_key_of_an_absent_plugin_that_is_switched_off_is_a_warning(composed):
    _, warnings = composed("galore_rank: 128\npref_beta: 0.5\n")
    assert [str(w) for w in warnings] == [
        "a.yaml:1: warning: 'galore_rank' has no effect: it belongs to ft-plugin-galore, and 'use_galore' is not set",
        "a.yaml:2: warning: 'pref_beta' has no effect: this run does not use ft-plugin-dpo",
    ]


def test_a_selected_absent_stage_is_left_to_the_plan_to_report(composed):
    assert composed("stage: dpo\npref_beta: 0.5\n")[1] == []


def test_duplicate_keys_name_both_lines(composed):
    assert problems_of(composed, "lora_rank: 8\nseed: 1\nlora_rank: 9\n")[0] == (
        "a.yaml:3: error: 'lora_rank' is set twice, first on line 1"
    )


@pytest.mark.parametrize("block", ["lora: {rank: 4, alpha: 9}", "lora: {lora_rank: 4, lora_alpha: 9}"])
def test_a_block_is_its_keys_with_the_sections_name_before_them(composed, block):
    assert composed(block)[0].dump() == {"lora_alpha": 9, "lora_rank": 4}


def test_a_block_of_keys_without_prefix_keeps_their_names(composed):
    assert composed("trainer: {learning_rate: 1.0}")[0].dump() == {"learning_rate": 1.0}


def test_a_section_of_two_words_is_a_block_with_either_sign_between_them(plugin, install):
    @section("two-words")
    class Two:
        two_words_rank: int = 8

    index = install(plugin("ft-plugin-two-words", sections=[Two])).index
    for block in ("two-words: {rank: 4}", "two_words: {rank: 4}"):
        assert compose(parse_yaml(block, "a.yaml"), index)[0].dump() == {"two_words_rank": 4}


def test_a_key_alone_and_in_a_block_is_an_error(composed):
    assert "set twice: alone and in a block" in problems_of(composed, "lora_rank: 4\nlora: {rank: 5}\n")[0]


def test_an_unknown_name_in_a_block_is_told_like_a_key(composed):
    assert problems_of(composed, "lora: {rnak: 5}\n")[:2] == [
        "a.yaml:1: error: unknown key 'lora_rnak'",
        "    did you mean 'lora_rank'?",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["lora_rank=4"], {"lora_rank": 4}),
        (["--lora_rank", "4", "--overwrite_output_dir"], {"lora_rank": 4, "overwrite_output_dir": True}),
        (["--lora-rank=4"], {"lora_rank": 4}),
        (["options={a: 1}"], {"options": {"a": 1.0}}),
        (["output_dir=a b"], {"output_dir": "a b"}),
        (["output_dir=a=b"], {"output_dir": "a=b"}),
    ],
)
def test_overrides_come_in_each_common_form(composed, words, expected):
    assert composed("", overrides=words)[0].dump() == expected


def test_an_override_that_is_none_is_an_error(composed):
    with pytest.raises(ConfigError, match="cannot read 'frob'"):
        composed("", overrides=["frob"])


WARMUP = Alias(old="warmup_ratio", new="warmup_steps", note="a fraction of warmup_steps", convert=f"{__name__}:ratio")
STAGE = Alias(old="stage", new="stage", values={"pretrain": "pt", True: "yes"}, note="called 'pt'")


def ratio(value):
    if not 0 <= value < 1:
        raise ValueError(f"a ratio is at least 0 and less than 1 (got {value})")
    return value


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or type(sys)(__name__))
    monkeypatch.setattr(sys.modules[__name__], "ratio", ratio, raising=False)


def test_an_alias_converts_the_value_and_says_so(composed):
    config, (warning,) = composed("warmup_ratio: 0.1\n", aliases=[WARMUP])
    assert config.dump() == {"warmup_steps": 0.1}
    assert str(warning) == "a.yaml:1: warning: 'warmup_ratio' is a fraction of warmup_steps"
    assert str(config.origin("warmup_steps")) == "a.yaml:1"


def test_what_an_alias_cannot_convert_is_an_error_at_its_line(composed):
    assert problems_of(composed, "\nwarmup_ratio: 1.0\n", aliases=[WARMUP]) == [
        "a.yaml:2: error: warmup_ratio: a ratio is at least 0 and less than 1 (got 1.0)",
    ]


def test_an_alias_and_its_replacement_together_are_an_error(composed):
    with pytest.raises(ConfigError, match="'warmup_ratio' and 'warmup_steps' are the same key"):
        composed("warmup_ratio: 0.1\nwarmup_steps: 5\n", aliases=[WARMUP])


def test_a_value_alias_translates_only_its_values(composed):
    config, warnings = composed("stage: pretrain\n", aliases=[STAGE])
    assert config[RunConfig].stage == "pt" and str(warnings[0]).endswith("'stage: pretrain' is called 'pt'")
    assert composed("stage: sft\n", aliases=[STAGE])[1] == []


def test_a_retired_key_is_a_warning(composed):
    config, (warning,) = composed("tpu: 1\n", aliases=[Alias(old="tpu", new=None, note="gone")])
    assert config.dump() == {} and "'tpu' is gone" in str(warning)


def test_composing_a_dump_gives_the_same_config(composed, plugin, install):
    config, _ = composed("lora: {rank: 4}\nlora_target: [a, b]\noptions: {x: 1}\n")
    index = install(plugin("ft-plugin-lora", sections=[Lora]), plugin("ft-plugin-trainer", sections=[Trainer])).index
    again, _ = compose({k: Raw(v, Origin("dump")) for k, v in config.dump().items()}, index)
    assert again == config


def test_reads_are_recorded_also_through_properties(composed):
    config, _ = composed("lora_rank: 4\nlora_alpha: 2\nlearning_rate: 1\n")
    keys = ["lora_rank", "lora_alpha", "learning_rate", "seed"]
    assert config.unread(keys) == ["learning_rate", "lora_alpha", "lora_rank"]
    assert config[Lora].alpha == 2
    assert config.unread(keys) == ["learning_rate", "lora_rank"]
    assert config.given(Trainer) == {"learning_rate": 1.0}
    assert config.unread(keys) == ["lora_rank"]


def test_a_section_cannot_be_changed(composed):
    config, _ = composed("")
    with pytest.raises(AttributeError):
        config[Lora].lora_rank = 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\nb: 3\n", "a.yaml:2: error: not valid YAML"),
        ("- 1\n- 2\n", "a.yaml:1: error: a config is a mapping"),
        ("just words\n", "a.yaml:1: error: a config is a mapping"),
        ("a:\tb: c\n", "a.yaml:1: error: not valid YAML"),
        ("lora_rank: [1]\n", "a.yaml:1: error: lora_rank: input should be a valid integer (got [1])"),
        (
            "lora_rank: 1.5\n",
            "a.yaml:1: error: lora_rank: input should be a valid integer, got a number with a fractional part (got 1.5)",
        ),
        ("seed: null\n", "a.yaml:1: error: seed: input should be a valid integer (got None)"),
        ("overwrite_output_dir: maybe\n", "a.yaml:1: error: overwrite_output_dir: input should be a valid boolean"),
        ("1: 2\n", "a.yaml:1: error: unknown key '1'"),
        ("x: !!python/object:os.system {}\n", "a.yaml:1: error: not valid YAML"),
    ],
)
def test_bad_files_are_told_with_their_place(composed, text, message):
    assert any(message in line for line in problems_of(composed, text)), problems_of(composed, text)


def test_files_that_cannot_be_read_are_told(tmp_path: Path):
    from ftk.load import load_config

    (tmp_path / "latin.yaml").write_bytes(b"a: caf\xe9\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "plan.json").write_text("{}")
    for name, message in [
        ("none.yaml", "no such file"),
        ("latin.yaml", "not UTF-8 at byte 6"),
        ("run", "is a folder without plan.json"),
        ("odd", "is not a plan that ftk wrote"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load_config(tmp_path / name)


def test_a_secret_is_kept_out_of_dumps(plugin, install):
    @section("hub", secrets=["hub_token"])
    class Hub:
        hub_token: str | None = None

    index = install(plugin("ft-plugin-hub", sections=[Hub])).index
    config, _ = compose(parse_yaml("hub_token: abc\nseed: 3\n", "a.yaml"), index)
    assert config[Hub].hub_token == "abc" and config.dump() == {"seed": 3}
