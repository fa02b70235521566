"""Measure a language model on real questions, part by part, and write nbs/results/language_models.json.

python -m benchmarks.language_models FOLDER official_200.csv --contexts official_200_contexts.csv
"""

import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from fastcore.script import call_parse, store_true

from sciexam.baselines import longest_option
from sciexam.data import load_questions, option_letters, sample_questions
from sciexam.ensembles import cross_fitted_combination
from sciexam.eval import RULE, Result, judge
from sciexam.files import write_text
from sciexam.lab.experiments import _scores_of_row
from sciexam.lab.rows import read_row
from sciexam.language_models import (
    Asked,
    Endpoint,
    LanguageModel,
    Scorer,
    asked,
    load_language_model,
    read_harness_scores,
    write_harness_task,
)
from sciexam.local_models import _ask_options, _tokens
from sciexam.metric import paired_test, points_at_k
from sciexam.models import load_cross_encoder, score_options
from sciexam.pipeline import answers_are_public, machine
from sciexam.statistics import holm, order_sensitivity
from tools.tiny import tiny_language_model

CLOSED = [
    "all-mpnet-base-v2-cross-encoder-extra-epochs-1-rate-5e-05",
    "minilm-cross-encoder-extra",
]  # rows of encoders that read no passage
OPEN = ["all-mpnet-base-v2-cross-encoder-extra-open-book-epochs-1-rate-5e-05"]


@dataclass(frozen=True, eq=False)
class Remembered(Scorer):
    "A language model whose answers are kept in a file, a line each, so that no prompt is read twice."

    lm: LanguageModel
    store: Path  # JSON lines: a hash of the prompt and its log-probabilities
    fair: str = "no"
    passage: int = 0

    def ask(self, items: list[Asked]) -> np.ndarray:
        known, keys = self._known(), list(map(self._key, items))
        new = [at for at in range(len(items)) if keys[at] not in known]
        for start in range(0, len(new), 20):
            chosen = new[start : start + 20]
            found = self.lm.ask([items[at] for at in chosen])
            with open(self.store, "a", encoding="utf-8") as file:
                for at, row in zip(chosen, found):
                    known[keys[at]] = row[~np.isnan(row)].tolist()
                    file.write(json.dumps([keys[at], known[keys[at]]]) + "\n")
            print(f"{start + len(chosen)} of {len(new)} prompts", flush=True)
        k = max(len(item.options) for item in items)
        return np.array([known[key] + [np.nan] * (k - len(known[key])) for key in keys])

    def knows(self, items: list[Asked]) -> bool:
        return {self._key(item) for item in items} <= set(self._known())

    def _key(self, item: Asked) -> str:
        about = f"{self.lm.name}|{self.lm.model.dtype}|{self.lm.chat}|{item.lettered}"
        return hashlib.sha256(about.encode()).hexdigest()[:24]

    def _known(self) -> dict:
        lines = (
            self.store.read_text(encoding="utf-8").split("\n")[:-1] if self.store.is_file() else []
        )  # what was cut off has no end
        if self.store.is_file():
            write_text(self.store, "".join(f"{line}\n" for line in lines))
        return dict(json.loads(line) for line in lines)


@dataclass(frozen=True)
class Bench:
    "What all parts need."

    lm: LanguageModel
    questions: pd.DataFrame
    store: Path
    rows: Path  # folder with the encoders' rows
    scores: Path  # folder with the encoders' scores
    harness: str | None  # the command lm_eval
    server: str | None  # address of a server with the same model
    name: str  # what that server calls it
    n: int | None  # first questions to use; None for all
    orders: bool = False  # do ensembles and `steady` ask in five orders, too?

    def asking(self, **settings) -> Remembered:
        return Remembered(self.lm, self.store, **settings)

    def encoder(self, name: str) -> np.ndarray:
        row = read_row(self.rows / f"official-200-{name}.json")
        scores = _scores_of_row(row, self.scores)
        if (points_at_k(scores, self.questions["answer"]) != row.result.points).any():
            raise ValueError(f"the row {name} judges other questions: expected all of the file, without --n.")
        return scores


def _results(name: str, bench: Bench, ways: dict[str, Callable[[], np.ndarray]]) -> list[dict]:
    return [_kept(judge(f"{name}, {way}", bench.questions, scores()), bench.questions) for way, scores in ways.items()]


