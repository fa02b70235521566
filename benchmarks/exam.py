"""Score the shipped exam with several models and keep their scores, for the item statistics and the figures by level."""

import json
import time
from pathlib import Path

import numpy as np
from fastcore.script import Param, call_parse

from sciexam.check import options_only
from sciexam.data import open_book, questions_sha256, sample_questions, write_text
from sciexam.eval import machine
from sciexam.metric import points_at_k
from sciexam.models import load_model, score_options


def _scorer(
    kind: str,  # 'rule', 'language model', or 'model'
    source: str,  # a rule's name, or a model's folder or name
) -> object:  # what `score_options` takes
    if kind == "rule":
        return options_only if source == "options only" else source
    if kind == "model":
        return load_model(source)
    from sciexam.language_models import load_language_model

    return load_language_model(source)


@call_parse
def main(
    models: Param("name=folder of a bi-encoder or cross-encoder; name=minilm for the embedded one", str, nargs="*") = (),
    language_models: Param("name=folder of a language model", str, nargs="*") = (),
    out: Param("file to keep the scores in; what is there already is not done again", str) = "nbs/results/exam.json",
):
    "Score the exam closed book and, by models, with each question's passage."
    exam, path = sample_questions(), Path(out)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if kept.get("questions_sha256") != questions_sha256(exam):
        kept = {"questions_sha256": questions_sha256(exam), "scores": {}}
    jobs = [(name, "rule", name, False) for name in ("longest option", "TF-IDF", "options only")]
    for kind, given in (("model", models), ("language model", language_models)):
        for name, source in (pair.split("=", 1) for pair in given):
            jobs += [(name, kind, source, False), (f"{name}, with passage", kind, source, True)]
    for name, kind, source, reads in jobs:
        if name not in kept["scores"]:
            start = time.perf_counter()
            questions = open_book(exam) if reads and kind == "model" else exam if reads or kind == "rule" else exam.drop(columns="context")
            scores = score_options(_scorer(kind, source), questions, **({"warn": False} if kind == "model" else {}))
            kept["scores"][name] = {"seconds": round(time.perf_counter() - start, 1), **machine(), "scores": np.round(scores, 4).tolist()}
            write_text(path, json.dumps(kept) + "\n")
        points = points_at_k(np.array(kept["scores"][name]["scores"]), exam["answer"])
        print(f"{name:45}", *(f"level {level}: {points[exam['level'] == level].mean():.3f}" for level in sorted(exam["level"].unique())), sep="  ")
