"""Models side by side, how accurate, fast and large: what `onelook benchmark` does."""

from onelook.benchmarking.machine import Machine
from onelook.benchmarking.result import Benchmark, Failure, Latency, Measurement
from onelook.benchmarking.run import benchmark

__all__ = ["Benchmark", "Failure", "Latency", "Machine", "Measurement", "benchmark"]