def _kept(result: Result, questions: pd.DataFrame) -> dict:
    "A result as it may be published: scores would tell answers that are not public."
    return result.kept(answers_are_public(questions))


def closed(bench: Bench) -> dict:
    "Letters, closed book, one pass: raw, and with two kinds of calibration."
    return {
        "results": _results(
            "closed book",
            bench,
            {
                fair: lambda fair=fair: score_options(bench.asking(fair=fair), bench.questions)
                for fair in ("no", "questions", "content-free")
            },
        )
    }


def cyclic(bench: Bench) -> dict:
    "The mean over five cyclic orders."
    ways = {"cyclic": lambda: score_options(bench.asking(fair="cyclic"), bench.questions)}
    return {"results": _results("closed book", bench, ways)}


def steady(bench: Bench) -> dict:
    "How many answers move when the options are shuffled once: as it is, calibrated, and with --orders by five orders."
    letters, ways = option_letters(bench.questions), ["no", "questions"] + ["cyclic"] * bench.orders
    moved = {fair: order_sensitivity(bench.asking(fair=fair), bench.questions, letters, n_shuffles=1) for fair in ways}
    return {"order_sensitivity": moved}


def passages(bench: Bench) -> dict:
    "Letters with the first 1,500 characters of the given passage."
    return {
        "results": _results(
            "with passage",
            bench,
            {
                fair: lambda fair=fair: score_options(bench.asking(fair=fair, passage=1_500), bench.questions)
                for fair in ("no", "questions")
            },
        )
    }


def options(bench: Bench) -> dict:
    "The likelihood of each option, judged in five ways."
    found = _ask_options(replace(bench.lm, form="options", per="unconditional"), asked(bench.questions))
    lengths = longest_option(bench.questions)
    inner = lambda scores: (scores - np.nanmean(scores, axis=1, keepdims=True)).ravel()
    return {
        "results": _results("options", bench, {per: lambda per=per: found[per] for per in found}),
        "length_correlation": {
            per: float(np.corrcoef(inner(scores), inner(lengths))[0, 1]) for per, scores in found.items()
        },
    }


def sample(bench: Bench) -> dict:
    "The shipped exam, first hundred questions, without and with its passages; and one question in five orders."
    exam = sample_questions()[: bench.n or 100]
    shown = asked(exam)[0]
    with_exam = replace(bench, questions=exam)
    orders = [bench.asking().ask([shown.turned(by)])[0] for by in range(len(shown.options))]
    return {
        "results": _results(
            "shipped exam",
            with_exam,
            {
                "closed book": lambda: score_options(bench.asking(fair="questions" if len(exam) >= 10 else "no"), exam),
                "with passage": lambda: score_options(
                    bench.asking(fair="questions" if len(exam) >= 10 else "no", passage=1_500), exam
                ),
            },
        ),
        "question": exam["id"].iloc[0],
        "orders": [np.exp(row).tolist() for row in orders],
    }


def ensembles(bench: Bench) -> dict:
    "The language model beside encoders, weights cross-fitted; p against the longest option by Holm."
    rule = judge(RULE, bench.questions, longest_option(bench.questions))
    one = score_options(bench.asking(fair="questions"), bench.questions)
    read = score_options(bench.asking(fair="questions", passage=1_500), bench.questions)
    encoders, books = [bench.encoder(name) for name in CLOSED], [bench.encoder(name) for name in OPEN]
    members = {
        "encoders alone, closed book": encoders,
        "with one pass of the language model": [*encoders, one],
        "encoders alone, open book": books,
        "with the language model, passages read": [*books, read],
    }
    orders = [item.turned(by) for item in asked(bench.questions) for by in range(len(item.options))]
    if bench.orders or bench.asking().knows(orders):  # five times as dear
        five = score_options(bench.asking(fair="cyclic"), bench.questions)
        members["with its five orders"] = [*encoders, five]
    answers = bench.questions["answer"].to_numpy()
    results = [
        judge(name, bench.questions, cross_fitted_combination(scores, answers) if len(scores) > 1 else scores[0])
        for name, scores in members.items()
    ]
    tests = [paired_test(result.points, rule.points, 99_999) for result in results]
    return {
        "results": [_kept(result, bench.questions) for result in [*results, rule]],
        "p_holm": dict(zip(members, holm([test.p for test in tests]).tolist())),
        "members": {"closed": CLOSED, "open": OPEN},
    }


