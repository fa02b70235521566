"""What the open book finds, and what it costs: python -m benchmarks.open_book shipped --folder libraries"""

import argparse
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from sciexam.data import LEVELS, read_questions, sample_questions
from sciexam.engine import embed
from sciexam.files import write_text
from sciexam.library import Library, build_library, chunks, open_library, read_passages
from sciexam.models import load_bi_encoder
from sciexam.retrieve import fuse, queries, recall, retrieve, search, with_texts
from sciexam.similarity import contained

from .reading import has_passage, official_contexts, reading, reading_data

KS = (1, 3, 5, 10)
WAYS = {  # what to search by, and what to ask for
    "prompt, BM25": ("bm25", "prompt"), "prompt, vectors": ("vectors", "prompt"),
    "prompt and options, BM25": ("bm25", "all"), "prompt and options, vectors": ("vectors", "all"),
    "option by option, BM25": ("bm25", "each"), "option by option, vectors": ("vectors", "each"),
    "prompt, and with options, both": ("hybrid", ("prompt", "all")),
    "prompt, and with options, BM25, its best fifty by vectors too": ("bm25", ("prompt", "all"), "minilm"),
}
BY_WORDS = {"prompt, and with options, BM25": ("bm25", ("prompt", "all")), **{name: way for name, way in WAYS.items() if way[0] == "bm25"}}


def _recalls(
    questions: pd.DataFrame,  # questions
    library: Library,  # a library
    right: dict[str, set[str]],  # for each question's id the ids of its passages
    ways: dict[str, tuple],  # ways to search
    groups: dict[str, pd.Series],  # for each name of an exam: which questions are in it
) -> list[dict]:  # a row an exam, way and k: recall
    rows = []
    for way, (how, ask, *rerank) in ways.items():
        found = retrieve(questions, library, max(KS), how, load_bi_encoder(*rerank, "auto") if rerank else None, ask=ask)[1]
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
    return {"recall": _recalls(questions, library, right, WAYS, groups), "missed": _missed(questions, library), "chunks": len(library), "passages": sum(counts["passages"] for counts in library.sources.values())}


def _missed(
    questions: pd.DataFrame,  # questions of the exam that comes with the package
    library: Library,  # its passages, one chunk each
) -> dict:  # figures
    "What comes first where the right passage does not: how near is it to the right one, among all passages?"
    table = library.table.to_pandas().set_index("passage")
    places, vectors = table.index.get_indexer, np.stack(table["vector"])
    first = retrieve(questions, library, 1)[1]
    right, found = places("question " + questions["id"]), places(first["passage"])
    right, found = right[right != found], found[right != found]
    near = vectors[right] @ vectors.T
    nearer = (near > near[np.arange(len(right)), found][:, None]).sum(axis=1)  # the right one itself among them
    return {"questions": len(questions), "missed": len(right), "nearest": round(float((nearer == 1).mean()), 4), "among the ten nearest": round(float((nearer <= 10).mean()), 4)}


def _elsewhere(
    data: Path,  # a folder with questions that come with passages
) -> dict[str, tuple[pd.DataFrame, list[str]]]:  # for each exam its questions and other passages
    like_exam = read_questions(data / "extra_1k_with_context.csv", strict=False)
    leads = pd.read_csv(data / "corpora" / "wikipedia_vital_leads.csv.gz", dtype=str, keep_default_na=False)["text"]
    sciq = read_questions(data / "sets" / "sciq.csv.gz", strict=False, ragged=True)
    sciq = sciq[has_passage(sciq)]
    others = sciq.loc[sciq["source"] == "sciq/train", "context"].sample(1_500, random_state=0)
    return {"questions with passages": (like_exam, leads.sample(1_500, random_state=0).tolist()), "SciQ valid": (sciq[sciq["source"] == "sciq/valid"], others.tolist())}


