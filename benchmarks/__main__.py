"""Run the benchmarks and write a table and a JSON."""

import importlib.util
import json
import tempfile
import time
from contextlib import chdir
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from fastcore.script import call_parse

from benchmarks import post
from benchmarks.measure import in_turn, row, script
from benchmarks.ways import KINDS, first_call, profiles, scoring, trained, training_peers, training_step
from sciexam.data import load_questions
from sciexam.files import write_text
from sciexam.loading import _source
from sciexam.pipeline import machine
from sciexam.metric import map_at_k
from sciexam.models import rank_options, score_options
from sciexam.split import split_questions

def training(
    kind: str,  # 'bi-encoder' or 'cross-encoder'
    questions: pd.DataFrame,  # questions with answers
    name: str,  # the model to begin with
    epochs: int,  # passes over the pairs
    rounds: int,  # how often each way is run
) -> list[dict]:  # rows of the table
    "Train the post's way and ours, by the post's recipe, from the same weights."
    from dataclasses import replace

    from sciexam import train as ours

    load = KINDS[kind][0]
    recipe, fit = {"bi-encoder": (ours.POST_BI_ENCODER, ours.train_bi_encoder), "cross-encoder": (ours.POST_CROSS_ENCODER, ours.train_cross_encoder)}[kind]
    train, dev, test = split_questions(questions)
    trained: dict[str, object] = {}

    def run(way: str, model: object) -> None:
        with tempfile.TemporaryDirectory() as out, chdir(out):  # the library's fit leaves files in the working folder
            if way == "ours":
                fit(model, train, dev, replace(recipe, epochs=epochs), f"{out}/model")
            else:
                post.fit(model, train, dev, f"{out}/model", epochs)
        trained[way] = model

    rows = in_turn(f"training, {kind}, {epochs} epochs", {"the post's fit": partial(run, "post"), "ours": partial(run, "ours")}, rounds, warm_up=False, prepare=partial(load, name))
    for entry, way in zip(rows, ("post", "ours")):
        entry["map3"] = map_at_k(score_options(trained[way], test, "float32", warn=False), test["answer"])
    return rows


def metric(
    n: int,  # questions
    rounds: int,  # how often each way is run
) -> list[dict]:  # rows of the table
    "MAP@3 of random scores of n questions."
    random = np.random.default_rng(0)
    scores, answers = random.random((n, 5)), random.choice(list("ABCDE"), n)
    letters = rank_options(scores)
    assert abs(map_at_k(scores, answers) - post.mean_avg_precision(letters, answers)) < 1e-12
    return in_turn(f"MAP@3 of {n:,} questions", {"the post's loop": lambda: post.mean_avg_precision(letters, answers), "map_at_k": lambda: map_at_k(scores, answers)}, rounds, warm_up=False)


def start_up(
    rounds: int,  # how often each is run
) -> list[dict]:  # rows of the table
    "Seconds until a module is loaded or a command has printed its help, in a new process; and whether torch was loaded."
    commands = {"import sciexam.metric": "import sciexam.metric"}
    commands |= {f"{name} --help": f"from sciexam.{module} import {name}\n{name}()" for module, name in {"scale": "sciexam_predict", "eval": "sciexam_score"}.items()}
    ending, rows = "import atexit, sys\natexit.register(lambda: print('torch' in sys.modules))\n", []
    for name, code in commands.items():
        runs = [script(ending + code, "--help") for _ in range(rounds)]
        rows.append(row("start-up", name, [seconds for seconds, _ in runs]) | {"torch": runs[0][1].split()[-1] == "True"})
    return rows


