"""Classifiers of Hugging Face's transformers: sequences of tokens, images."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray

from mibench.adapters.base import ADAPTERS, Adapter, derives
from mibench.adapters.torch_module import Torch
from mibench.outputs import FloatArray


class _Classifier(torch.nn.Module):
    """A classifier as a module from tokens (n, L), whole numbers, or pixels (n, C, H, W)."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, inputs: torch.Tensor) -> Any:
        if inputs.is_floating_point():
            return self.model(pixel_values=inputs)
        padding = self.model.config.pad_token_id
        mask = torch.ones_like(inputs) if padding is None else (inputs != padding).long()
        return self.model(input_ids=inputs, attention_mask=mask)


class HuggingFace(Adapter):
    """A classifier whose output has ``logits``; inputs are as its tokeniser or processor makes."""

    name = "hugging-face"

    def takes(self, model: Any) -> bool:
        """Return whether it is a model of transformers."""
        return derives(model, "transformers", "PreTrainedModel")

    def answer(self, model: Any, inputs: NDArray[Any], classes: int | None) -> FloatArray:
        """Ask it as a module."""
        return Torch().answer(_Classifier(model), inputs, classes)


ADAPTERS.add(HuggingFace.name, HuggingFace())