def choice(
    folder: Path,  # where libraries are kept
    data: Path | None,  # a folder with questions that come with passages
) -> dict:  # figures
    "What words should count in a sum with vectors, by questions of two other exams; a passage that holds half of the right one is right too."
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for exam, (questions, others) in _elsewhere(data).items():
        source = folder / f"{exam}.csv"
        ids = [f"own {name}" for name in questions["id"]]
        pd.DataFrame({"id": [*ids, *(f"other {number}" for number in range(len(others)))], "text": [*questions["context"], *others]}).to_csv(source, index=False)
        library = build_library(source, folder / exam)
        asked = {ask: [own[0] for own in queries(questions, ask)] for ask in ("prompt", "all")}
        lists = {(by, ask): search(library, texts, 100, by) for by in ("bm25", "vectors") for ask, texts in asked.items()}
        table = library.table.search().select(["passage", "text"]).limit(len(library)).to_pandas()
        right = {name: {own} for name, own in zip(questions["id"], ids)}
        for question, chunk, _ in contained(questions["context"].tolist(), table["text"].tolist(), .5):
            right[questions["id"].iloc[question]].add(table["passage"].iloc[chunk])
        ways = {f"words count {words}": (words, lists.values()) for words in (0.0, .1, .2, .3, .4, .5, 1.0)}
        ways["reciprocal ranks"] = (.5, [hits.assign(score=1 / (60 + hits["rank"])) for hits in lists.values()])
        for way, (words, own) in ways.items():
            found = with_texts(library, fuse([*own], max(KS), [words, words, 1 - words, 1 - words]))
            figures = recall(found.assign(question=questions["id"].to_numpy()[found["query"]]), right, KS)
            rows += [{"exam": exam, "way": way, "k": k, "recall": round(float(value), 4)} for k, value in figures.items()]
            print(exam, way, figures.round(3).tolist(), flush=True)
    return {"recall": rows}


def _official_library(
    folder: Path,  # where libraries are kept
    data: Path,  # a folder with the competition's questions and passages
) -> Library:  # contexts of the 200 questions among 52,000 other passages, words only
    own = [{"id": f"official {name}/{number}", "text": text} for name, *both in official_contexts(data).itertuples() for number, text in enumerate(both, 1)]
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
    return {"recall": _recalls(questions, library, right, BY_WORDS, {"official 200": questions["id"] != ""}), "chunks": len(library), "passages": sum(counts["passages"] for counts in library.sources.values())}


SIZES = [100_000, 1_000_000]  # of libraries whose memory is measured


def _written(
    path: Path,  # a CSV to write
    n: int,  # how many passages
) -> Path:  # the CSV: passages of a hundred words, drawn from those that ship, one word in twenty a rare one that is made up
    if not path.is_file():
        draw, shipped_words = np.random.default_rng(n), np.array([word for passage in read_passages("sample") for word in passage.text.replace('"', "").split()], object)
        with open(path, "w", encoding="utf-8") as file:
            file.write("id,title,text\n")
            for start in range(0, n, 10_000):
                drawn = shipped_words[draw.integers(len(shipped_words), size=(min(10_000, n - start), 100))]
                rare = draw.random(drawn.shape) < .05
                drawn[rare] = [f"w{number}" for number in np.minimum(draw.zipf(1.2, rare.sum()), 500_000)]
                file.writelines(f'{start + row},,"{" ".join(own)}"\n' for row, own in enumerate(drawn.tolist()))
    return path


BUILD = """import sys, time
from pathlib import Path
from sciexam.library import build_library
start = time.time()
library = build_library(sys.argv[1], sys.argv[2], None, batch=int(sys.argv[3]))
print(len(library), time.time() - start, next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])"""