def speed(bench: Bench) -> dict:
    "Tokens and questions a second: letters as here, beside a cross-encoder of 22 million weights."
    import torch

    items = asked(bench.questions)
    tokens = sum(len(_tokens(bench.lm, item)[0]) for item in items)
    start = time.perf_counter()
    bench.lm.ask(items)
    seconds = time.perf_counter() - start
    encoder = load_cross_encoder("minilm")
    score_options(encoder, bench.questions[:20], warn=False)
    start = time.perf_counter()
    score_options(encoder, bench.questions, warn=False)
    return {
        "questions": len(items),
        "tokens": tokens,
        "seconds": seconds,
        "tokens_a_second": tokens / seconds,
        "questions_a_second": len(items) / seconds,
        "encoder_questions_a_second": len(items) / (time.perf_counter() - start),
        "threads": torch.get_num_threads(),
        "dtype": str(bench.lm.model.dtype),
    }


def _run_harness(bench: Bench, questions: pd.DataFrame, out: Path, dtype: str, tasks: list[Path], batch: int) -> float:
    "Run the harness, and give its seconds."
    start = time.perf_counter()
    arguments = [
        "run",
        "--model",
        "hf",
        "--model_args",
        f"pretrained={Path(bench.lm.name).resolve()},dtype={dtype}",
        "--tasks",
        ",".join(task.stem for task in tasks),
        "--include_path",
        str(tasks[0].parent),
        "--output_path",
        str(out),
        "--log_samples",
        "--device",
        "cpu",
        "--batch_size",
        str(batch),
    ]
    subprocess.run(
        [bench.harness, *arguments],
        check=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def agreement(bench: Bench) -> dict:
    "The harness and ours on the same questions, a hundred at most, in float32: largest differences, and accuracies."
    questions = bench.questions[:100]
    with tempfile.TemporaryDirectory() as folder:
        tasks = write_harness_task(questions, f"{folder}/task")
        seconds = _run_harness(bench, questions, Path(folder) / "out", "float32", tasks, 8)
        logs = [next(Path(folder).glob(f"out/*/samples_{task.stem}_*.jsonl")) for task in tasks]
        kept = json.loads(next(Path(folder).glob("out/*/results_*.json")).read_text())["results"]
        options_ = read_harness_scores(logs[1], questions)[0]
        said = np.array(
            [
                [float(response[0]) for response in json.loads(line)["filtered_resps"]]
                for line in logs[0].read_text().splitlines()
            ]
        )
        order = [json.loads(line)["doc"]["id"] for line in logs[0].read_text().splitlines()]
    items, precise = asked(questions), load_language_model(bench.lm.name, "float32", chat=False)
    in_letters = precise.ask(items)
    ours = in_letters[[questions["id"].astype(str).tolist().index(key) for key in order]]
    mine = _ask_options(replace(precise, form="options", per="unconditional"), items)
    accuracy = lambda scores: float(
        (np.array(option_letters(questions))[scores.argmax(axis=1)] == questions["answer"].to_numpy()).mean()
    )
    return {
        "questions": len(questions),
        "letters": float(np.abs(ours - said).max()),
        "options": float(np.abs(mine["raw"] - options_["raw"][0]).max()),
        "unconditional": float(np.abs(mine["unconditional"] - options_["mutual information"][0]).max()),
        "harness_seconds": seconds,
        "acc": [kept[tasks[1].stem]["acc,none"], accuracy(mine["raw"])],
        "acc_norm": [kept[tasks[1].stem]["acc_norm,none"], accuracy(mine["characters"])],
        "acc_letters": [kept[tasks[0].stem]["acc,none"], accuracy(in_letters)],
    }


def agreement_tiny(bench: Bench) -> dict:
    "The same by the tiny model that the tests make, on the first hundred questions of the shipped exam: minutes, not hours."
    with tempfile.TemporaryDirectory() as folder:
        tiny = load_language_model(tiny_language_model(Path(folder) / "tiny"), "float32")
        return agreement(replace(bench, lm=tiny, questions=sample_questions()[: bench.n or 100])) | {"model": "tiny"}


def against_harness(bench: Bench) -> dict:
    "Tokens a second of the harness on the same letters, at several batch sizes; a run on one question is taken off."
    plain, rates = replace(bench.lm, chat=False), {}
    tokens = [len(_tokens(plain, item)[0]) for item in asked(bench.questions)]
    dtype = str(plain.model.dtype).removeprefix("torch.")
    start = time.perf_counter()
    plain.ask(asked(bench.questions))
    ours = sum(tokens) / (time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        for batch in (1, 4, 8):
            seconds = {}
            for n in (1, len(tokens)):
                task = write_harness_task(bench.questions[:n], f"{folder}/task-{n}", name=f"first{n}")[0]
                seconds[n] = _run_harness(
                    bench, bench.questions[:n], Path(folder) / f"out-{batch}-{n}", dtype, [task], batch
                )
            rates[batch] = sum(tokens[1:]) / (seconds[len(tokens)] - seconds[1])
    return {
        "questions": len(tokens),
        "tokens": sum(tokens),
        "ours": ours,
        "harness": rates,
        "ratio": ours / max(rates.values()),
        "dtype": dtype,
    }


def served(bench: Bench) -> dict:
    "The same model behind a server: letters of the shipped exam's first questions there, and here."
    exam = sample_questions()[: bench.n or 20]
    here = score_options(bench.asking(), exam)
    start = time.perf_counter()
    there = score_options(Endpoint(bench.server, bench.name, top=100), exam)
    seconds = time.perf_counter() - start
    return {
        "questions": len(exam),
        "mean_difference": float(np.abs(here - there).mean()),
        "largest_difference": float(np.abs(here - there).max()),
        "same_first_letter": int((here.argmax(axis=1) == there.argmax(axis=1)).sum()),
        "dtype_here": str(bench.lm.model.dtype),
        "questions_a_second": len(exam) / seconds,
    }


PARTS = {
    "sample": sample,
    "closed": closed,
    "passages": passages,
    "speed": speed,
    "options": options,
    "cyclic": cyclic,
    "steady": steady,
    "ensembles": ensembles,
    "agreement": agreement,
    "agreement_tiny": agreement_tiny,
    "against_harness": against_harness,
    "served": served,
}


@call_parse
def main(
    model: str,  # folder, GGUF file or hub name of a language model
    data: str,  # CSV of questions with answers
    contexts: str = None,  # CSV with the columns id and context_1: the questions' passages
    rows: str = "nbs/results/rows",  # folder with the encoders' rows
    scores: str = "experiments/scores",  # folder with their scores, as sciexam_experiments keeps them
    harness: str = None,  # the command lm_eval, of an environment that has it
    server: str = None,  # address of a server with the same model, such as http://127.0.0.1:8000/v1
    name: str = "model",  # what that server calls it
    parts: str = "sample closed passages speed options cyclic steady ensembles",  # also agreement, agreement_tiny, against_harness, served
    store: str = ".language_models.jsonl",  # answers that were already given; delete it to begin anew
    n: int = None,  # first questions only, to see that all of it works
    orders: store_true = False,  # an ensemble with the language model's five orders, and how steady these are, too
    out: str = "nbs/results/language_models.json",  # JSON to write
):
    "Measure a language model; parts of OUT that are not named stay, and no prompt of 'letters' is read twice."
    questions = load_questions(data)
    if contexts:
        given = pd.read_csv(contexts, dtype=str, keep_default_na=False).set_index("id")["context_1"]
        questions["context"] = questions["id"].map(given)
    lm = load_language_model(model)
    bench = Bench(lm, questions[:n], Path(store), Path(rows), Path(scores), harness, server, name, n, orders)
    kept = json.loads(Path(out).read_text(encoding="utf-8")) if Path(out).is_file() else {"parts": {}}
    for part in parts.split():
        start = time.perf_counter()
        found = PARTS[part](bench)
        about = {
            "date": str(date.today()),
            "minutes": round((time.perf_counter() - start) / 60, 1),
            "data": Path(data).name,
            "model": found.pop("model", f"{Path(model).name}, {lm.model.num_parameters():,} weights"),
            **machine(),
        }
        kept["parts"][part] = found | {
            "made": about,
            "command": f"python -m benchmarks.language_models {Path(model).name} {Path(data).name}"
            + (f" --contexts {Path(contexts).name}" if contexts else "")
            + f" --parts {part}"
            + (f" --n {n}" if n else ""),
        }
        write_text(out, json.dumps(kept, indent=1) + "\n")
        for result in found.get("results", []):
            print(f"{result['model']}: MAP@3 {result['map3']:.3f}, accuracy {result['accuracy']:.3f}", flush=True)
        print(
            part,
            {key: value for key, value in found.items() if key not in ("results", "orders")},
            f"{about['minutes']} min",
            flush=True,
        )
