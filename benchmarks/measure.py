"""How time, matrix rate and memory are measured."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np


def in_turn(
    part: str,  # what is done, for example 'scoring, bi-encoder'
    ways: dict[str, Callable[..., object]],  # ways to do it; the first is what the others are compared with
    rounds: int = 5,  # how often each way is run
    warm_up: bool = True,  # run each once before, untimed
    prepare: Callable[[], object] | None = None,  # makes what a way is given each time, untimed
) -> list[dict]:  # a row a way: part, way, median, low and high in seconds, ratio of the first way's median to this one's
    "Run the ways in turn, A B C A B C …, so that a change of the machine's speed meets all of them."
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + warm_up):
        for name, way in ways.items():
            given = (prepare(),) if prepare else ()
            start = time.perf_counter()
            way(*given)
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    first = np.median(next(iter(seconds.values())))
    return [row(part, name, times, float(first / np.median(times))) for name, times in seconds.items()]


def row(
    part: str,  # what is done
    way: str,  # how
    values: list[float],  # what was measured
    ratio: float | None = None,  # times as fast, or as much, as what it is compared with
    unit: str = "s",  # unit of the values
) -> dict:  # a row of the table
    return {"part": part, "way": way, "median": float(np.median(values)), "low": float(min(values)), "high": float(max(values)), "unit": unit, "ratio": ratio, "runs": len(values)}


def matrix_rate(
    model: object,  # a bi-encoder or a cross-encoder
    dtype: object,  # torch.bfloat16 or torch.float32
    tokens: int = 512,  # rows of the left matrix: tokens a batch
    seconds: float = 2.0,  # how long to measure
) -> float:  # floating-point operations a second
    "How fast this machine multiplies matrices of the shapes of the model's layers, all of them in turn."
    import torch

    shapes = [layer.weight.shape for layer in _layers(model)]
    pairs = [(torch.randn(tokens, width, dtype=dtype), torch.randn(height, width, dtype=dtype)) for height, width in shapes]
    rates = []
    with torch.inference_mode():
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(rates) < 3:
            start = time.perf_counter()
            for left, right in pairs:
                torch.nn.functional.linear(left, right)
            rates.append(sum(2 * tokens * height * width for height, width in shapes) / (time.perf_counter() - start))
    return float(np.median(rates))


def _layers(
    model: object,  # a bi-encoder or a cross-encoder
) -> list[object]:  # the encoder's linear layers, which every token passes
    import torch

    named = model[0].auto_model.base_model.named_modules()
    return [layer for name, layer in named if isinstance(layer, torch.nn.Linear) and "pooler" not in name]


def operations(
    model: object,  # a bi-encoder or a cross-encoder
    lengths: np.ndarray,  # tokens of each text that has to be read
) -> float:  # floating-point operations that the model asks for: padding and repeated texts do not count
    "Operations of the linear layers and of attention on real tokens."
    config = model[0].auto_model.config
    attention = 4 * config.hidden_size * config.num_hidden_layers
    lengths = np.minimum(lengths, model.max_seq_length).astype(float)
    every = 2 * sum(layer.weight.numel() for layer in _layers(model))
    return every * lengths.sum() + attention * (lengths**2).sum()


def profile(
    run: Callable[[], object],  # what to look into
    most: int = 6,  # how many kinds of operation to name
) -> dict[str, float]:  # kind of operation: its share of the time that torch computes, the largest first
    "Where torch spends its time on the CPU."
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    with profiler(activities=[ProfilerActivity.CPU]) as found:
        run()
    seconds = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    return {name: seconds[name] / sum(seconds.values()) for name in sorted(seconds, key=seconds.get, reverse=True)[:most]}


@contextmanager
def seconds_of(
    frame: tuple[type, str],  # a class and the name of its method, inside which the others are timed
    methods: dict[str, tuple[type, str]],  # the others, by what to call them
    whole: tuple[str, ...] = (),  # those of them that are timed with all that they call
) -> Iterator[dict[str, float]]:  # seconds in each, without what it calls of the others; 'the rest' is the frame's own
    "Time methods of classes wherever they are called inside one of them."
    seconds, within = dict.fromkeys([*methods, "the rest"], 0.0), []

    def watched(name: str, method: Callable) -> Callable:
        def run(*given, **settings):
            if (not within and name != "the rest") or any(outer in whole for outer, _ in within):
                return method(*given, **settings)
            start = time.perf_counter()
            within.append([name, 0.0])
            try:
                return method(*given, **settings)
            finally:
                spent = time.perf_counter() - start
                seconds[name] += spent - within.pop()[1]
                if within:
                    within[-1][1] += spent
        return run

    with ExitStack() as stack:
        for name, (owner, method) in (methods | {"the rest": frame}).items():
            stack.enter_context(patch.object(owner, method, watched(name, getattr(owner, method))))
        yield seconds


def script(
    code: str,  # Python to run in a new process
    *arguments: str,  # its arguments
    **environment: str,  # more environment variables
) -> tuple[float, str]:  # seconds, and what it printed
    "Run code as a script, in a new process; `CalledProcessError` if it fails."
    path = os.pathsep.join(filter(None, sys.path))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "script").write_text(code, encoding="utf-8")
        start = time.perf_counter()
        run = subprocess.run([sys.executable, f"{folder}/script", *arguments], capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": path} | environment)
        return time.perf_counter() - start, run.stdout
