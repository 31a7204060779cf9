"""Compare: models or reports side by side."""
