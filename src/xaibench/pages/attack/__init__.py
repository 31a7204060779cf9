"""Attack: what it takes to change a model's mind."""
