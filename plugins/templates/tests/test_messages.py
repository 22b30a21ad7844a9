"""Messages in normal form."""

import pytest

from ft_plugin_templates.messages import message_weights, normal_messages, normal_tools
from ftk.problems import RowError


def call(arguments):
    return {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}


def test_parts_of_text_are_joined():
    (message,) = normal_messages([{"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b"}, "c"]}])
    assert message == {"role": "user", "content": "abc"}


@pytest.mark.parametrize("arguments", [{"x": 1}, '{"x": 1}', ' {"x":1} '])
def test_arguments_as_text_or_object_are_alike(arguments):
    (message,) = normal_messages([call(arguments)])
    assert message["tool_calls"] == [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]
    assert message["content"] == ""


@pytest.mark.parametrize("arguments", [None, "", " ", {}, "{}"])
def test_no_arguments_are_an_empty_object(arguments):
    (message,) = normal_messages([call(arguments)])
    assert message["tool_calls"][0]["function"]["arguments"] == {}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"role": "robot", "content": ""}, "turn 1 (robot): the role is none of system, user, assistant, tool"),
        ({"content": ""}, "turn 1 (None): the role"),
        ({"role": "user"}, "turn 1 (user): there is no content"),
        ({"role": "assistant", "content": None}, "turn 1 (assistant): there is no content"),
        ({"role": "user", "content": 3}, "the content is a int, not text"),
        ({"role": "user", "content": [{"type": "image"}]}, "a part is of type 'image'"),
        ({"role": "user", "content": [{"type": "text"}]}, "a part has no text"),
        ({"role": "user", "content": "x", "tool_calls": [{"name": "f"}]}, "only the assistant calls tools"),
        (call("{"), "the arguments of 'f' are not JSON"),
        (call("[1]"), "the arguments of 'f' are not an object"),
        (call(3), "the arguments of 'f' are not an object"),
        ({"role": "assistant", "tool_calls": [{}]}, "a tool call has no name"),
        ({"role": "assistant", "tool_calls": ["f"]}, "a tool call has no name"),
    ],
)
def test_a_message_that_no_template_could_use_is_refused(message, reason):
    with pytest.raises(RowError) as error:
        normal_messages([message])
    assert reason in str(error.value)


def test_a_bare_function_is_a_tool():
    assert normal_tools([{"name": "f"}]) == [{"type": "function", "function": {"name": "f"}}]
    assert normal_tools([{"type": "function", "function": {"name": "f"}}]) == normal_tools([{"name": "f"}])
    with pytest.raises(RowError, match="tool 1"):
        normal_tools([{"description": "?"}])


@pytest.mark.parametrize("weight", [-1, "1", float("inf"), float("nan")])
def test_a_weight_is_a_finite_number_of_at_least_zero(weight):
    assert message_weights([{"weight": None}, {}, {"weight": 0}, {"weight": 2}]) == [1, 1, 0, 2]
    with pytest.raises(RowError, match="turn 1: weight"):
        message_weights([{"weight": weight}])