def commands(
    data: str,  # a file of questions
    name: str,  # the model
    n: int,  # how many questions the file has
) -> list[dict]:  # rows of the table
    "Seconds of the whole command `sciexam_predict`, a second time with the same model: by torch, and by OpenVINO, which then needs no torch."
    code, rows = "from sciexam.scale import sciexam_predict\nsciexam_predict()", []
    with tempfile.TemporaryDirectory() as cache:
        for kind in KINDS:
            source = str(Path(cache) / kind)
            KINDS[kind][0](name).save_pretrained(source)
            ways = {f"{way}": ["--backend", backend, "--precision", precision]
                    for way, backend, precision in (("torch, float32", "torch", "float32"), ("torch, bfloat16", "torch", "bfloat16"), ("OpenVINO, bfloat16", "openvino", "bfloat16"), ("OpenVINO, int8", "openvino", "int8"))}
            runs = {way: lambda asked=asked: script(code, data, source, "--out", f"{cache}/out.csv", *asked, XDG_CACHE_HOME=cache) for way, asked in ways.items()}
            rows += in_turn(f"sciexam_predict of {n} questions, {kind}", runs, 2)
    return rows


def _tiny(
    folder: Path,  # where to put it
) -> str:  # the folder
    "An untrained bi-encoder of one layer and 32 numbers a token, with the embedded model's tokenizer: what it takes is what the command around it takes."
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(_source("minilm"))
    BertModel(BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, max_position_embeddings=128)).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    words = Transformer(str(folder / "bert"))
    SentenceTransformer(modules=[words, Pooling(32)], device="cpu").save_pretrained(str(folder / "model"))
    return str(folder / "model")


def memory(
    sizes: tuple[int, int],  # questions of a small and a large file
    engine: str,  # 'longest option', or what computes a tiny model: 'torch' or 'openvino'
) -> list[dict]:  # rows of the table
    "Most memory that predicting a file takes, by a rule or by a tiny model on either engine; on Linux."
    rows, peaks = [], []
    with tempfile.TemporaryDirectory() as folder:
        model = engine if engine == "longest option" else _tiny(Path(folder))
        for n in ((10, *sizes) if engine == "openvino" else sizes):  # a few first: the run that converts a model takes more
            with open(f"{folder}/questions.csv", "w", encoding="utf-8") as file:
                file.write("id,prompt,A,B,C,D,E\n")
                file.writelines(f"{i},Which number comes after {i} if we count by ones?,{i},{i + 1},{i * 10},none,{i - 1} or less\n" for i in range(n))
            code = ("import sys, warnings\nwarnings.simplefilter('ignore')\nfrom sciexam.scale import predict_file\npredict_file(*sys.argv[1:4], backend=sys.argv[4])\n"
                    "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))")  # getrusage would count the parent's memory too
            seconds, told = script(code, model, f"{folder}/questions.csv", f"{folder}/out.csv", "auto" if engine == model else engine, XDG_CACHE_HOME=folder)
            if n == 10:
                continue
            peaks.append(int(told.split()[-2]) / 1024)
            name = engine if engine == model else f"a tiny model, {engine}"
            rows.append(row("memory to predict a file", f"{n:,} questions, {name}", [peaks[-1]], peaks[-1] / peaks[0], "MB") | {"seconds": seconds})
    return rows


def table(
    rows: list[dict],  # rows of the table
) -> str:  # as text
    lines = [f"{'':48}{'':34}{'median':>10}{'low – high':>20}{'ratio':>9}{'of library':>12}  top 3   MAP@3  of rate"]
    for r in rows:
        ratio, against = (f"{r[key]:.2f} x" if r.get(key) else "" for key in ("ratio", "ratio_library"))
        same, share = (f"{r[key]:.1%}" if r.get(key) is not None else "" for key in ("same_top3", "share_of_rate"))
        points = f"{r['map3']:.3f}" if r.get("map3") is not None else ""
        lines.append(f"{r['part']:48}{r['way']:34}{r['median']:9.4g}{r['unit']:>3}{r['low']:10.4g} – {r['high']:.4g}".ljust(114) + f"{ratio:>8}{against:>12}{same:>8}{points:>8}{share:>8}")
    return "\n".join(lines)