def _built(
    source: Path,  # a CSV
    out: Path,  # the library
    batch: int = 10_000,  # chunks to write at a time
) -> dict:  # chunks, seconds and peak memory in MB, of a process of its own
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", BUILD, source, out, str(batch)], stdout=subprocess.PIPE, text=True, check=True)
    chunks, seconds, peak = run.stdout.split()
    return {"chunks": int(chunks), "seconds": round(float(seconds), 1), "passages_per_second": round(int(chunks) / float(seconds)), "peak_mb": int(peak) // 1024}


PEERS = {"bm25s": """import bm25s
corpus = bm25s.tokenize([row[2] for row in rows()], stopwords="en", show_progress=False)
index = bm25s.BM25()
index.index(corpus, show_progress=False)
index.save(sys.argv[2])
done()
find = lambda text: index.retrieve(bm25s.tokenize(text, stopwords="en", show_progress=False), k=10, show_progress=False)""", "tantivy": """import os, tantivy
builder = tantivy.SchemaBuilder()
builder.add_text_field("id", stored=True, tokenizer_name="raw")
builder.add_text_field("text", stored=True, tokenizer_name="en_stem")
os.makedirs(sys.argv[2])
index = tantivy.Index(builder.build(), path=sys.argv[2])
writer = index.writer(128_000_000, 2)
for row in rows():
    writer.add_document(tantivy.Document(id=row[0], text=row[2]))
writer.commit()
writer.wait_merging_threads()
index.reload()
done()
searcher = index.searcher()
find = lambda text: searcher.search(tantivy.Query.boolean_query([(tantivy.Occur.Should, index.parse_query(text, ["text"]))]), 10)"""}
PEER = """import csv, json, statistics, sys, time
start, took = time.time(), []
def rows():
    with open(sys.argv[1], newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        next(reader)
        yield from reader
def done():
    took.append(time.time() - start)
%s
for text in json.loads(sys.argv[3]):
    begun = time.perf_counter()
    find(text)
    took.append(time.perf_counter() - begun)
print(took[0], 1000 * statistics.median(took[1:]), next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])"""


def _asked() -> list[str]:  # fifty queries: questions of the exam that ships, with all options
    return [own[0] for own in queries(sample_questions()[::14])]


def _peer(
    name: str,  # 'bm25s' or 'tantivy'
    source: Path,  # a CSV
    n: int,  # passages in it
    out: Path,  # its index
) -> dict | None:  # the same figures as `_built`, and milliseconds a query; None if the package is not installed
    if not find_spec(name):
        return None
    texts = [" ".join(re.findall(r"\w+", text)) for text in _asked()]  # no peer takes every sign
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", PEER % PEERS[name], source, out, json.dumps(texts)], stdout=subprocess.PIPE, text=True, check=True)
    seconds, milliseconds, peak = map(float, run.stdout.split())
    return {"chunks": n, "seconds": round(seconds, 1), "passages_per_second": round(n / seconds), "peak_mb": int(peak) // 1024, "query_ms": round(milliseconds, 1)}


def memory(
    folder: Path,  # where libraries are kept
    data: Path | None,  # not needed here
) -> dict:  # figures
    "Building libraries of words of several sizes: peak memory, passages a second, milliseconds a query; and two peers at the largest size."
    figures, load = {}, lambda: round(os.getloadavg()[0] / (os.cpu_count() or 1), 1)  # times tell little on a machine with other work, memory does
    folder.mkdir(parents=True, exist_ok=True)
    for n in SIZES:
        source, seconds = _written(folder / f"made_{n}.csv", n), []
        row = _built(source, folder / f"made_{n}")
        library = open_library(folder / f"made_{n}")
        for text in _asked()[:2] + _asked():
            start = time.perf_counter()
            search(library, [text], 10)
            seconds.append(time.perf_counter() - start)
        figures[f"{n} chunks"] = row | {"query_ms": round(1000 * float(np.median(seconds[2:])), 1), "load": load()}
        print(figures[f"{n} chunks"], flush=True)
        peers = {f"{name}, {n} passages": _peer(name, source, n, folder / f"{name}_{n}") for name in PEERS} if n == max(SIZES) else {}
        figures |= {name: row | {"load": load()} for name, row in peers.items() if row}
        print(peers, flush=True)
    return figures


N_EMBEDDED = 1_000  # passages to embed


def vectors(
    folder: Path,  # not needed here
    data: Path | None,  # not needed here
) -> dict:  # figures
    "Passages a second that are embedded, by `SentenceTransformer.encode` in float32 and by the scoring engine, in turn; the better of two rounds each."
    texts = [part for passage in read_passages("sample") for part in chunks(passage.text, passage.title)]
    texts = [f"{number} {text}" for number in range(math.ceil(N_EMBEDDED / len(texts))) for text in texts][:N_EMBEDDED]
    model, rates = load_bi_encoder("minilm"), {}
    ways = {"encode, float32": lambda own: model.encode(own, show_progress_bar=False), **{f"ours, {precision}": partial(embed, model, role="option", precision=precision) for precision in ("float32", "auto")}}
    if find_spec("openvino"):
        ways["ours, auto, by OpenVINO"] = partial(embed, load_bi_encoder("minilm", "openvino"), role="option", precision="auto")
    for way in ways.values():
        way(texts[:10])
    for _ in range(2):
        for name, way in ways.items():
            start = time.perf_counter()
            way(texts)
            rates[name] = max(rates.get(name, 0), round(len(texts) / (time.perf_counter() - start), 1))
            print(name, rates[name], flush=True)
    return {"passages": len(texts), "passages_per_second": rates}


def kills(
    folder: Path,  # where libraries are kept
    data: Path | None,  # not needed here
) -> dict:  # figures
    "Twenty kills at random moments of building, and the table beside that of an unbroken run."
    folder.mkdir(parents=True, exist_ok=True)
    source, rng, killed = _written(folder / "made_20000.csv", 20_000), random.Random(0), 0
    with tempfile.TemporaryDirectory(dir=folder) as place:
        longest = _built(source, Path(place) / "unbroken", 1_000)["seconds"] + 2
        while killed < 20:
            run = subprocess.Popen([sys.executable, "-W", "ignore", "-c", BUILD, source, f"{place}/broken", "1000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                run.wait(rng.uniform(1, longest))
                shutil.rmtree(f"{place}/broken")  # it was done: begin anew
            except subprocess.TimeoutExpired:
                run.kill()
                killed += 1
            run.wait()
        _built(source, Path(place) / "broken", 1_000)
        tables = [open_library(f"{place}/{name}").table.to_pandas().sort_values("id", ignore_index=True) for name in ("unbroken", "broken")]
    return {"kills": killed, "chunks": len(tables[0]), "equal": bool(tables[0].equals(tables[1]))}


PARTS = {"choice": choice, "shipped": shipped, "official": official, "memory": memory, "vectors": vectors, "kills": kills}
READS = ("reading-data", "reading")  # in benchmarks/reading.py


def main() -> None:
    "Run parts and keep their figures."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"what to measure: {', '.join([*PARTS, *READS])}; all of it if none is named")
    parser.add_argument("--folder", type=Path, help="where libraries are kept, to go on from; a temporary folder if none is named")
    parser.add_argument("--data", type=Path, default=os.environ.get("SCIEXAM_DATA"), help="folder with the competition's questions and the passages")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="passages of the libraries whose memory is measured")
    parser.add_argument("--data-folder", type=Path, help="folder for the questions and passages that a reader learns from and is judged by; in --folder if none is named")
    parser.add_argument("--model", default="minilm", help="what a reader starts from: minilm or a folder")
    parser.add_argument("--rows", type=int, help="most rows that the chosen reader learns from, each a question with a passage")
    parser.add_argument("--questions", type=int, help="most questions of a part that a reader learns from or is judged by, to try it out")
    parser.add_argument("--out", type=Path, default=Path("nbs/results/open_book.json"), help="the JSON file to write figures to")
    given = parser.parse_args()
    SIZES[:] = given.sizes
    with tempfile.TemporaryDirectory() as temporary:
        folder, data = given.folder or Path(temporary), given.data and Path(given.data)
        questions = given.data_folder or folder / "reading"
        parts = {
            **PARTS, "reading-data": lambda folder, data: reading_data(folder, data, questions),
            "reading": lambda folder, data: reading(folder / "readers", questions, given.model, given.rows, given.questions),
        }
        for part in given.parts or parts:
            figures = parts[part](folder, data)
            kept = json.loads(given.out.read_text()) if given.out.is_file() else {}
            write_text(given.out, json.dumps({**kept, part: {**(kept.get(part) or {}), **figures}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
