"""Tensors as pictures: see `xaibench.drawing.pictures`."""

from xaibench.drawing.pictures import (
    collapse,
    map_picture,
    map_pixels,
    perturbation_picture,
    photo,
    photo_pixels,
    triptych,
)

__all__ = ["collapse", "map_picture", "map_pixels", "perturbation_picture", "photo", "photo_pixels", "triptych"]
