"""The post's own way and ours, timed in turn: `python -m benchmarks`."""
