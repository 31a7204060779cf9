"""What the pages share: the address, the choice of a model and a sample, widgets, pictures, caches."""
