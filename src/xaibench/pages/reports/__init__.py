"""Reports: what has been measured, to open and hand on."""
