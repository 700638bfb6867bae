#!/usr/bin/env python3
"""torch_accuracy.py: the models of gneiss trained by plain PyTorch on the mini-batches of a preparation.

    bench/torch_accuracy.py DATASET.gneiss PREPARATION --model gat --epochs 20 [--seeds 3] [--out FILE]

Why:    what PyTorch reaches on the same sampled blocks is what gneiss is to reach. Blocks and features come from the
        files of the preparation and the dataset; models, initial values, gradients and optimizer are PyTorch's
        (tests/pytorch/pyg_models.py), random numbers its own.
Same:   epochs cycle through the sampled ones with their batches shuffled; after each the validation split, sampled as
        it is there; at the end the test split with the weights of the best epoch.
Needs:  PyTorch and NumPy. Writes one JSON object.
"""

import argparse
import copy
import json
import sys
import time
from pathlib import Path

import numpy
import torch
from torch.nn import functional

from exact_accuracy import section
from sample_frames import SamplePool

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "pytorch"))
from pyg_models import Block, SampledModel  # noqa: E402

FEATURE_ROWS, CLASS_LABELS = 10, 20


def roc_auc(scores, labels):
    """The share of pairs of a positive and a negative in which the positive ranks higher, ties by half."""
    values, ranks = numpy.unique(scores, return_inverse=True)
    counts = numpy.bincount(ranks, minlength=len(values))
    mean_rank = numpy.cumsum(counts) - (counts - 1) / 2
    positives = int(labels.sum())
    above = mean_rank[ranks][labels == 1].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(labels) - positives)))


class Batches:
    """A split's or an epoch's, ready for PyTorch."""

    def __init__(self, batches, features):
        self.features = features
        self.parts = [([Block(*block) for block in batch.blocks], torch.from_numpy(batch.targets.astype("i8")),
                       batch.input_nodes) for batch in batches]

    def __len__(self):
        return len(self.parts)

    def read(self, index):
        blocks, targets, nodes = self.parts[index]
        return torch.from_numpy(self.features[nodes].astype("f4")), blocks, targets


def loss_of(logits, targets, is_binary):
    if is_binary:
        known = targets >= 0
        return functional.binary_cross_entropy_with_logits(logits[known, 0], targets[known].float())
    return functional.cross_entropy(logits, targets, ignore_index=-1)


@torch.no_grad()
def score(model, batches, is_binary):
    model.eval()
    logits, targets = [], []
    for index in range(len(batches)):
        features, blocks, labels = batches.read(index)
        known = labels >= 0
        logits.append(model(features, blocks)[known])
        targets.append(labels[known])
    logits, targets = torch.cat(logits), torch.cat(targets)
    if is_binary:
        return roc_auc(logits[:, 0].numpy(), targets.numpy())
    return (logits.argmax(1) == targets).float().mean().item()


def train(split_batches, train_epochs, columns, classes, options, seed):
    torch.manual_seed(seed)
    is_binary = options.task == "binary"
    model = SampledModel(options.model, columns, options.hidden, 1 if is_binary else classes,
                         len(train_epochs[0].parts[0][0]), options.dropout, options.num_heads, options.aggregator)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    best, best_epoch, best_weights, seconds = -1.0, 0, None, 0.0
    for epoch in range(options.epochs):
        batches = train_epochs[epoch % len(train_epochs)]
        model.train()
        begin = time.perf_counter()
        for index in torch.randperm(len(batches)).tolist():
            features, blocks, targets = batches.read(index)
            optimizer.zero_grad()
            loss_of(model(features, blocks), targets, is_binary).backward()
            optimizer.step()
        seconds += time.perf_counter() - begin
        valid = score(model, split_batches["valid"], is_binary)
        if valid > best:
            best, best_epoch, best_weights = valid, epoch + 1, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_weights)
    return {"seed": seed, "valid": best, "best_epoch": best_epoch, "epoch_seconds": seconds / options.epochs,
            "test": score(model, split_batches["test"], is_binary)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, metavar="DATASET.gneiss")
    parser.add_argument("preparation")
    parser.add_argument("--model", default="sage", choices=("sage", "gcn", "gat", "gin", "mlp"))
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--num-heads", type=int, default=4)
    parser.add_argument("--aggregator", default="mean", choices=("mean", "max"))
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--task", default="multi-class", choices=("multi-class", "binary"))
    parser.add_argument("--seed", type=int, default=0, help="the first; default 0")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="default: standard output")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    features = numpy.array(section(options.dataset / "features.bin", FEATURE_ROWS))
    classes = 1 + int(section(options.dataset / "labels.bin", CLASS_LABELS).max())
    pool = SamplePool(options.dataset / "prepared" / options.preparation)
    train_epochs = [Batches(pool.batches("train", epoch), features) for epoch in range(pool.epochs())]
    split_batches = {split: Batches(pool.batches(split), features) for split in ("valid", "test")}
    runs = []
    for seed in range(options.seed, options.seed + options.seeds):
        runs.append(train(split_batches, train_epochs, features.shape[1], classes, options, seed))
        print(f"{options.model}, seed {seed}: valid {100 * runs[-1]['valid']:.2f}, test {100 * runs[-1]['test']:.2f}",
              file=sys.stderr, flush=True)
    text = json.dumps({"torch": torch.__version__, "model": options.model, "runs": runs}, indent=2)
    if options.out:
        options.out.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
