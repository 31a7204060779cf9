"""A picture whose regions can be clicked."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["region_chart", "region_of"]

_SIDE = 340
"""Pixels of the picture's longer side."""
_TARGETS = 32
"""Places to click along a side."""
_EDGE, _GONE, _FRAME = (255, 255, 255), (213, 94, 0), (128, 128, 128)


def region_chart(x: Tensor, index: Tensor, removed: Collection[int], bounds: tuple[float, float]) -> Any:
    """An image (channels, height, width) as a Plotly figure of ``index`` (height, width), regions from 0.

    Regions are outlined, the removed ones hatched.
    """
    import numpy as np
    import plotly.graph_objects as go
    from PIL import Image

    height, width = index.shape
    factor = _SIDE / max(height, width)
    size = (round(height * factor), round(width * factor))
    rows, columns = (np.unique(np.linspace(0, side - 1, min(side, _TARGETS)).astype(int)) for side in index.shape)
    regions = index.numpy()[np.ix_(rows, columns)].ravel()
    deeds = ["put back" if region in removed else "take away" for region in regions]
    figure = go.Figure(
        go.Scatter(
            x=np.tile(columns + 0.5, len(rows)),
            y=np.repeat(rows + 0.5, len(columns)),
            mode="markers",
            marker={"symbol": "square", "size": _SIDE / max(len(rows), len(columns)), "opacity": 0},
            hovertext=[f"{deed} region {region + 1}" for deed, region in zip(deeds, regions, strict=True)],
            hoverinfo="text",
        )
    )
    figure.add_layout_image(
        source=Image.fromarray(_drawn(x, index, removed, bounds, size)),
        xref="x",
        yref="y",
        x=0,
        y=0,
        sizex=width,
        sizey=height,
        sizing="stretch",
        layer="below",
    )
    figure.update_layout(
        height=size[0], width=size[1], margin={"l": 0, "r": 0, "t": 0, "b": 0}, dragmode=False, hovermode="closest"
    )
    figure.update_xaxes(visible=False, range=[0, width], fixedrange=True)
    figure.update_yaxes(visible=False, range=[height, 0], fixedrange=True)
    return figure


def region_of(event: Any, index: Tensor) -> int | None:
    """The region that was clicked, by the selection that Streamlit reports; None where nothing was."""
    points = event["selection"]["points"] if event else []
    if not points:
        return None
    return int(index[int(points[0]["y"]), int(points[0]["x"])])


def _drawn(
    x: Tensor, index: Tensor, removed: Collection[int], bounds: tuple[float, float], size: tuple[int, int]
) -> Any:
    """Bytes (height, width, 3) of the image, enlarged to ``size``, with its regions."""
    import numpy as np

    from xaibench.drawing.pictures import photo_pixels

    rows, columns = (np.arange(new) * old // new for new, old in zip(size, index.shape, strict=True))
    pixels = photo_pixels(x, bounds)[..., :3][np.ix_(rows, columns)].astype(float)
    pixels = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
    cells = index.numpy()[np.ix_(rows, columns)]
    edge = np.zeros(cells.shape, dtype=bool)
    edge[1:] |= cells[1:] != cells[:-1]
    edge[:, 1:] |= cells[:, 1:] != cells[:, :-1]
    frame = np.ones(cells.shape, dtype=bool)
    frame[1:-1, 1:-1] = False
    stripes = (np.add.outer(np.arange(size[0]), np.arange(size[1])) // 5) % 2 == 0
    hatched = np.isin(cells, list(removed)) & stripes
    for where, colour, share in ((hatched, _GONE, 0.75), (edge, _EDGE, 0.5), (frame, _FRAME, 0.35)):
        pixels[where] += share * (np.array(colour) - pixels[where])
    return np.rint(pixels).astype(np.uint8)
