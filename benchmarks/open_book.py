"""What the open book finds, and what it costs: python -m benchmarks.open_book shipped --folder libraries"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from sciexam.data import LEVELS, read_questions, sample_questions
from sciexam.files import write_text
from sciexam.library import Library, build_library, open_library
from sciexam.metric import paired_test, points_at_k
from sciexam.retrieve import recall, retrieve

KS = (1, 3, 5, 10)
WAYS = {  # what to search by, and what to ask for
    "prompt, BM25": ("bm25", "prompt"), "prompt, vectors": ("vectors", "prompt"),
    "prompt and options, BM25": ("bm25", "all"), "prompt and options, vectors": ("vectors", "all"),
    "option by option, BM25": ("bm25", "each"), "option by option, vectors": ("vectors", "each"),
    "prompt and options, both": ("hybrid", "all"),
}
BY_WORDS = {**{name: way for name, way in WAYS.items() if way[0] == "bm25"}, "prompt and prompt with options, BM25": ("bm25", ("prompt", "all")), "all three, BM25": ("bm25", ("prompt", "all", "each"))}


def _recalls(
    questions: pd.DataFrame,  # questions
    library: Library,  # a library
    right: dict[str, set[str]],  # for each question's id the ids of its passages
    ways: dict[str, tuple],  # ways to search
    groups: dict[str, pd.Series],  # for each name of an exam: which questions are in it
) -> list[dict]:  # a row an exam, way and k: recall
    rows = []
    for way, (how, ask) in ways.items():
        found = retrieve(questions, library, max(KS), how, ask=ask)[1]
        for exam, own in groups.items():
            names = set(questions.loc[own, "id"])
            figures = recall(found[found["question"].isin(names)], {name: right[name] for name in names}, KS)
            rows += [{"exam": exam, "way": way, "k": k, "recall": round(float(value), 4)} for k, value in figures.items()]
        print(way, *[f"{row['recall']:.3f}" for row in rows if row["way"] == way], flush=True)
    return rows


def shipped(
    folder: Path,  # where libraries are kept
    data: Path | None,  # a folder with the competition's questions, not needed here
) -> dict:  # figures
    "Recall on the exam that comes with the package, in all its passages."
    library, questions = build_library("sample", folder / "shipped"), sample_questions()
    groups = {"shipped, all levels": questions["level"] > 0, **{f"shipped, level {level}": questions["level"] == level for level in LEVELS}}
    right = {name: {f"question {name}"} for name in questions["id"]}
    return {"recall": _recalls(questions, library, right, WAYS, groups), "passages": len(library)}


def _official_library(
    folder: Path,  # where libraries are kept
    data: Path,  # a folder with the competition's questions and passages
) -> Library:  # contexts of the 200 questions among 52,000 other passages, words only
    contexts = pd.read_csv(data / "official_200_contexts.csv", dtype=str, keep_default_na=False)
    own = [{"id": f"official {row.id}/{number}", "text": text} for row in contexts.itertuples() for number, text in enumerate((row.context_1, row.context_2), 1)]
    others = pd.read_csv(data / "extra_1k_with_context.csv", dtype=str, keep_default_na=False)
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(own + [{"id": f"extra {row.id}", "text": row.context} for row in others.itertuples()]).to_csv(folder / "contexts.csv", index=False)
    sources = [folder / "contexts.csv", data / "corpora" / "wikipedia_vital_leads.csv.gz", data / "corpora" / "openstax.csv.gz"]
    for source in sources:
        library = build_library(source, folder / "official", None, add=True)
        print(library, flush=True)
    return library


def official(
    folder: Path,  # where libraries are kept
    data: Path | None,  # a folder with the competition's questions and passages
) -> dict:  # figures
    "Recall on the competition's 200 questions: any of the two contexts of each."
    library, questions = _official_library(folder, data), read_questions(data / "official_200.csv")
    right = {name: {f"official {name}/1", f"official {name}/2"} for name in questions["id"]}
    return {"recall": _recalls(questions, library, right, BY_WORDS, {"official 200": questions["id"] != ""}), "passages": len(library)}


PARTS = {"shipped": shipped, "official": official}


def main() -> None:
    "Run parts and keep their figures."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"what to measure: {', '.join(PARTS)}; all of it if none is named")
    parser.add_argument("--folder", type=Path, help="where libraries are kept, to go on from; a temporary folder if none is named")
    parser.add_argument("--data", type=Path, default=os.environ.get("SCIEXAM_DATA"), help="folder with the competition's questions and the passages")
    parser.add_argument("--out", type=Path, default=Path("nbs/results/open_book.json"), help="the JSON file to write figures to")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for part in given.parts or PARTS:
            figures = PARTS[part](given.folder or Path(temporary), given.data and Path(given.data))
            kept = json.loads(given.out.read_text()) if given.out.is_file() else {}
            write_text(given.out, json.dumps({**kept, part: figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
