"""Small models and rules of thumb on the exams that others measure on: python -m benchmarks.other_exams --folder sets --model a_trained_cross_encoder

Rows that the file to write holds already, of the same questions and model, are kept, so a run that was cut off goes on where it was, and a model of one's own is
added without the others being loaded.
"""

import argparse
import contextlib
import hashlib
import io
import json
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from sciexam.augment import decontaminate, gather
from sciexam.check import check_exam, options_only
from sciexam.data import load_questions, option_letters, questions_sha256, read_questions
from sciexam.files import write_text
from sciexam.metric import bootstrap_interval, chance_map_at_k, points_at_k
from sciexam.models import load_bi_encoder, load_cross_encoder, score_options

# by name: the file, how the column 'source' of its rows begins in the split that the makers judge by, and our name of the set if it has one
EXAMS = {
    "ARC-Challenge": ("arc", "arc-challenge/test", "arc-challenge"), "ARC-Easy": ("arc", "arc-easy/test", "arc-easy"), "OpenBookQA": ("openbookqa", "openbookqa/test", "openbookqa"),
    "SciQ": ("sciq", "sciq/test", "sciq"), "QASC (dev)": ("qasc", "qasc/dev", "qasc"), "ScienceQA": ("scienceqa_natural", "scienceqa/natural science/test", "scienceqa"),
    "OpenStax": ("openstax_mc", "", None), "MMLU": ("mmlu", "mmlu/test", "mmlu"), "MMLU-Pro": ("mmlu_pro", "", "mmlu-pro"), "HEAD-QA": ("headqa", "headqa/test", None), "RACE (dev)": ("race_part", "race/dev", None),
}
TRAINED = "cross-encoder, fine-tuned"
TELLS = {"share of the commonest right letter": "letters", "MAP@3 of 'longest'": "longest", "MAP@3 of 'shortest'": "shortest", "MAP@3 of options only, five folds": "options only"}


def exam(
    name: str,  # one of `EXAMS`
    folder: Path | None,  # folder with the files; None to load the sets by their names
) -> pd.DataFrame | None:  # the questions of its split; None if it can't be had
    "The questions that the makers of an exam judge by."
    file, begin, known = EXAMS[name]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of rows that can't be used, such as those with the right option twice
        if folder is None:
            return load_questions(known, strict=False) if known else None
        path = next((path for path in (folder / f"{file}.csv.gz", folder / f"{file}.csv") if path.is_file()), None)
        if path is None:
            return None
        questions = read_questions(path, strict=False, ragged=True)
    return questions[questions["source"].str.startswith(begin)].reset_index(drop=True)


def figures(
    scores: np.ndarray,  # (n, k) scores
    answers: pd.Series,  # n right letters
) -> dict[str, float]:  # MAP@3 and accuracy with the ends of their intervals
    "What a model gets."
    points = {"map3": points_at_k(scores, answers), "accuracy": points_at_k(scores, answers, 1)}
    return {f"{name}{end}": round(float(value), 4) for name, values in points.items() for end, value in zip(("", "_low", "_high"), (values.mean(), *bootstrap_interval(values)))}


def letters_p(
    questions: pd.DataFrame,  # questions of an exam
) -> float:  # how likely such counts of right letters are if each option of a question is right equally often
    "Chi-square test of the letters, where questions may differ in how many options they have."
    from scipy.stats import chisquare

    letters = option_letters(questions)
    there = questions[letters].notna()
    expected = there.div(there.sum(axis=1), axis=0).sum()
    counts = questions["answer"].value_counts().reindex(letters, fill_value=0)
    usual = expected >= 5  # the test does not hold for rare letters
    return float(chisquare(counts[usual], expected[usual] * counts[usual].sum() / expected[usual].sum()).pvalue)