def put(
    rows: list[dict],  # rows of the table
    found: list[dict],  # new rows of one kind of work
) -> list[dict]:  # the rows, with the new ones in the place of older ones of their parts, or at the end
    parts = {row["part"] for row in found}
    at = next((i for i, row in enumerate(rows) if row["part"] in parts), len(rows))
    others = [row for row in rows if row["part"] not in parts]
    return others[:at] + found + others[at:]


@call_parse
def main(
    data: str = "sample",  # sample (the shipped exam), or a CSV of questions with answers
    model: str = "minilm",  # the model that both ways use: minilm, or a folder
    peers: str = "",  # backends of the library, each with the Python of an environment that has it: 'openvino=PATH onnx=PATH'
    trained_models: str = "",  # folder of a bi-encoder and a cross-encoder that are trained, as sciexam_post writes them, for the part 'trained'
    kinds: str = "bi-encoder cross-encoder",  # which models to score and train
    parts: str = "scoring profile first training peers step metric start command memory",  # which parts to run; rows of others stay in OUT if they were made today, of the same questions, model and versions on this machine
    epochs: int = 4,  # passes in training
    rounds: int = 5,  # how often each way of scoring is run; training is run a third as often
    large: int = 1_000_000,  # questions of the large file whose memory is compared with that of 10,000
    quick: bool = False,  # few questions, one epoch, one round: to see that all of it works
    out: str = "",  # JSON to write: nbs/results/benchmarks.json, or with peers benchmarks_peers.json there
):
    "Time the post's own way and ours in turn, on the same questions, model and machine."
    start, questions = time.time(), load_questions(data)
    out = out or f"nbs/results/benchmarks{'_peers' * bool(peers)}.json"
    if quick:
        questions, epochs, rounds = questions[:24].reset_index(drop=True), 1, 1
    run = {"date": str(date.today()), "quick": quick, "data": Path(data).name, "questions": len(questions), "model": Path(model).name, **machine()}
    run["versions"] |= {name: version(name) for name in ("openvino", "nncf") if importlib.util.find_spec(name)}
    kept = json.loads(Path(out).read_text(encoding="utf-8")) if Path(out).is_file() else {}
    rows = kept["rows"] if all(kept.get(key) == value for key, value in run.items() if key != "commit") else []

    pythons = dict(pair.split("=", 1) for pair in peers.split())
    train, dev, test = split_questions(load_questions("sample"))
    train, dev = (part[:8] if quick else part for part in (train, dev))
    work = {"scoring": [partial(scoring, kind, questions, model, rounds, pythons) for kind in kinds.split()],
            "profile": [partial(profiles, kind, questions, model) for kind in kinds.split()],
            "first": [lambda kind=kind: first_call(kind, model, rows, len(questions)) for kind in kinds.split()],
            "trained": [lambda: trained(trained_models, questions)] if trained_models else [],
            "peers": [lambda: training_peers(train[:240], dev, test if data == "sample" else questions, model, 1, 1, "cpu")],
            "step": [partial(training_step, train[:240], dev, model)],
            "training": [partial(training, kind, questions, model, epochs, max(1, rounds // 3)) for kind in kinds.split()],
            "metric": [partial(metric, 10_000 if quick else 1_000_000, max(1, rounds // 3))],
            "command": [partial(commands, data, model, len(questions))],
            "start": [partial(start_up, rounds)],
            "memory": [partial(memory, (1_000, 10_000) if quick else (10_000, large), engine)
                       for engine in ("longest option", "torch", *["openvino"] * bool(importlib.util.find_spec("openvino")))]}
    for part in parts.split():
        every = []  # rows of this kind of work
        for measure in work[part]:
            found = measure()
            every += found
            rows = put(rows, every)
            print(table(found), flush=True)
            write_text(out, json.dumps(run | {"rows": rows}, indent=1) + "\n")
    print(f"\n{out} written after {time.time() - start:.0f} s")
