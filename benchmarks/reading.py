"""What a reader learns from and how well it reads: python -m benchmarks.open_book reading-data reading --data-folder questions"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sciexam.augment import decontaminate
from sciexam.data import open_book, option_letters, read_questions, sample_questions
from sciexam.evidence import passage_overlap, short_passages
from sciexam.files import write_text
from sciexam.library import Library, build_library
from sciexam.metric import paired_test, points_at_k
from sciexam.models import load_bi_encoder, load_cross_encoder, score_options
from sciexam.retrieve import reading_gain, retrieve, training_contexts
from sciexam.train import RECIPES, train_cross_encoder, training_log

N_FOUND = 5  # passages to find for a question
N_WORDS, POOL = 300, 600  # of a context: with a prompt and an option about what 512 tokens hold; of what sentences are chosen from
SETS = {  # what to learn from: splits, and how many questions
    "sciq": ("sciq/train", None), "race_part": ("race/train", 3_000), "openbookqa": ("openbookqa/train", 2_000),
    "qasc": ("qasc/train", None), "scienceqa_natural": ("scienceqa/natural science/train", 2_000),
}
N_DEV, N_HELD_OUT = (300, 100), 300  # dev questions of SciQ and of the questions like the exam's; of these, how many to judge by
PARTS = ("train", "dev", "SciQ test", "questions with passages", "official 200", "shipped exam")


def has_passage(
    questions: pd.DataFrame,  # questions with a column context
) -> pd.Series:  # does a passage of three words or more come with it?
    return questions["context"].fillna("").str.split().str.len() >= 3


def official_contexts(
    data: Path,  # a folder with the competition's questions and passages
) -> pd.DataFrame:  # the two passages of each question, in the order of the file, by id
    return pd.read_csv(data / "official_200_contexts.csv", dtype=str, keep_default_na=False).set_index("id")[["context_1", "context_2"]]


def _with_right(
    questions: pd.DataFrame,  # questions with a column context
    part: str,  # a name of `PARTS`
) -> pd.DataFrame:  # those with a passage of three words or more: part, id, prompt, options, answer, right (list of texts)
    own = questions[has_passage(questions)]
    own = own.assign(part=part, right=[[" ".join(context.split())] for context in own["context"]])
    return own[["part", "id", "prompt", *option_letters(own), "answer", "right"]]


def _drawn(
    data: Path,  # a folder with the sets
    share: float,  # of the questions to learn from
) -> pd.DataFrame:  # the questions of all parts; none to learn from is like one to judge by
    "Split what there is, test parts first."
    rng = 0
    sciq = read_questions(data / "sets" / "sciq.csv.gz", strict=False, ragged=True)
    like_exam = read_questions(data / "extra_1k_with_context.csv", strict=False).sample(frac=1, random_state=rng)
    official = read_questions(data / "official_200.csv")
    official = official.assign(part="official 200", right=official_contexts(data).loc[official["id"]].to_numpy().tolist())
    held = [_with_right(sciq[sciq["source"] == "sciq/test"], "SciQ test"), _with_right(like_exam[:N_HELD_OUT], "questions with passages"),
            official[["part", "id", "prompt", *"ABCDE", "answer", "right"]], _with_right(sample_questions(), "shipped exam")]
    dev = [_with_right(sciq[sciq["source"] == "sciq/valid"], "dev").sample(N_DEV[0], random_state=rng), _with_right(like_exam[N_HELD_OUT:][: N_DEV[1]], "dev")]
    train = [_with_right(like_exam[N_HELD_OUT + N_DEV[1] :], "train").assign(id=lambda own: "like-" + own["id"])]
    for name, (split, n) in SETS.items():
        whole = sciq if name == "sciq" else read_questions(data / "sets" / f"{name}.csv.gz", strict=False, ragged=True)
        own = _with_right(whole[whole["source"].str.startswith(split)], "train").sample(frac=1, random_state=rng)[:n]
        train.append(own.assign(id=f"{name}-" + own["id"]))
    train = [own.sample(frac=share, random_state=rng) for own in train]
    test, dev, train = (pd.concat(frames, ignore_index=True) for frames in (held, dev, train))
    dev = _unlike(dev, test)
    return pd.concat([_unlike(train, pd.concat([dev, test], ignore_index=True)), dev, test], ignore_index=True)


def _unlike(
    questions: pd.DataFrame,  # questions to learn from or to choose by
    others: pd.DataFrame,  # questions that may not be known from them
) -> pd.DataFrame:  # those that are like none of the others, whichever of two is held against the other, and have passages of their own
    kept = decontaminate(questions, others)[0]
    known = set(decontaminate(others, kept)[1]["like"])
    passages = {text for own in others["right"] for text in own}
    return kept[~kept["id"].isin(known) & ~kept["right"].map(lambda own: own[0] in passages)].reset_index(drop=True)


def _library(
    folder: Path,  # where libraries are kept
    name: str,  # the library's
    questions: pd.DataFrame,  # questions with right passages, which go into it
    others: Sequence[Path],  # files of other passages
) -> Library:  # words only
    source = folder / f"{name}_own.csv"
    texts = sorted({text for own in questions["right"] for text in own})
    pd.DataFrame({"id": [f"own {number}" for number in range(len(texts))], "text": texts}).to_csv(source, index=False)
    for path in [*others, source]:
        library = build_library(path, folder / name, None, add=True)
    print(library, flush=True)
    return library


def _found(
    questions: pd.DataFrame,  # questions
    library: Library,  # a library
    ask: str | tuple[str, ...] = "all",  # what to search by
) -> pd.DataFrame:  # the questions with found (list of texts, nearest first)
    hits = retrieve(questions, library, N_FOUND, "bm25", ask=ask)[1]
    texts = hits.groupby("question")["text"].agg(list)
    return questions.assign(found=[texts.get(name, []) for name in questions["id"]])


def reading_data(
    folder: Path,  # where libraries are kept
    data: Path,  # a folder with the competition's questions, the sets and the passages
    out: Path,  # folder for questions.parquet and passages.parquet
    share: float = 1.0,  # of the questions to learn from
) -> dict:  # figures
    "Questions of all parts with right and found passages, in two small files: what `reading` needs and no more."
    folder.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    questions = _drawn(data, share)
    print(questions["part"].value_counts().to_dict(), flush=True)
    learnt = questions["part"].isin(["train", "dev"])
    exams = questions["part"].isin(["questions with passages", "official 200"])
    leads, books = data / "corpora" / "wikipedia_vital_leads.csv.gz", data / "corpora" / "openstax.csv.gz"
    like_exam = questions[exams | questions["id"].str.startswith("like-")]
    parts = [
        _found(questions[learnt], _library(folder, "learn", questions[learnt], [leads])),
        _found(questions[questions["part"] == "SciQ test"], _library(folder, "sciq", questions[learnt | (questions["part"] == "SciQ test")], [leads])),
        _found(questions[exams], _library(folder, "exams", like_exam, [leads, books]), ("prompt", "each")),
        _found(questions[questions["part"] == "shipped exam"], build_library("sample", folder / "shipped", None), ("prompt", "each")),
    ]
    questions = pd.concat(parts, ignore_index=True)
    texts = sorted({text for column in ("right", "found") for own in questions[column] for text in own})
    numbers = {text: number for number, text in enumerate(texts)}
    for column in ("right", "found"):
        questions[column] = [[numbers[text] for text in own] for own in questions[column]]
    how = {"index": False, "compression": "zstd", "compression_level": 19}
    questions.to_parquet(out / "questions.parquet", **how)
    pd.DataFrame({"text": texts}).to_parquet(out / "passages.parquet", **how)
    return {"questions": questions["part"].value_counts().to_dict(), "passages": len(texts)}


def _questions(
    folder: Path,  # with the two files of `reading_data`
    n: int | None,  # most questions of a part; None for all of them
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:  # for each part its questions with right contexts, and with found ones
    questions, texts = pd.read_parquet(folder / "questions.parquet"), pd.read_parquet(folder / "passages.parquet")["text"].to_numpy(object)
    questions = questions.astype(object).where(questions.notna(), None)
    parts = {}
    for part in PARTS:
        own = questions[questions["part"] == part]
        own = own.sample(frac=1, random_state=0)[:n].reset_index(drop=True)
        filled = [own.assign(context=[" ".join(" ".join(texts[list(rows)]).split()[:POOL]) for rows in own[column]]) for column in ("right", "found")]
        parts[part] = tuple(frame.drop(columns=["part", "right", "found"]).dropna(axis=1, how="all") for frame in filled)
    return parts


LENGTHS = {"one sentence": 1, "three sentences": 3, "six sentences": 6, "whole passages": None}
RATES = (.5, 1, 2)  # times the recipe's learning rate
N_TRIAL, COPIES = 2_500, (3, 9)  # questions that a trial learns from; how often at most a question is learnt from, and one like the exam's, each time with other passages


def _reads(
    model: str | Path,  # a bi-encoder's name
    n_sentences: int | None,  # sentences to keep, the nearest to the options; None keeps what is nearest to the beginning
) -> Callable[[pd.DataFrame], pd.DataFrame]:  # puts passages where the reader sees them
    bi_encoder = None if n_sentences is None else load_bi_encoder(model)

    def read(questions: pd.DataFrame) -> pd.DataFrame:
        short = questions if bi_encoder is None else short_passages(bi_encoder, questions, n_sentences)
        return open_book(short.assign(context=short["context"].str.split().str[:N_WORDS].str.join(" ")))
    return read


def _rows(
    pair: tuple[pd.DataFrame, pd.DataFrame],  # questions to learn from with right contexts, and with found ones
) -> pd.DataFrame:  # each question several times, in one order
    rows = []
    for seed in range(max(COPIES)):
        own = training_contexts(*pair, seed=seed)
        own = own.assign(id=own["id"] + f"-{seed}")
        rows.append(own if seed < COPIES[0] else own[own["id"].str.startswith("like-")])
    return pd.concat(rows, ignore_index=True).sample(frac=1, random_state=0).reset_index(drop=True)


def _dev(
    pair: tuple[pd.DataFrame, pd.DataFrame],  # dev questions with right contexts, and with found ones
) -> pd.DataFrame:  # half with right ones, half with found ones
    return training_contexts(*pair, shares=(.5, .5, 0, 0))


def _trial(
    model: str | Path,  # what to start from
    parts: dict[str, tuple[pd.DataFrame, pd.DataFrame]],  # questions
    length: str,  # a name of `LENGTHS`
    rate: float,  # a number of `RATES`
    out: Path,  # folder for the model
) -> dict:  # figures of the trial, by dev alone
    "Learn from a few questions in one way."
    start, read = time.time(), _reads(model, LENGTHS[length])
    few = _rows(parts["train"])[:N_TRIAL]
    recipe = replace(RECIPES["reader"], learning_rate=rate * RECIPES["reader"].learning_rate)
    reader = train_cross_encoder(load_cross_encoder(model, seed=recipe.seed), read(few), read(_dev(parts["dev"])), recipe, out, resume=True)
    seconds = time.time() - start
    gain = reading_gain(reader, *parts["dev"], read, "auto").set_index("passage")["map3"].round(4).to_dict()
    chosen = training_log(out).filter(like="dev_").max().iloc[0]
    row = {"length": length, "rate": rate, "questions": len(few), "dev": round(float(chosen), 4), "by_passage": gain, "seconds": round(seconds, 1)}
    print(row, flush=True)
    return row


def _once(
    path: Path,  # a JSON file
    make: Callable[[], dict],  # makes what stands in it
) -> dict:  # what stands in the file, made if there is none
    if not path.is_file():
        write_text(path, json.dumps(make(), indent=1) + "\n")
    return json.loads(path.read_text())


def _tried(
    model: str | Path,  # what to start from
    parts: dict[str, tuple[pd.DataFrame, pd.DataFrame]],  # questions
    folder: Path,  # where models are kept
) -> list[dict]:  # a row a trial, the chosen one first
    "Choose the length, then the learning rate."
    def trial(*way) -> dict:
        name = "_".join(map(str, way)).replace(" ", "-")
        return _once(folder / f"{name}.json", lambda: _trial(model, parts, *way, folder / name))

    rows = [trial(length, 1) for length in LENGTHS]
    best = max(rows, key=lambda row: row["dev"])
    rows += [trial(best["length"], rate) for rate in RATES if rate != 1]
    return sorted(rows, key=lambda row: -row["dev"])


def _judged(
    reader,  # the chosen model
    parts: dict[str, tuple[pd.DataFrame, pd.DataFrame]],  # questions
    read: Callable[[pd.DataFrame], pd.DataFrame],  # puts passages where the reader sees them
    out: Path,  # a file for the scores
) -> dict:  # figures
    "What passages are worth on questions never learnt from."
    rows, kept, by_words = [], {}, {}
    for exam in (exam for exam in PARTS[2:] if len(parts[exam][0])):
        scores = []

        def scored(questions: pd.DataFrame, scores: list = scores) -> np.ndarray:
            scores.append(score_options(reader, questions, warn=False))
            return scores[-1]

        gain = reading_gain(scored, *parts[exam], read)
        kept[exam] = dict(zip(gain["passage"], scores))
        answers = parts[exam][0]["answer"].tolist()
        by_words[exam] = {name: round(float(points_at_k(passage_overlap(own), answers).mean()), 4) for name, own in zip(("right", "found"), parts[exam])}
        rows += [{"exam": exam, "n": len(scores[0]), **row} for row in gain.to_dict("records")]
        print(exam, gain.round(4).to_string(), sep="\n", flush=True)
    np.savez_compressed(out, **{f"{exam}, {name}": scores.astype(np.float32) for exam, own in kept.items() for name, scores in own.items()})

    def points(exam: str, passage: str, k: int) -> np.ndarray:
        return points_at_k(kept[exam][passage], parts[exam][0]["answer"].tolist(), k)

    tests = {
        "SciQ test, accuracy: right above none": paired_test(points("SciQ test", "right", 1), points("SciQ test", "none", 1)),
        "official 200, MAP@3: found above right": paired_test(points("official 200", "found", 3), points("official 200", "right", 3)),
    }
    return {
        "rows": [{name: None if pd.isna(value) else value for name, value in row.items()} for row in rows],
        "accuracy": {exam: {passage: round(float(points(exam, passage, 1).mean()), 4) for passage in own} for exam, own in kept.items()},
        "tests": {name: vars(test) for name, test in tests.items()},
        "by_words": by_words,
    }


def reading(
    folder: Path,  # where models are kept
    data: Path,  # folder with the files of `reading_data`
    model: str | Path = "minilm",  # what to start from: 'minilm' or a folder
    rows: int | None = None,  # most rows for the last training: 54,000 are there; None for all of them
    n: int | None = None,  # most questions of a part; None for all of them
) -> dict:  # figures
    "Choose by dev how a reader learns, train it on all there is, and judge it once."
    folder.mkdir(parents=True, exist_ok=True)
    parts = _questions(data, n)
    tried = _tried(model, parts, folder)
    chosen = tried[0]
    read, recipe = _reads(model, LENGTHS[chosen["length"]]), replace(RECIPES["reader"], learning_rate=chosen["rate"] * RECIPES["reader"].learning_rate)
    learnt = _rows(parts["train"])[:rows]
    out, begun = folder / "reader", time.time()
    reader = train_cross_encoder(load_cross_encoder(model, seed=recipe.seed), read(learnt), read(_dev(parts["dev"])), recipe, out, resume=True)
    seconds, log = round(time.time() - begun, 1), json.loads((out / "training_log.json").read_text())
    save_half(out, folder / "reader-float16")
    judged = _once(folder / "judged.json", lambda: _judged(reader, parts, read, folder / "judged.npz"))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {"learnt_from": len(learnt), "chosen": {"length": chosen["length"], "rate": chosen["rate"]}, "dev": max(row.get("dev_map@3") or 0 for row in log["epochs"]),
            "device": device, "precision": log["precision"], "judged_in": "float32", "torch": torch.__version__.split("+")[0], "seconds": seconds, "trials": tried, **judged}


def save_half(
    model: Path,  # folder of a trained cross-encoder
    out: Path,  # folder for the same with weights of 16 bits
) -> None:
    "Save half the bytes, for a model to be sent."
    load_cross_encoder(model, new_head=False).half().save_pretrained(str(out))
