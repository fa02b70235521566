"""The ways to score and to train that are timed against each other. Needs no more than torch and sentence-transformers."""

import importlib.util
import json
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

from benchmarks import post
from benchmarks.measure import in_turn, matrix_rate, operations, profile, row, script, seconds_of
from sciexam.data import option_letters
from sciexam.engine import has_bfloat16
from sciexam.loading import _source
from sciexam.metric import map_at_k
from sciexam.models import load_bi_encoder, load_cross_encoder, rank_options, score_options

KINDS = {"bi-encoder": (load_bi_encoder, post.predict), "cross-encoder": (load_cross_encoder, post.predict_ce)}


def library(
    model: object,  # a bi-encoder or a cross-encoder of sentence-transformers
    questions: pd.DataFrame,  # n questions
) -> np.ndarray:  # (n, k) scores
    "What the library gives to whoever hands it all texts at once: `encode_query` and `encode_document`, or `predict`, in its batches of 32."
    options = questions[option_letters(questions)].to_numpy(object)
    present, scores = questions[option_letters(questions)].notna().to_numpy(), np.full(options.shape, np.nan)
    rows = np.nonzero(present)[0]
    prompts = questions["prompt"].to_numpy(object)
    if hasattr(model, "predict"):
        from torch.nn import Identity

        scores[present] = model.predict(list(zip(prompts[rows], options[present])), activation_fn=Identity())
    else:
        scores[present] = model.similarity_pairwise(model.encode_query(prompts.tolist())[rows], model.encode_document(options[present].tolist())).numpy()
    return scores


def autocast(
    run: Callable[[], np.ndarray],  # scores questions
    device: str,  # 'cpu', 'cuda' …
) -> np.ndarray:  # (n, k) scores
    "The same under PyTorch's autocast to bfloat16."
    import torch

    with torch.autocast(device, dtype=torch.bfloat16):
        return run()


def ways_to_score(
    kind: str,  # 'bi-encoder' or 'cross-encoder'
    questions: pd.DataFrame,  # n questions
    name: str,  # the model
) -> tuple[object, object, dict[str, Callable[[], np.ndarray]]]:  # the model, the same by OpenVINO if that is there, and each way by its name
    "The library's ways and ours; those in bfloat16 or float16 where the device has it, those by OpenVINO where it is installed."
    load = KINDS[kind][0]
    model = load(name)
    plain, device = partial(library, model, questions), model.device.type
    ways = {"library, float32": plain}
    half = ["bfloat16"] * has_bfloat16(device) + ["float16"] * (device == "cuda")
    if "bfloat16" in half:
        ways["library, weights in bfloat16"] = partial(library, load(name).bfloat16(), questions)
        ways["library, autocast"] = partial(autocast, plain, device)
    if "float16" in half:
        ways["library, weights in float16"] = partial(library, load(name).half(), questions)
    ways |= {f"ours, {precision}": partial(score_options, model, questions, precision, warn=False) for precision in ("float32", *half)}
    fast = None
    if importlib.util.find_spec("openvino") and device == "cpu":
        fast = load(name, backend="openvino")
        forms = ("float32", *half, *["int8"] * bool(importlib.util.find_spec("nncf")))
        ways |= {f"OpenVINO, {precision}": partial(score_options, fast, questions, precision, warn=False) for precision in forms}
    return model, fast, ways


class _Counted:
    "What OpenVINO has compiled, with the seconds that each kind of operation takes."

    def __init__(
        self,
        path: Path,  # a converted model
        precision: str,  # 'float32', 'bfloat16' or 'int8'
    ):
        import openvino
        import torch

        settings = {"INFERENCE_PRECISION_HINT": "f32" if precision == "float32" else "bf16", "INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": True}
        self.compiled, self.seconds = openvino.Core().compile_model(path, "CPU", settings), Counter()
        self.inputs, self.outputs, self.request = self.compiled.inputs, self.compiled.outputs, self.compiled.create_infer_request()

    def __call__(
        self,
        inputs: dict[str, np.ndarray],  # what the transformer reads
    ) -> object:  # what it gives
        found = self.request.infer(inputs)
        for operation in self.request.profiling_info:
            self.seconds[operation.node_type] += operation.real_time.total_seconds()
        return found


