"""How good a model is."""

from onelook.metrics.top_k import top_k

__all__ = ["top_k"]
