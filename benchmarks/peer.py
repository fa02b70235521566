"""A backend of sentence-transformers in an environment of its own: it needs nothing of ours.

python peer.py BACKEND MODEL QUESTIONS.json SCORES.json

says READY and the seconds it took to begin, then scores the questions each time it is sent a line.
"""

import json
import sys
import time
import warnings


def main() -> None:
    "Load a model, then score on demand."
    start = time.perf_counter()
    warnings.simplefilter("ignore")
    backend, folder, questions, out = sys.argv[1:]
    import numpy as np
    import sentence_transformers
    import transformers
    from torch.nn import Identity

    asked = json.loads(open(questions, encoding="utf-8").read())
    prompts, options, kind = asked["prompts"], asked["options"], asked["kind"]
    settings = {"ov_config": {"INFERENCE_PRECISION_HINT": "bf16" if asked["bfloat16"] else "f32"}} if backend == "openvino" else {}
    make = sentence_transformers.CrossEncoder if kind == "cross-encoder" else sentence_transformers.SentenceTransformer
    model = make(folder, backend=backend, device="cpu", model_kwargs=settings)
    pairs = [(prompt, option) for prompt, own in zip(prompts, options) for option in own]

    def run() -> np.ndarray:
        if kind == "cross-encoder":
            return model.predict(pairs, activation_fn=Identity())
        left = model.encode_query(prompts)[np.repeat(np.arange(len(prompts)), [len(own) for own in options])]
        return model.similarity_pairwise(left, model.encode_document([option for _, option in pairs])).numpy()

    found = run()
    versions = {"sentence-transformers": sentence_transformers.__version__, "transformers": transformers.__version__}
    print("READY", json.dumps({"seconds": time.perf_counter() - start, "versions": versions}), flush=True)
    for _ in sys.stdin:
        found = run()
        print("DONE", flush=True)
    with open(out, "w", encoding="utf-8") as file:
        json.dump(np.asarray(found, float).tolist(), file)


if __name__ == "__main__":
    main()