def profile_openvino(
    model: object,  # a model that OpenVINO computes
    precision: str,  # 'float32', 'bfloat16' or 'int8'
    run: Callable[[], object],  # what to look into
    most: int = 5,  # how many kinds of operation to name
) -> dict[str, float]:  # kind of operation: its share of all the time, the largest first, and last what is not OpenVINO's
    "Where the time goes, by OpenVINO's own names."
    transformer = model[0].auto_model.in_precision(precision)
    counted = _Counted(transformer.folder() / "model.xml", precision)
    with patch.dict(transformer.ready, {precision: counted}):
        run()  # once for shapes that it meets for the first time
        counted.seconds.clear()
        start = time.perf_counter()
        run()
        total = time.perf_counter() - start
    shares = {name: seconds / total for name, seconds in counted.seconds.most_common()}
    return dict([*shares.items()][:most]) | {"outside of OpenVINO": max(0.0, 1 - sum(shares.values()))}


class Peer:
    "A backend of the library that runs in an environment of its own, asked through a pipe so that it takes its turn with the others."

    def __init__(
        self,
        python: str,  # the environment's Python
        backend: str,  # 'openvino' or 'onnx'
        kind: str,  # 'bi-encoder' or 'cross-encoder'
        source: str,  # folder of the model
        questions: pd.DataFrame,  # n questions
        bfloat16: bool = False,  # may OpenVINO compute in bfloat16?
    ):
        letters = option_letters(questions)
        self.folder, self.present = tempfile.TemporaryDirectory(), questions[letters].notna().to_numpy()
        folder, options = Path(self.folder.name), questions[letters].to_numpy(object)
        asked = {"kind": kind, "prompts": questions["prompt"].tolist(), "options": [row[there].tolist() for row, there in zip(options, self.present)], "bfloat16": bfloat16}
        (folder / "questions.json").write_text(json.dumps(asked), encoding="utf-8")
        self.run = subprocess.Popen(
            [python, "-W", "ignore", str(Path(__file__).with_name("peer.py")), backend, source, str(folder / "questions.json"), str(folder / "scores.json")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"})
        self.told = json.loads(self._wait("READY"))

    def _wait(self, word: str) -> str:  # what stands behind the word
        while line := self.run.stdout.readline():
            if line.startswith(word):
                return line[len(word):]
        raise ChildProcessError(f"{self.run.args[0]} ended before it said {word}: expected a Python with sentence-transformers and its backend {self.run.args[4]}.")

    def __call__(self) -> None:
        "Score the questions."
        print(file=self.run.stdin, flush=True)
        self._wait("DONE")

    def scores(self) -> np.ndarray:  # (n, k) the last scores; the peer ends
        self.run.stdin.close()
        self.run.wait()
        found = np.full(self.present.shape, np.nan)
        found[self.present] = json.loads((Path(self.folder.name) / "scores.json").read_text(encoding="utf-8"))
        self.folder.cleanup()
        return found


def _peers(
    pythons: dict[str, str],  # backends of the library and the Python of an environment for each
    kind: str,  # 'bi-encoder' or 'cross-encoder'
    source: str,  # folder of the model
    questions: pd.DataFrame,  # n questions
) -> dict[str, Peer]:  # each way by its name
    ways = {}
    for backend, python in pythons.items():
        for bfloat16 in [False] + [True] * (backend == "openvino" and has_bfloat16()):
            name = {"openvino": f"library, OpenVINO, {'bfloat16' if bfloat16 else 'float32'}", "onnx": "library, ONNX, float32"}[backend]
            ways[name] = Peer(python, backend, kind, source, questions, bfloat16)
    return ways


def _tokens(
    model: object,  # a bi-encoder or a cross-encoder
    questions: pd.DataFrame,  # n questions
) -> np.ndarray:  # tokens of each text, or pair of texts, that has to be read
    options = [questions[letter] for letter in option_letters(questions)]
    if hasattr(model, "predict"):
        pairs = pd.concat([pd.DataFrame({"prompt": questions["prompt"], "option": option}) for option in options]).drop_duplicates()
        ids = model.tokenizer(pairs["prompt"].tolist(), pairs["option"].tolist(), truncation=True)["input_ids"]
    else:
        ids = model.tokenizer(pd.unique(pd.concat([questions["prompt"], *options])).tolist(), truncation=True)["input_ids"]
    return np.array([len(row) for row in ids])


def scoring(
    kind: str,  # 'bi-encoder' or 'cross-encoder'
    questions: pd.DataFrame,  # n questions with answers
    name: str,  # the model
    rounds: int,  # how often each way is run
    pythons: dict[str, str] | None = None,  # backends of the library and the Python of an environment for each
) -> list[dict]:  # rows of the table
    "Score questions the post's way, the library's and ours, and compare the rankings with those of float32."
    import torch

    model, _, ways = ways_to_score(kind, questions, name)
    with tempfile.TemporaryDirectory() as source:  # a cross-encoder's new head is drawn once; a bi-encoder is read as it lies there, by versions of any age
        if kind == "cross-encoder":
            model.save_pretrained(source)
        peers = _peers(pythons or {}, kind, source if kind == "cross-encoder" else _source(name), questions)
    last: dict[str, np.ndarray] = {}  # the scores of each way
    timed = {way: lambda way=way, run=run: last.update({way: run()}) for way, run in ways.items()}
    rows = in_turn(f"scoring, {kind}", {"the post's, float32": lambda: KINDS[kind][1](questions, model)} | timed | peers, rounds)
    taken, exact = {entry["way"]: entry["median"] for entry in rows}, last["ours, float32"]
    half = taken.get("library, weights in bfloat16", taken["library, float32"])
    rates = {way: matrix_rate(model, getattr(torch, way)) for way in ("float32", "bfloat16") if model.device.type == "cpu" and f"ours, {way}" in ways}
    for entry in rows[1:]:
        way = entry["way"]
        scores = peers[way].scores() if way in peers else last[way]
        entry |= beside(scores, exact, questions) | {"ratio_library": half / entry["median"]}
        entry |= peers[way].told if way in peers else {}
        rate = rates.get(way.rpartition(", ")[2]) if way.startswith(("ours", "OpenVINO")) else None
        if rate:
            entry |= {"matrix_gflops": rate / 1e9, "share_of_rate": operations(model, _tokens(model, questions)) / entry["median"] / rate}
    return rows


def profiles(
    kind: str,  # 'bi-encoder' or 'cross-encoder'
    questions: pd.DataFrame,  # n questions
    name: str,  # the model
) -> list[dict]:  # rows of the table, each with a profile
    "Where the time of our fast ways goes."
    _, fast, ways = ways_to_score(kind, questions, name)
    rows = []
    for way in [way for way in ways if way in ("ours, bfloat16", "OpenVINO, bfloat16", "OpenVINO, int8")]:
        start = time.perf_counter()
        shares = profile(ways[way]) if way.startswith("ours") else profile_openvino(fast, way.rpartition(", ")[2], ways[way])
        rows.append(row(f"profile, {kind}", way, [time.perf_counter() - start]) | {"profile": shares})
    return rows


_FIRST = """import sys, time
start = time.perf_counter()
import warnings; warnings.simplefilter("ignore")
from sciexam.data import sample_questions
from sciexam.models import load_{kind}, score_options
score_options(load_{kind}(sys.argv[1], backend=sys.argv[2]), sample_questions()[:1], sys.argv[3], warn=False)
print(time.perf_counter() - start)
"""


def first_call(
    kind: str,  # 'bi-encoder' or 'cross-encoder'
    name: str,  # the model
    rows: list[dict],  # what `scoring` has found
    n: int,  # questions that it scored
) -> list[dict]:  # rows of the table
    "Seconds from nothing imported to the first scores, where nothing is cached and where all is; and the questions from which OpenVINO pays."
    taken = {entry["way"]: entry["median"] for entry in rows if entry["part"] == f"scoring, {kind}"}
    half, found = "bfloat16" if "ours, bfloat16" in taken else "float32", []
    plain = {}
    for way, backend, precision in ((f"ours, {half}", "torch", half), (f"OpenVINO, {half}", "openvino", half), ("OpenVINO, int8", "openvino", "int8")):
        if way not in taken:
            continue
        with tempfile.TemporaryDirectory() as cache:
            seconds = [float(script(_FIRST.format(kind=kind.replace("-", "_")), name, backend, precision, XDG_CACHE_HOME=cache)[1].split()[-1]) for _ in range(2)]
        for when, spent in zip(("nothing cached", "cached"), seconds):
            entry = row(f"first scores, {kind}", f"{way}, {when}", [spent])
            faster = (taken[f"ours, {half}"] - taken[way]) / n
            plain.setdefault(when, spent)
            if backend == "openvino":
                entry["pays_from"] = max(0, int(np.ceil((spent - plain[when]) / faster))) if faster > 0 else None
            found.append(entry)
    return found


def trained(
    folder: str,  # with a folder bi-encoder and a folder cross-encoder, as sciexam_post writes them
    questions: pd.DataFrame,  # n questions with answers
) -> list[dict]:  # rows of the table
    "What number formats do to models that are trained, whose scores lie further apart: one run each."
    rows = []
    for kind, (load, _) in KINDS.items():
        model, _, ways = ways_to_score(kind, questions, str(Path(folder) / kind))
        exact = score_options(model, questions, "float32", warn=False)
        for way, run in ways.items():
            if way.startswith(("ours", "OpenVINO")):
                changed = beside(run(), exact, questions)
                rows.append(row(f"trained {kind}", way, [changed["map3"]], unit=" MAP@3") | changed)
    return rows


def beside(
    scores: np.ndarray,  # (n, k) scores
    exact: np.ndarray,  # (n, k) scores in float32
    questions: pd.DataFrame,  # n questions
) -> dict:  # largest difference, share of questions with the same top 3, and MAP@3
    "What a faster way has changed."
    same = float(np.mean([a == b for a, b in zip(rank_options(scores), rank_options(exact))]))
    points = map_at_k(scores, questions["answer"]) if "answer" in questions else None
    return {"furthest": float(np.nanmax(np.abs(scores - exact))), "same_top3": same, "map3": points}


def _multiple_choice(
    name: str,  # the model to begin with
    train: pd.DataFrame,  # n questions with answers and k options each
    dev: pd.DataFrame,  # questions for each epoch's evaluation
    out: str,  # folder for checkpoints
    precision: str,  # 'bfloat16' or 'float32'
    epochs: int,  # passes over the questions
) -> Callable[[pd.DataFrame], np.ndarray]:  # scores questions
    "`AutoModelForMultipleChoice` and `Trainer`, as the guide of transformers to multiple choice has them."
    import torch
    from datasets import Dataset
    from transformers import AutoModelForMultipleChoice, AutoTokenizer, DataCollatorForMultipleChoice, Trainer, TrainingArguments

    tokenizer, letters = AutoTokenizer.from_pretrained(_source(name)), option_letters(train)
    model = AutoModelForMultipleChoice.from_pretrained(_source(name), dtype=torch.float32)

    def preprocess(examples: dict) -> dict:
        firsts = [prompt for prompt in examples["prompt"] for _ in letters]
        seconds = [examples[letter][i] for i in range(len(examples["prompt"])) for letter in letters]
        found = tokenizer(firsts, seconds, truncation=True)
        return {key: [value[i : i + len(letters)] for i in range(0, len(value), len(letters))] for key, value in found.items()}

    def tokenized(questions: pd.DataFrame) -> Dataset:
        rows = Dataset.from_pandas(questions[["prompt", *letters]].assign(label=questions["answer"].map(letters.index) if "answer" in questions else 0), preserve_index=False)
        return rows.map(preprocess, batched=True, remove_columns=["prompt", *letters])

    arguments = TrainingArguments(
        output_dir=out, eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True, learning_rate=5e-5, per_device_train_batch_size=16,
        per_device_eval_batch_size=16, num_train_epochs=epochs, weight_decay=0.01, bf16=precision == "bfloat16", use_cpu=not torch.cuda.is_available(), report_to="none", disable_tqdm=True)
    trainer = Trainer(
        model=model, args=arguments, train_dataset=tokenized(train), eval_dataset=tokenized(dev), processing_class=tokenizer,
        data_collator=DataCollatorForMultipleChoice(tokenizer=tokenizer),
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(axis=1) == found.label_ids).mean())})
    trainer.train()
    return lambda questions: trainer.predict(tokenized(questions)).predictions.astype(float)


