"""Fine-tune the small model on other people's training splits, and see what it then knows of the shipped exam.

python -m benchmarks.fine_tune sciq arc openbookqa qasc scienceqa_natural --data FOLDER --recipe softmax --out models/exam
"""

import json
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
from fastcore.script import Param, call_parse, store_true

from sciexam.augment import decontaminate, shuffle_options, tidy
from sciexam.data import option_letters, read_questions, sample_questions
from sciexam.files import write_text
from sciexam.losses import LOSSES
from sciexam.metric import points_at_k
from sciexam.models import score_options
from sciexam.pipeline import machine
from sciexam.train import RECIPES, train_bi_encoder, train_cross_encoder

N_DEV = 600  # questions to choose the best epoch, and the best recipe, by


def _training_split(
    path: Path,  # a set of questions
) -> pd.DataFrame:  # its questions, without those that its makers judge by: id, prompt, A, B, …, answer
    questions = read_questions(path, strict=False, ragged=True)
    if "source" in questions.columns and questions["source"].str.contains("/train|/test|/dev|/valid").any():
        questions = questions[questions["source"].str.contains("/train")]
    name = path.name.partition(".")[0]
    return questions.assign(id=f"{name}-" + questions["id"])[["id", "prompt", *option_letters(questions), "answer"]]


def prepared(
    paths: list[Path],  # sets of questions
    cache: Path,  # where to keep what comes out
) -> pd.DataFrame:  # questions to learn from, none of them like one of the exam
    "Training splits as one set, without broken and repeated questions and those that are like one of the exam."
    if not cache.is_file():
        kept, untidy = tidy(pd.concat([_training_split(path) for path in paths], ignore_index=True))
        kept, alike = decontaminate(kept, sample_questions())
        print(f"{len(kept):,} questions stay; broken or repeated {len(untidy):,}, like the exam's {len(alike):,}", flush=True)
        shuffle_options(kept).to_parquet(cache)
    questions = pd.read_parquet(cache).astype(object)
    return questions.where(questions.notna(), None)


@call_parse
def main(
    sets: Param("names of files in DATA or DATA/sets, without their endings", str, nargs="*"),
    data: Param("folder with the sets", str) = "data",
    base: Param("model to begin with", str) = "minilm",
    recipe: Param("a recipe of sciexam.train", str) = "softmax",
    epochs: Param("passes over the questions", int) = 3,
    rate: Param("highest learning rate", float) = 1e-4,
    batch: Param("questions a step", int) = 32,
    out: Param("folder for the model; OUT.json gets the figures", str) = "models/exam",
    cache: Param("parquet to keep the prepared questions in", str) = "exam_training.parquet",
    only_prepare: Param("stop when the questions are there", store_true) = False,
):
    "Train on all that SETS have to learn from; the shipped exam is judged once, at the end."
    found = [next(path for path in (Path(data) / f"{name}{end}" for name in (f"sets/{name}", name) for end in (".csv.gz", ".csv")) if path.is_file()) for name in sets]
    questions = prepared(found, Path(cache))
    if only_prepare:
        return
    dev = questions.sample(N_DEV, random_state=1)
    train, dev = questions.drop(dev.index).reset_index(drop=True), dev.reset_index(drop=True)
    settings = replace(RECIPES[recipe], epochs=epochs, learning_rate=rate, batch_size=batch)
    fit = train_bi_encoder if LOSSES[settings.loss].kind == "bi-encoder" else train_cross_encoder
    start = time.perf_counter()
    model = fit(base, train, dev, settings, out, resume=True)
    minutes, exam = (time.perf_counter() - start) / 60, sample_questions()
    closed = exam.drop(columns="context")
    points = points_at_k(score_options(model, closed, warn=False), exam["answer"])
    levels = {str(level): round(float(own.mean()), 4) for level, own in pd.Series(points).groupby(exam["level"].to_numpy())}
    dev_figure = float(points_at_k(score_options(model, dev, warn=False), dev["answer"]).mean())
    figures = {"sets": list(sets), "questions": len(train), "recipe": recipe, "epochs": epochs, "rate": rate, "batch": batch,
        "dev": round(dev_figure, 4), "levels": levels, "minutes": round(minutes, 1), **machine()}
    write_text(f"{out}.json", json.dumps(figures, indent=1) + "\n")
    print(Path(out).name, "dev", figures["dev"], "levels", levels, f"{minutes:.1f} min", flush=True)
