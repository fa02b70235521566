"""Fill the table of a machine with a GPU: scoring and one epoch of training, in under a minute.

python -m benchmarks.gpu --data official_200.csv --model FOLDER

It needs torch, sentence-transformers, datasets, pandas and filelock, and nothing else of what the project can use.
`minilm` wants its package; a folder with the same model, in whatever number format it was saved, is read in float32.
"""

import argparse
import importlib.util
import json
import os
import platform
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

from benchmarks.ways import KINDS, scoring, training_peers
from sciexam.data import read_questions, sample_questions
from sciexam.files import write_text
from sciexam.split import split_questions


def main() -> None:
    "Time each way in turn on this machine's GPU."
    import torch

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", default="sample", help="sample (the shipped exam's test part), or a CSV of questions with answers")
    parser.add_argument("--model", default="minilm", help="minilm, or a folder")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way of scoring is run; training is run once")
    parser.add_argument("--cpu", action="store_true", help="a trial without a GPU, on a few questions")
    parser.add_argument("--out", default="nbs/results/benchmarks_gpu.json", help="JSON to write")
    asked = parser.parse_args()
    if not (torch.cuda.is_available() or asked.cpu):
        sys.exit("no GPU: expected a machine with CUDA, or --cpu for a trial")
    start, device = time.time(), "cpu" if asked.cpu else "cuda"
    train, dev, test = split_questions(sample_questions())
    questions = test if asked.data == "sample" else read_questions(asked.data)
    if asked.cpu:
        train, dev, questions = train[:32], dev[:8], questions[:8].reset_index(drop=True)
    run = {"date": str(date.today()), "quick": asked.cpu, "data": Path(asked.data).name, "questions": len(questions), "train": len(train), "model": Path(asked.model).name,
           "versions": {"python": platform.python_version()} | {name: version(name) for name in ("torch", "sentence-transformers", "transformers", "numpy")},
           "machine": {"platform": platform.system(), "processor": platform.machine(), "cpu_cores": os.cpu_count(), "threads": torch.get_num_threads(),
                       "gpu": torch.cuda.get_device_name() if device == "cuda" else None}}
    rows = []
    work = [lambda kind=kind: scoring(kind, questions, asked.model, asked.rounds) for kind in KINDS]
    if importlib.util.find_spec("datasets"):  # the libraries' trainers want it
        work.append(lambda: training_peers(train, dev, questions, asked.model, 1, 1, device))
    for measure in work:
        rows += measure()
        write_text(asked.out, json.dumps(run | {"seconds": round(time.time() - start), "rows": rows}, indent=1) + "\n")
        for row in rows[-12:]:
            print(f"{row['part']:24} {row['way']:38} {row['median']:9.3f} s  {row['ratio']:6.2f} x  same {row.get('same_top3')}  MAP@3 {row.get('map3')}", flush=True)
        print(f"{time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