def _cross_encoder_trainer(
    name: str,  # the model to begin with
    train: pd.DataFrame,  # n questions with answers
    dev: pd.DataFrame,  # questions for each epoch's evaluation
    out: str,  # folder for checkpoints
    precision: str,  # 'bfloat16' or 'float32'
    epochs: int,  # passes over the questions
) -> Callable[[pd.DataFrame], np.ndarray]:  # scores questions
    "`CrossEncoderTrainer` with `ListNetLoss`, as the library's example of it has them."
    from datasets import Dataset
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
    from sentence_transformers.cross_encoder.losses import ListNetLoss

    model, letters = load_cross_encoder(name), option_letters(train)
    right = train["answer"].to_numpy()[:, None] == np.array(letters)
    rows = Dataset.from_dict({"question": train["prompt"].tolist(), "options": train[letters].to_numpy(object).tolist(), "labels": right.astype(float).tolist()})
    samples = [{"query": row["prompt"], "positive": [row[row["answer"]]], "negative": [row[letter] for letter in letters if letter != row["answer"]]} for _, row in dev.iterrows()]
    arguments = CrossEncoderTrainingArguments(
        output_dir=out, num_train_epochs=epochs, per_device_train_batch_size=16, per_device_eval_batch_size=16, learning_rate=2e-5, warmup_steps=0.1,
        bf16=precision == "bfloat16", use_cpu=model.device.type == "cpu", eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True, metric_for_best_model="eval_dev_map",
        report_to="none", disable_tqdm=True, seed=12)
    evaluator = CrossEncoderRerankingEvaluator(samples, name="dev", at_k=3, write_csv=False, show_progress_bar=False)
    CrossEncoderTrainer(model=model, args=arguments, train_dataset=rows, loss=ListNetLoss(model, mini_batch_size=16), evaluator=evaluator).train()
    return partial(library, model)


