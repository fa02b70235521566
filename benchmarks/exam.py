"""Score the shipped exam with several models and keep their scores, for the item statistics and the figures by level.

python -m benchmarks.exam minilm=minilm --language_models "language model=FOLDER"
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from fastcore.script import Param, call_parse
from tqdm.auto import tqdm

from sciexam.baselines import BASELINES
from sciexam.check import options_only, question_keys
from sciexam.data import open_book, sample_questions
from sciexam.files import write_text
from sciexam.metric import points_at_k
from sciexam.models import load_model, score_options
from sciexam.pipeline import machine

PART = 20  # questions scored between two saves
PASSAGE = 2_000  # characters of a passage that a language model reads: all of each


def _scorers(
    models: list[str],  # 'name=folder' of bi-encoders and cross-encoders
    language_models: list[str],  # 'name=folder' of language models
) -> Iterator[tuple[str, Callable]]:  # names, and what loads a function from questions to scores
    for name in ("longest option", "TF-IDF"):
        yield name, lambda name=name: BASELINES[name]
    yield "options only", lambda: options_only
    for name, source in (pair.split("=", 1) for pair in models):
        scoring = lambda source=source: (lambda model: lambda part: score_options(model, part, warn=False))(load_model(source))
        yield name, lambda scoring=scoring: (lambda score: lambda part: score(part.drop(columns="context")))(scoring())
        yield f"{name}, with passage", lambda scoring=scoring: (lambda score: lambda part: score(open_book(part)))(scoring())
    for name, source in (pair.split("=", 1) for pair in language_models):
        from sciexam.language_models import load_language_model

        yield name, lambda source=source: load_language_model(source)
        yield f"{name}, with passage", lambda source=source: replace(load_language_model(source), passage=PASSAGE)


def _score_missing(
    load: Callable,  # loads what scores questions
    exam: pd.DataFrame,  # the whole exam
    run: dict,  # what is kept of this taker: scores by the questions' keys
    save: Callable[[], None],  # called after each part
    whole: bool,  # does it learn from the other questions, so that all must be scored together?
) -> None:
    keys = question_keys(exam)
    missing = [at for at, key in enumerate(keys) if key not in run["scores"]]
    if not missing:
        return
    if whole:
        run["scores"], missing = {}, list(range(len(exam)))
    score, start, size = load(), time.perf_counter(), len(missing) if whole else PART
    for at in tqdm(range(0, len(missing), size), leave=False):
        part = missing[at : at + size]
        found = np.round(score(exam.iloc[part].reset_index(drop=True)), 4).tolist()
        run["scores"] |= {keys[row]: scores for row, scores in zip(part, found)}
        run |= {"seconds_a_question": round((time.perf_counter() - start) / (at + len(part)), 3), **machine()}
        save()
    run["scores"] = {key: run["scores"][key] for key in keys if key in run["scores"]}  # what was changed is forgotten
    save()


@call_parse
def main(
    models: Param("name=folder of a bi-encoder or cross-encoder; name=minilm for the embedded one", str, nargs="*") = (),
    language_models: Param("name=folder of a language model", str, nargs="*") = (),
    levels: Param("levels to score, such as '1 2'", str) = "1 2 3",
    out: Param("file to keep the scores in; what is there already is not done again", str) = "nbs/results/exam.json",
):
    "Score the exam closed book and, by models, with each question's passage."
    exam, path = sample_questions(), Path(out)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kept = kept if "takers" in kept else {"takers": {}}
    wanted = exam[exam["level"].isin([int(level) for level in levels.split()])].reset_index(drop=True)
    for name, load in _scorers(models, language_models):
        run = kept["takers"].setdefault(name, {"scores": {}})
        learns = name in ("TF-IDF", "options only")
        asked = exam if learns else wanted
        _score_missing(load, asked, run, lambda: write_text(path, json.dumps(kept) + "\n"), learns)
        there = asked[[key in run["scores"] for key in question_keys(asked)]]
        points = points_at_k(np.array([run["scores"][key] for key in question_keys(there)]), there["answer"])
        print(f"{name:45}", *(f"level {level}: {points[there['level'] == level].mean():.3f}" for level in sorted(there["level"].unique())), sep="  ")