def checked_exam(
    questions: pd.DataFrame,  # questions of an exam
) -> dict:  # what there is to say of the exam before anybody takes it
    "What an exam is made of, and what its checks say."
    counts = questions[option_letters(questions)].notna().sum(axis=1)
    check = check_exam(questions).set_index("property")
    tells = {TELLS[name]: {"figure": round(float(row["figure"]), 4), "holds": bool(row["holds"])} for name, row in check.iterrows() if name in TELLS}
    return {"questions_sha256": questions_sha256(questions), "n": len(questions), "options": [int(counts.min()), int(counts.max())],
            "guessing": {"map3": round(chance_map_at_k(counts), 4), "accuracy": round(float((1 / counts).mean()), 4)}, "tells": tells, "letters_p": letters_p(questions), "rows": []}


def judged(
    questions: pd.DataFrame,  # questions of an exam
    models: dict[str, Callable],  # by name: what gives a model or a rule, as `score_options` takes it
    known: dict,  # what an earlier run wrote of the exam
) -> dict:  # the same with the rows of all models
    "All models on one exam; rows that are known are kept."
    if known.get("questions_sha256") != questions_sha256(questions):
        known = checked_exam(questions)
    rows = {row["model"]: row for row in known["rows"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of text beyond a model's limit
        for name, load in models.items():
            if name not in rows:
                rows[name] = {"model": name, **figures(score_options(load(), questions), questions["answer"])}
    return known | {"rows": [rows[name] for name in (*models, *(rows.keys() - models))]}


def weights_sha256(
    model: str | None,  # a model's folder or hub name
) -> str | None:  # what its weights are known by, None if they are in no folder here
    files = sorted(Path(model).rglob("*.safetensors")) if model else []
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest() if files else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="folder with the sets as CSVs in our form; without it they are loaded by their names")
    parser.add_argument("--model", help="a trained cross-encoder's folder or name, for a row of its own")
    parser.add_argument("--learnt", nargs="*", type=Path, default=[], help="files of questions that the model learnt from: how many of an exam's are like one of them is written beside its rows")
    parser.add_argument("--questions", type=int, default=400, help="most questions of an exam, drawn by seed 0")
    parser.add_argument("--exams", nargs="*", choices=list(EXAMS), default=list(EXAMS), help="which exams")
    parser.add_argument("--out", type=Path, default=Path("nbs/results/other_exams.json"), help="the file to write, and to go on with if it is there")
    arguments = parser.parse_args()
    stored = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {"exams": []}
    model = {"name": Path(arguments.model).name, "weights_sha256": weights_sha256(arguments.model)} if arguments.model else stored.get("model")
    models: dict[str, Callable] = {"longest option": lambda: "longest option", "options only": lambda: options_only, "TF-IDF": lambda: "TF-IDF",
                                   "bi-encoder, untrained": cache(lambda: load_bi_encoder("minilm")), "cross-encoder, untrained": cache(lambda: load_cross_encoder("minilm"))}
    if arguments.model:
        models[TRAINED] = cache(lambda: load_cross_encoder(arguments.model, new_head=False))
    learnt = gather(arguments.learnt) if arguments.learnt else None
    exams = {each["exam"]: each | {"rows": [row for row in each["rows"] if row["model"] != TRAINED or model == stored.get("model")]} for each in stored["exams"]}
    for name in arguments.exams:
        questions = exam(name, arguments.folder)
        if questions is None:
            print(f"{name}: not found, left out")
            continue
        part = questions.sample(min(arguments.questions, len(questions)), random_state=0).reset_index(drop=True)
        part = part.drop(columns=[letter for letter in option_letters(part) if part[letter].isna().all()])  # an option that none of the drawn questions has
        exams[name] = {"exam": name, "of": len(questions)} | judged(part, models, exams.get(name, {}))
        if learnt is not None:
            exams[name]["alike"] = len(decontaminate(part, learnt)[1])
        print(name, {row["model"]: row["map3"] for row in exams[name]["rows"]}, flush=True)
        write_text(arguments.out, json.dumps({"model": model, "exams": [exams[each] for each in EXAMS if each in exams]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