def _ours(
    name: str,  # the model to begin with
    train: pd.DataFrame,  # n questions with answers
    dev: pd.DataFrame,  # questions to choose the best epoch by
    out: str,  # folder for the model
    precision: str,  # not used: ours takes bfloat16 where the device has it
    epochs: int,  # passes over the questions
) -> Callable[[pd.DataFrame], np.ndarray]:  # scores questions
    "Our recipe `softmax`."
    from sciexam.train import RECIPES, train_cross_encoder

    model = train_cross_encoder(load_cross_encoder(name), train, dev, replace(RECIPES["softmax"], epochs=epochs), out)
    return partial(score_options, model, warn=False)


def training_peers(
    train: pd.DataFrame,  # n questions to learn from
    dev: pd.DataFrame,  # questions to choose the best epoch by
    test: pd.DataFrame,  # questions to judge on
    name: str,  # the model to begin with
    epochs: int,  # passes over the questions
    rounds: int,  # how often each way is run
    device: str,  # 'cpu', 'cuda' …
) -> list[dict]:  # rows of the table: the time of a whole run, questions a second, MAP@3
    "Train a cross-encoder on whole questions, from nothing loaded to the best epoch's weights, our way and the ways of the libraries' own examples."
    import sciexam.train  # noqa: F401  what all three import is loaded before the clock starts
    from transformers import AutoModelForMultipleChoice  # noqa: F401

    precision = "bfloat16" if has_bfloat16(device) else "float32"
    trained: dict[str, Callable[[pd.DataFrame], np.ndarray]] = {}

    def run(way: str, fit: Callable) -> None:
        with tempfile.TemporaryDirectory() as out, chdir(out):
            trained[way] = fit(name, train, dev, out, precision, epochs)

    ways = {f"AutoModelForMultipleChoice, {precision}": _multiple_choice, f"CrossEncoderTrainer, {precision}": _cross_encoder_trainer, "ours": _ours}
    rows = in_turn(f"training, softmax, {epochs} epoch{'s' * (epochs > 1)}", {way: partial(run, way, fit) for way, fit in ways.items()}, rounds, warm_up=False)
    for entry in rows:
        entry |= {"questions_a_second": len(train) * epochs / entry["median"], "map3": map_at_k(trained[entry["way"]](test), test["answer"])}
    return rows


