"""Which one is chosen; what it gives is for the tests of the loop."""

import pytest
import torch

from onelook.training import Settings
from onelook.training.precision import fastest


@pytest.mark.parametrize(("supported", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_a_processor_without_instructions_for_bfloat16_takes_float32(
    supported: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    assert fastest(torch.device("cpu")) == chosen
    assert fastest(torch.device("mps")) == "float32"
    assert Settings().precision is None
