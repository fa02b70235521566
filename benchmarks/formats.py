"""Processor time and memory to read 100,000 questions in each form, beside pandas' own reader: python -m benchmarks.formats"""

import argparse
import json
import os
import subprocess  # nosec B404
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from sciexam.data import sample_questions
from sciexam.files import write_text
from sciexam.formats import convert

PANDAS = {"csv": "pd.read_csv({!r})", "tsv": "pd.read_csv({!r}, sep='\\t')", "csv.gz": "pd.read_csv({!r})", "json": "pd.read_json({!r})", "jsonl": "pd.read_json({!r}, lines=True)", "parquet": "pd.read_parquet({!r})",
          "xlsx": "pd.read_excel({!r})"}
RUN = """
import contextlib, io, json, sys, time
import pandas as pd
{load}
def peak(): return int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]) / 1024
before, start = peak(), time.process_time()  # which other work on the machine hardly changes
with contextlib.redirect_stdout(io.StringIO()): n = len({read})
print(json.dumps([n, time.process_time() - start, peak() - before]))
"""


def many(
    n: int,  # how many questions
) -> pd.DataFrame:  # questions of the shipped exam again and again, each with a name of its own
    exam = sample_questions()
    rows = exam.iloc[np.arange(n) % len(exam)].reset_index(drop=True)
    return rows.assign(id=[f"q{i}" for i in range(n)])


def files(
    questions: pd.DataFrame,  # questions
    folder: Path,  # where to write them
) -> dict[str, tuple[Path, str]]:  # by form: the file, and how pandas reads it
    "The questions in every form."
    letters, wide = list("ABCDE"), questions.rename(columns={"prompt": "question", **{letter: f"option_{letter.lower()}" for letter in "ABCDE"}})
    lists = questions[["id", "prompt", "context"]].rename(columns={"prompt": "question"}).assign(choices=questions[letters].to_numpy(object).tolist(), answer=["ABCDE".index(answer) for answer in questions["answer"]])
    made: dict[str, str] = {}
    for name, ending, to in (("our CSV", "csv", "csv"), ("our JSON lines", "jsonl", "jsonl"), ("ARC", "arc.jsonl", "arc"), ("MMLU without a header", "mmlu.csv", "mmlu")):
        convert(questions, folder / f"questions.{ending}", to)
        made[name] = f"questions.{ending}"
    wide.to_csv(folder / "wide.tsv", sep="\t", index=False)
    wide.to_csv(folder / "wide.csv.gz", index=False)
    lists.to_json(folder / "lists.json", orient="records")
    lists.to_parquet(folder / "lists.parquet")
    right = [row[row["answer"]] for row in questions.to_dict("records")]
    wrong = [[row[letter] for letter in letters if letter != row["answer"]] for row in questions.to_dict("records")]
    sciq = pd.DataFrame({"question": questions["prompt"], "correct_answer": right, **{f"distractor{i + 1}": [texts[i] for texts in wrong] for i in range(4)}, "support": questions["context"]})
    sciq.to_json(folder / "sciq.json", orient="records")
    made |= {"option_a …, TSV": "wide.tsv", "option_a …, CSV packed by gzip": "wide.csv.gz", "lists and numbers, JSON": "lists.json", "lists and numbers, parquet": "lists.parquet", "SciQ, JSON": "sciq.json"}
    if __import__("importlib.util").util.find_spec("openpyxl"):
        wide.drop(columns="context").to_excel(folder / "wide.xlsx", index=False)
        made["option_a …, spreadsheet"] = "wide.xlsx"
    return {name: (folder / file, PANDAS[next(ending for ending in sorted(PANDAS, key=len, reverse=True) if file.endswith(ending))]) for name, file in made.items()}


def measured(
    load: str,  # imports of the reading program
    read: str,  # what reads
) -> tuple[int, float, float]:  # questions read, seconds of processor time, megabytes more than before
    "Read a file in a process of its own."
    run = subprocess.run([sys.executable, "-c", RUN.format(load=load, read=read)], capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})  # nosec B603
    return tuple(json.loads(run.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=100_000, help="how many questions")
    parser.add_argument("--out", default="nbs/results/formats.json", help="the file to write")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for form, (path, by_pandas) in files(many(arguments.questions), Path(folder)).items():
            n, seconds, memory = measured("from sciexam.data import read_questions; import sciexam.formats, pyarrow.parquet", f"read_questions({str(path)!r}, answer_base={0 if 'numbers' in form else None})")
            _, pandas_seconds, pandas_memory = measured("import pyarrow.parquet", by_pandas.format(str(path)))
            rows.append({"form": form, "questions": n, "MB on disk": round(path.stat().st_size / 2**20), "seconds": round(seconds, 2), "MB": round(memory), "pandas_seconds": round(pandas_seconds, 2), "pandas_MB": round(pandas_memory)})
            print(rows[-1], flush=True)
    write_text(arguments.out, json.dumps({"cpu": os.cpu_count(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
