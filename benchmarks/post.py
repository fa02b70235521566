"""The steps of the post, as its functions take them: one question at a time, float32, `fit` on shuffled pairs."""

import logging
import warnings

import numpy as np
import pandas as pd

from sciexam.data import option_letters
from sciexam.split import pivot_long


def predict(
    questions: pd.DataFrame,  # n questions with five options, or as many as all have
    model: object,  # a bi-encoder
) -> list[list[str]]:  # three letters a question, best first
    "Encode the prompt, then its options, and search them by cosine."
    from sentence_transformers import util

    letters, answers = option_letters(questions), []
    for _, row in questions.iterrows():
        query = model.encode(row["prompt"], convert_to_tensor=True)
        corpus = model.encode(row[letters].tolist(), convert_to_tensor=True)
        hits = util.semantic_search(query, corpus, top_k=3, score_function=util.cos_sim)[0]
        answers.append([letters[hit["corpus_id"]] for hit in hits])
    return answers


def predict_ce(
    questions: pd.DataFrame,  # n questions
    model: object,  # a cross-encoder
) -> list[list[str]]:  # all letters, best first
    "Score the pairs of one question, and sort."
    letters, answers = option_letters(questions), []
    for _, row in questions.iterrows():
        scores = model.predict([[row["prompt"], row[letter]] for letter in letters])
        answers.append([letters[i] for i in np.argsort(scores)[::-1]])
    return answers


def mean_avg_precision(
    predicted: list[list[str]],  # letters of n questions, best first
    answers: list[str],  # n right letters
    max_labels: int = 3,  # how many letters count
) -> float:  # MAP@max_labels
    "The metric by a loop over questions and places, with NumPy arrays of three letters."
    points = np.empty(len(predicted))
    for i, answer in enumerate(answers):
        labels = np.array(predicted[i][:max_labels])
        right = labels == answer
        right = right[: np.argmax(right) + 1] if any(right) else right
        shares = np.empty(len(right))
        for k in range(len(right)):
            hits, misses = sum(labels[: k + 1] == answer), sum(labels[: k + 1] != answer)
            shares[k] = hits / (hits + misses)
        points[i] = np.sum(right.astype(int) * shares)
    return float(np.mean(points))


def fit(
    model: object,  # a bi-encoder or a cross-encoder, changed in place
    train: pd.DataFrame,  # questions to learn from
    dev: pd.DataFrame,  # questions for the evaluator
    out: str,  # folder for the model
    epochs: int = 4,  # passes over the pairs
) -> None:
    "Train by the library's old `fit`, with `InputExample`s in random batches of 16."
    from sentence_transformers import InputExample
    from torch.utils.data import DataLoader

    def examples(questions: pd.DataFrame, number: type) -> list:
        return [InputExample(texts=[row.prompt, row.option], label=number(row.label)) for row in pivot_long(questions).itertuples()]

    cross = hasattr(model, "predict")
    loader = DataLoader(examples(train, float if cross else int), shuffle=True, batch_size=16)
    warmup = int(len(loader) * epochs * 0.1)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if cross:
            from sentence_transformers.cross_encoder.evaluation import CEBinaryClassificationEvaluator

            evaluator = CEBinaryClassificationEvaluator.from_input_examples(examples(dev, int), write_csv=False)
            model.fit(train_dataloader=loader, evaluator=evaluator, epochs=epochs, warmup_steps=warmup, evaluation_steps=10_000, output_path=out, show_progress_bar=False)
        else:
            from sentence_transformers.losses import ContrastiveLoss
            from sentence_transformers.evaluation import BinaryClassificationEvaluator

            evaluator = BinaryClassificationEvaluator.from_input_examples(examples(dev, int), name="dev", write_csv=False)
            model.fit([(loader, ContrastiveLoss(model=model))], evaluator=evaluator, epochs=epochs, warmup_steps=warmup, output_path=out, show_progress_bar=False)
