"""Models: the gallery, and one's own."""
