"""Small models and rules of thumb on the exams that others measure on: python -m benchmarks.other_exams --folder sets --model a_trained_cross_encoder"""

import argparse
import contextlib
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from sciexam.check import check_exam, options_only
from sciexam.data import load_questions, option_letters, read_questions
from sciexam.files import write_text
from sciexam.metric import bootstrap_interval, chance_map_at_k, points_at_k
from sciexam.models import load_bi_encoder, load_cross_encoder, score_options

# by name: the file, how the column 'source' of its rows begins in the split that the makers judge by, and our name of the set if it has one
EXAMS = {
    "ARC-Challenge": ("arc", "arc-challenge/test", "arc-challenge"), "ARC-Easy": ("arc", "arc-easy/test", "arc-easy"), "OpenBookQA": ("openbookqa", "openbookqa/test", "openbookqa"),
    "SciQ": ("sciq", "sciq/test", "sciq"), "QASC (dev)": ("qasc", "qasc/dev", "qasc"), "ScienceQA": ("scienceqa_natural", "scienceqa/natural science/test", "scienceqa"),
    "OpenStax": ("openstax_mc", "", None), "MMLU": ("mmlu", "mmlu/test", "mmlu"), "MMLU-Pro": ("mmlu_pro", "", "mmlu-pro"), "HEAD-QA": ("headqa", "headqa/test", None), "RACE (dev)": ("race_part", "race/dev", None),
}
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


def judged(
    questions: pd.DataFrame,  # questions of an exam
    models: dict,  # by name: a model or a rule, as `score_options` takes it
) -> dict:  # what there is to say of the exam
    "All models on one exam, and what its checks say."
    counts = questions[option_letters(questions)].notna().sum(axis=1)
    check = check_exam(questions).set_index("property")
    tells = {TELLS[name]: {"figure": round(float(row["figure"]), 4), "holds": bool(row["holds"])} for name, row in check.iterrows() if name in TELLS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of text beyond a model's limit
        rows = [{"model": name, **figures(score_options(model, questions), questions["answer"])} for name, model in models.items()]
    return {"n": len(questions), "options": [int(counts.min()), int(counts.max())], "guessing": {"map3": round(chance_map_at_k(counts), 4), "accuracy": round(float((1 / counts).mean()), 4)}, "tells": tells, "letters_p": letters_p(questions), "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="folder with the sets as CSVs in our form; without it they are loaded by their names")
    parser.add_argument("--model", help="a trained cross-encoder's folder or name, for a row of its own")
    parser.add_argument("--questions", type=int, default=400, help="most questions of an exam, drawn by seed 0")
    parser.add_argument("--exams", nargs="*", default=list(EXAMS), help="which exams")
    parser.add_argument("--out", default="nbs/results/other_exams.json", help="the file to write")
    arguments = parser.parse_args()
    models: dict = {"longest option": "longest option", "options only": options_only, "TF-IDF": "TF-IDF", "bi-encoder, untrained": load_bi_encoder("minilm"), "cross-encoder, untrained": load_cross_encoder("minilm")}
    if arguments.model:
        models["cross-encoder, fine-tuned"] = load_cross_encoder(arguments.model)
    exams = []
    for name in arguments.exams:
        questions = exam(name, arguments.folder)
        if questions is None:
            print(f"{name}: not found, left out")
            continue
        part = questions.sample(min(arguments.questions, len(questions)), random_state=0).reset_index(drop=True)
        part = part.drop(columns=[letter for letter in option_letters(part) if part[letter].isna().all()])  # an option that none of the drawn questions has
        exams.append({"exam": name, "of": len(questions), **judged(part, models)})
        print(name, {row["model"]: row["map3"] for row in exams[-1]["rows"]}, flush=True)
        write_text(arguments.out, json.dumps({"model": arguments.model and Path(arguments.model).name, "exams": exams}, indent=1) + "\n")


if __name__ == "__main__":
    main()