def training_step(
    train: pd.DataFrame,  # n questions to learn from
    dev: pd.DataFrame,  # questions to choose the best epoch by
    name: str,  # the model to begin with
) -> list[dict]:  # rows of the table: seconds of an epoch that each part takes, and its share
    "Where the time of an epoch goes, when a cross-encoder is trained by our recipe `softmax`."
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer
    from sentence_transformers import CrossEncoder, CrossEncoderTrainer
    from sentence_transformers.cross_encoder.losses import ListNetLoss
    from transformers import Trainer

    parts = {
        "gather a batch": (Trainer, "get_batch_samples"), "tokenise": (CrossEncoder, "preprocess"), "forward": (CrossEncoder, "forward"),
        "loss": (ListNetLoss, "forward"), "backward": (Accelerator, "backward"), "clip gradients": (Accelerator, "clip_grad_norm_"),
        "optimiser": (AcceleratedOptimizer, "step"), "evaluate": (CrossEncoderTrainer, "evaluate"), "save": (Trainer, "_save_checkpoint")}
    with tempfile.TemporaryDirectory() as out, chdir(out), seconds_of((Trainer, "train"), parts, ("evaluate", "save")) as seconds:
        _ours(name, train, dev, out, "", 1)
    total = sum(seconds.values())
    return [row("an epoch of training, softmax", part, [spent]) | {"share": spent / total} for part, spent in seconds.items()]
