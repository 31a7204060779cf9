"""Names as people read them: see `xaibench.drawing.labels`."""

from xaibench.drawing.labels import edited, method_label, name_label, stage_label

__all__ = ["edited", "method_label", "name_label", "stage_label"]
