"""Feed the readers of questions and predictions what coverage-guided fuzzing comes up with: python tools/fuzz.py [--seconds 600] [--out FILE]

Needs atheris (pip install atheris). Any error but `ValueError` ends it with a traceback and leaves the input in the current folder.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

HEAD = "id,prompt,A,B,answer\n"
SEEDS = {
    "questions": [HEAD + "1,Which?,x,y,A\n2,What?,u,v,B\n", "\ufeff" + HEAD + '"1","a ""b"",\nc",x,y,B\r\n', "id;prompt;A;B\n1;Which?;x;y\n",
                  HEAD + "1,Which?,x,x,a\n1,,x\n", "prompt,C,B,A,id\nWhich?,x,y,z,7\n", (HEAD + "1,Which?,x,y,A\n").encode("utf-16"), (HEAD + "1,café,x,y,A\n").encode("latin-1")],
    "predictions": ["id,prediction\n1,A B\n2,B\n", "id,prediction\n1,A B C D\n1,\n", "prediction,id,note\nB A,2,x\nA,1,\n", '\ufeffid,prediction\r\n"1","A\nB"\r\n2,B\r\n'],
}
WORDS = [",", '"', '""', "\n", "\r\n", "\r", ";", "\t", "id", "prompt", "answer", "prediction", "A", "B", "J", "context", "\x00", "\xef\xbb\xbf", "=cmd()"]


def fuzz(target: str, seconds: int, corpus: str) -> None:
    "Fuzz one reader for a time; libFuzzer ends the process."
    import atheris

    with atheris.instrument_imports(include=["sciexam.data", "sciexam.eval", "csv"]):
        from sciexam.data import read_questions
        from sciexam.predictions import read_predictions
    import pandas as pd

    questions = pd.DataFrame({"id": ["1", "2"], "prompt": ["Which?", "What?"], "A": ["x", "u"], "B": ["y", "v"], "answer": ["A", "B"]})
    path = Path(corpus) / "input.csv"
    warnings.simplefilter("ignore")

    def once(data: bytes) -> None:
        path.write_bytes(data)
        for read in [lambda: read_questions(path), lambda: read_questions(path, strict=False)] if target == "questions" else [lambda: read_predictions(path, questions)]:
            try:
                read()
            except ValueError:
                pass

    options = [f"-max_total_time={seconds}", "-max_len=2000", f"-dict={corpus}/words.dict", "-print_final_stats=1", "-timeout=20", "-rss_limit_mb=2048", f"{corpus}/seeds"]
    atheris.Setup([sys.argv[0], *options], once)
    atheris.Fuzz()


def run(target: str, seconds: int) -> dict:
    "Fuzz one reader in a process of its own with a small corpus; its counts."
    with tempfile.TemporaryDirectory() as corpus:
        seeds = Path(corpus) / "seeds"
        seeds.mkdir()
        for number, seed in enumerate(SEEDS[target]):
            (seeds / str(number)).write_bytes(seed if isinstance(seed, bytes) else seed.encode())
        quoted = ("".join(f"\\x{byte:02x}" for byte in word.encode("latin-1")) for word in WORDS)
        (Path(corpus) / "words.dict").write_text("".join(f'"{word}"\n' for word in quoted))
        begin = time.monotonic()
        done = subprocess.run([sys.executable, __file__, "--target", target, "--seconds", str(seconds), "--corpus", corpus], stderr=subprocess.PIPE, text=True)  # nosec B603: this very script
        took, size = round(time.monotonic() - begin), len(list(seeds.iterdir()))
    if done.returncode:
        sys.exit(f"{target}: found an input that ends the reader with status {done.returncode}\n{done.stderr[-5000:]}")
    stats = dict(line.removeprefix("stat::").split(":") for line in done.stderr.splitlines() if line.startswith("stat::"))
    return {"reader": f"read_{target}", "executions": int(stats["number_of_executed_units"]), "seconds": took, "inputs_kept": size, "crashes": 0}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="time for both readers together")
    parser.add_argument("--out", type=Path, help="file for the counts, as JSON")
    parser.add_argument("--target", choices=SEEDS, help=argparse.SUPPRESS)
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if given.target:
        fuzz(given.target, given.seconds, given.corpus)
    else:
        counts = [run(target, given.seconds // 2) for target in SEEDS]
        text = json.dumps(counts, indent=1) + "\n"
        if given.out:
            given.out.write_text(text, encoding="utf-8")
        print(text, end="")
