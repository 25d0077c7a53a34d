"""One controller under load and under attack: `python -m benchmarks._load`, which `make load` runs."""
