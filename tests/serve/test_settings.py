"""What a server cannot be told."""

from typing import Any

import pytest

from onelook.errors import Error
from onelook.serve.settings import Settings


@pytest.mark.parametrize(
    ("setting", "value", "word"),
    [
        ("models", {"my model": "x.onnx"}, "cannot be called 'my model'"),
        ("models", {"": "x.onnx"}, "cannot be called ''"),
        ("models", {"größe": "x.onnx"}, "cannot be called 'größe'"),
        ("models", {"-x": "x.onnx"}, "cannot be called '-x'"),
        ("models", {"x\n": "x.onnx"}, "cannot be called 'x"),
        ("models", {"x" * 101: "x.onnx"}, "cannot be called 'xxx"),
        ("queue", 0, "queue must be 1 or more"),
        ("max_requests", 0, "max_requests must be 1 or more"),
        ("max_memory", 1000, "max_bytes, 33554432, must not be above max_memory, 1000"),
        ("deadline", 0.0, "deadline must be above 0"),
        ("deadline", float("inf"), "deadline must be above 0"),
        ("deadline", float("nan"), "deadline must be above 0"),
        ("wait", -1.0, "wait must be from 0"),
        ("wait", 31.0, "wait must be from 0"),
        ("wait", float("nan"), "wait must be from 0"),
        ("keys", ("",), "a key must be"),
        ("keys", ("schlüssel",), "a key must be"),
        ("keys", ("one", "\ufeffother"), "a key must be"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(setting: str, value: Any, word: str) -> None:
    with pytest.raises(Error) as caught:
        Settings(**{setting: value})
    assert word in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["x", "_x", "helmets", "mobilenet_v2_1.0_224", "1-2.3", "x" * 100])
def test_what_a_model_may_be_called(name: str) -> None:
    Settings(models={name: "x.onnx"})
