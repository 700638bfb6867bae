#!/usr/bin/env python3
"""Writes losses.safetensors: losses, their gradients and clipped norms by PyTorch, scores by their definitions.

Run it with any PyTorch (1.13 made the committed file): python3 make_losses.py
Losses are computed in f64 from values that f32 holds exactly. Scores are counted here in plain NumPy, the slow way
that a definition reads: F1 class by class, ROC-AUC over all pairs of a positive and a negative.
"""

import pathlib

import numpy as np
import torch
from make_golden import write_safetensors


def cross_entropy_case(rng, rows, classes, is_weighted, smoothing):
    logits = (3 * rng.standard_normal((rows, classes))).astype("f4")
    targets = rng.integers(-1, classes, rows).astype("i4")
    weights = rng.uniform(0, 2, classes).astype("f4") if is_weighted else None
    if is_weighted and classes > 2:
        weights[1] = 0
    x = torch.from_numpy(logits).double().requires_grad_()
    loss = torch.nn.functional.cross_entropy(
        x, torch.from_numpy(targets.astype("i8")), ignore_index=-1, label_smoothing=float(np.float32(smoothing)),
        weight=torch.from_numpy(weights).double() if is_weighted else None)
    loss.backward()
    case = {"logits": logits, "targets": targets, "smoothing": np.array([smoothing], "f4"),
            "loss": np.array([loss.item()]), "gradient": x.grad.numpy()}
    return case | ({"weights": weights} if is_weighted else {})


def binary_case(rng, rows, columns, unknown_share):
    logits = (3 * rng.standard_normal((rows, columns))).astype("f4")
    logits[0, 0], logits[-1, -1] = 90, -90  # far beyond what exp() holds in f32
    labels = rng.integers(0, 2, (rows, columns)).astype("f4")
    labels[rng.uniform(size=labels.shape) < unknown_share] = np.nan
    labels[0, 0], labels[-1, -1] = 0, 1
    x = torch.from_numpy(logits).double().requires_grad_()
    known = torch.from_numpy(~np.isnan(labels))
    y = torch.from_numpy(labels).double()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(x[known], y[known])
    loss.backward()
    return {"logits": logits, "labels": labels, "loss": np.array([loss.item()]), "gradient": x.grad.numpy()}


def clipping_case(rng, size, scale, norm_max):
    values = (scale * rng.standard_normal(size)).astype("f4")
    parameter = torch.nn.Parameter(torch.zeros(size, dtype=torch.float64))
    parameter.grad = torch.from_numpy(values).double()
    norm = torch.nn.utils.clip_grad_norm_([parameter], float(np.float32(norm_max)))
    return {"values": values, "norm_max": np.array([norm_max], "f4"), "norm": np.array([norm.item()]),
            "clipped": parameter.grad.numpy()}


def macro_f1(labels, predictions):
    """scikit-learn's f1_score(average="macro"): over the classes that occur in either."""
    scores = []
    for c in np.union1d(labels, predictions):
        right = np.sum((labels == c) & (predictions == c))
        scores.append(2 * right / (np.sum(labels == c) + np.sum(predictions == c)))
    return np.mean(scores)


def roc_auc(labels, scores):
    """How often a positive's score is above a negative's; a tie is half. None without both."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    if len(positives) == 0 or len(negatives) == 0:
        return None
    wins = sum(np.sum(p > negatives) + 0.5 * np.sum(p == negatives) for p in positives)
    return wins / (len(positives) * len(negatives))


def class_scores_case(rng, rows, classes, used):
    """Classes from `used` on occur in neither labels nor predictions."""
    logits = rng.standard_normal((rows, classes)).astype("f4")
    logits[:, used:] = -9
    labels = rng.integers(-1, max(used - 1, 1), rows).astype("i4")  # the last used class is only predicted
    labels[0] = 0
    known = labels >= 0
    predictions = logits.argmax(axis=1)
    return {"logits": logits, "targets": labels, "f1": np.array([macro_f1(labels[known], predictions[known])]),
            "accuracy": np.array([np.mean(labels[known] == predictions[known])])}


def binary_scores_case(rng, rows, columns, levels, unknown_share):
    """Scores of few levels tie; column 0 has only positives, column 1 no label at all, as far as there are such."""
    logits = rng.integers(-levels, levels + 1, (rows, columns)).astype("f4")
    logits[logits == 0] *= rng.choice([-1, 1])  # -0.0 ties with 0.0
    logits[::3][logits[::3] == 0] = 0.0
    labels = (rng.uniform(size=logits.shape) < 1 / (1 + np.exp(-logits / levels))).astype("f4")
    labels[rng.uniform(size=labels.shape) < unknown_share] = np.nan
    if columns > 2:
        labels[:, 0][~np.isnan(labels[:, 0])] = 1
        labels[:, 1] = np.nan
    known = ~np.isnan(labels)
    areas = [roc_auc(labels[known[:, c], c], logits[known[:, c], c]) for c in range(columns)]
    predictions = (logits > 0).astype("f4")
    if columns == 1:
        f1 = macro_f1(labels[known], predictions[known])
    else:  # each column's positives, 0 where there are none in labels and predictions
        parts = []
        for c in range(columns):
            y, p = labels[known[:, c], c], predictions[known[:, c], c]
            total = np.sum(y == 1) + np.sum(p == 1)
            parts.append(2 * np.sum((y == 1) & (p == 1)) / total if total else 0.0)
        f1 = np.mean(parts)
    return {"logits": logits, "labels": labels, "rocauc": np.array([np.mean([a for a in areas if a is not None])]),
            "f1": np.array([f1]), "accuracy": np.array([np.mean(predictions[known] == labels[known])])}


if __name__ == "__main__":
    rng = np.random.default_rng(7)
    cases = {}
    for classes in (2, 7, 47):
        for is_weighted in (False, True):
            for smoothing in (0, 0.1):
                cases[f"cross_entropy.{len(cases)}"] = cross_entropy_case(rng, 29, classes, is_weighted, smoothing)
    for rows, columns, unknown_share in ((40, 1, 0), (40, 1, 0.3), (23, 17, 0.4), (9, 112, 0.9)):
        cases[f"binary.{len(cases)}"] = binary_case(rng, rows, columns, unknown_share)
    for size, scale, norm_max in ((1, 5, 1), (1000, 1, 0.5), (1000, 0.001, 0.5)):
        cases[f"clipping.{len(cases)}"] = clipping_case(rng, size, scale, norm_max)
    for rows, classes, used in ((50, 2, 2), (200, 9, 9), (60, 9, 5), (1, 3, 3)):
        cases[f"class_scores.{len(cases)}"] = class_scores_case(rng, rows, classes, used)
    for rows, columns, levels, unknown_share in ((60, 1, 3, 0), (200, 1, 500, 0.2), (80, 6, 4, 0.3), (90, 5, 100, 0)):
        cases[f"binary_scores.{len(cases)}"] = binary_scores_case(rng, rows, columns, levels, unknown_share)
    tensors = {f"{case}.{name}": array for case, arrays in cases.items() for name, array in arrays.items()}
    write_safetensors(pathlib.Path(__file__).parent / "losses.safetensors", tensors,
                      {"torch": torch.__version__, "cases": " ".join(cases)})
