"""What the benchmarks share: counting, and other libraries behind one signature."""
