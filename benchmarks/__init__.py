"""What is measured, each with the limit or a peer from the same run beside it: `python -m benchmarks`."""
