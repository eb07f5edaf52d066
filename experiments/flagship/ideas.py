"""Screens ideas for the flagship on validation: a linear collective-EASE channel inside a LightGCN/FREEDOM-like model.

    python experiments/flagship/ideas.py loo=0 lam=431 w=70 sym=1 epochs=18 log=FILE

This came before the flagship's model and is kept apart from it, so that the first lines of the research log can be run
again. Every idea is an option, ``key=value`` (see ``ideas_options.py``), off by default except ``loo`` and ``learnw``.
A line per evaluation and a last line with the best epoch by validation Recall@20 are printed. The test split is never
read.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from ideas_options import Options
from safetensors.torch import save_file
from scipy.sparse import csr_array
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from graphrec import Dataset, build_graph, load_dataset
from graphrec.evaluation.ranking import evaluate
from graphrec.graph.behavior import add_gram, gram_matrix, interaction_matrix, ridge_inverse
from graphrec.graph.build import item_operator, item_relations
from graphrec.graph.neighbors import item_features
from graphrec.graph.transforms import both_ways, degree, row_norm, symmetric_norm
from graphrec.models.base import Batch, Embeddings
from graphrec.models.pairwise import PrunedInteractions, batch_l2, embedding_table, interactions_of, pair_scores
from graphrec.nn.losses import bpr, sampled_softmax
from graphrec.nn.propagation import light_gcn
from graphrec.nn.sparse import SparseOperator
from graphrec.runtime import generator
from graphrec.training.sampling import PairLoader

MODALITIES = ("text", "image", "audio", "vggish", "whisper")
CONTRASTED = 1024  # users and items of a batch in the contrastive loss


class Best(NamedTuple):
    """The best epoch so far by Recall@20, and the training seconds to it."""

    recall: float = 0.0
    ndcg: float = 0.0
    epoch: int = 0
    seconds: float = 0.0


@torch.no_grad()
def validation(data: Dataset, function: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    """Returns Recall@20 and NDCG@20 on validation of a function from user rows to scores."""
    split, scorer = data.split, SimpleNamespace(score=function)
    found = evaluate(scorer, seen=split.train, truth=split.valid, metrics=("recall", "ndcg"), ks=(20,)).mean()
    return found["Recall@20"], found["NDCG@20"]


def channel_of(graph: HeteroData, options: Options) -> Tensor:
    """Returns the scores of collective EASE ``(num_users, num_items)``, float32, of the rank asked for."""
    seen = interaction_matrix(graph)
    gram = gram_matrix(seen.T.tocsr())
    for modality in options.cmod.split("+") if options.alpha else ():
        add_gram(gram, item_features(graph, modality), options.alpha)
    inverse = ridge_inverse(gram, options.lam)
    diagonal = inverse.diagonal().copy()
    product = seen.astype(np.float64) @ inverse
    if options.loo:  # Sherman–Morrison: the inverse without the user's row
        leverage = np.asarray(seen.multiply(product).sum(axis=1)).ravel()
        scores = -product / ((1 - leverage)[:, None] * diagonal + product**2)
    else:
        scores = -product / diagonal
    scores[seen.nonzero()] += 1
    scores = scores.astype(np.float32)
    if options.rank:
        left, singular, right = randomized_svd(scores, options.rank, n_iter=2, random_state=0)
        scores = (left * singular) @ right
    return torch.from_numpy(scores)


def item_graph(graph: HeteroData, options: Options) -> SparseOperator | None:
    """Returns the weighted sum of the modalities' normalised item graphs, or ``None`` where all weights are 0."""
    num_items = int(graph["item"].num_nodes)
    edges, weights = [], []
    shares = {name: getattr(options, name) for name in item_relations(graph) if name in MODALITIES}
    for modality in filter(shares.get, shares):
        edge_index, weight = item_operator(graph, modality)
        if options.sym:
            directed = edge_index
            edge_index, weight = both_ways(edge_index)
            if options.snn:
                weight = shared_neighbors(directed, edge_index, num_items) ** options.snn
        if options.hub != 0.5:
            ends = [degree(end, num_items, weight).clamp(min=1e-12) for end in edge_index]
            weight = (
                ends[0][edge_index[0]] ** -options.hub
                * ends[1][edge_index[1]] ** (options.hub - 1)
                * (1.0 if weight is None else weight)
            )
        elif options.snorm:
            weight = symmetric_norm(edge_index, num_items, num_items, weight)
        else:
            weight = row_norm(edge_index, num_items, weight)
        edges.append(edge_index)
        weights.append(weight * shares[modality])
    if not edges:
        return None
    return SparseOperator(torch.cat(edges, 1), torch.cat(weights), num_sources=num_items, num_targets=num_items)


def shared_neighbors(lists: Tensor, edge_index: Tensor, num_items: int) -> Tensor:
    """Returns the Jaccard similarity of the neighbour lists of an edge's ends, each item in its own list."""
    own = torch.arange(num_items).expand(2, -1)
    row, col = torch.cat([lists, own], 1).unique(dim=1).numpy()
    table = csr_array((np.ones(len(row), dtype=np.float32), (row, col)), shape=(num_items, num_items))
    size = torch.from_numpy(np.asarray(table.sum(axis=1)).ravel())
    first, second = edge_index
    common = torch.from_numpy(np.asarray(table[first.numpy()].multiply(table[second.numpy()]).sum(axis=1)).ravel())
    return common / (size[first] + size[second] - common)


def user_graph(channel: Tensor, options: Options) -> SparseOperator:
    """Returns the mean over each user's neighbours by the cosine of their scores in the channel."""
    rows = F.normalize(channel - channel.mean(dim=0), dim=-1)
    found = []
    for start in range(0, len(rows), 1024):
        near = rows[start : start + 1024] @ rows.T
        near[torch.arange(len(near)), torch.arange(start, start + len(near))] = -torch.inf
        found.append(near.topk(options.uk, dim=1).indices)
    near = torch.cat(found)
    source, target = near.flatten(), torch.arange(len(rows)).repeat_interleave(options.uk)
    weight = torch.full((source.numel(),), 1 / options.uk)
    return SparseOperator(torch.stack([source, target]), weight, num_sources=len(rows), num_targets=len(rows))


def hard_bpr(positive: Tensor, negative: Tensor, batch: Batch, temperature: float) -> Tensor:
    """Returns bpr with the negatives of a pair weighted by a softmax of their scores."""
    share = (negative.detach() / temperature).softmax(dim=1)
    return (F.softplus(negative - positive[:, None]) * share).sum(dim=1).mean()


def noisy(rows: Tensor, eps: float) -> Tensor:
    """Returns rows of length 1 with noise ``eps`` times as long as they were, in their own orthant."""
    noise = torch.sign(rows) * F.normalize(torch.rand_like(rows), dim=-1)
    return F.normalize(rows + noise * eps * rows.norm(dim=-1, keepdim=True).detach(), dim=-1)


def contrastive(embeddings: Embeddings, batch: Batch, options: Options) -> Tensor:
    """Returns the contrastive loss of two noisy views of the users and of the items of a batch."""
    loss = torch.zeros(())
    for table, rows in zip(embeddings, (batch.user, batch.positive), strict=True):
        chosen = table[rows.unique()[:CONTRASTED]]
        first, second = noisy(chosen, options.eps), noisy(chosen, options.eps)
        loss = loss + F.cross_entropy(first @ second.T / options.clt, torch.arange(len(chosen)))
    return loss


class Ideas(nn.Module):
    """LightGCN with item graphs, to whose scores a weighted linear channel is added.

    Args:
        graph: The training graph.
        channel: The scores of the linear channel ``(num_users, num_items)``, or ``None``.
        options: The options.
    """

    def __init__(self, graph: HeteroData, channel: Tensor | None, options: Options) -> None:
        super().__init__()
        num_users, num_items = int(graph["user"].num_nodes), int(graph["item"].num_nodes)
        self.options, self.channel = options, channel
        self.user, self.item = embedding_table(num_users, options.dim), embedding_table(num_items, options.dim)
        edges = interactions_of(graph)
        self.interactions = PrunedInteractions(edges, num_users, num_items, keep=options.keep, seed=options.seed)
        self.similar = item_graph(graph, options)
        self.near_users = user_graph(channel, options) if options.uu and channel is not None else None
        self.weight = nn.Parameter(torch.tensor(options.w))
        self.bias = nn.Parameter(torch.zeros(num_items)) if options.bias else None

    def embed(self, operator: SparseOperator, user: Tensor, item: Tensor) -> Embeddings:
        """Returns the embeddings that propagation over the interactions and the item graphs makes of the tables."""
        options, similar = self.options, self.similar
        if similar is None:
            return Embeddings(*light_gcn(operator, user, item, options.layers))
        near = similar(item)
        start = item + options.early * near if options.early else item
        users, items = light_gcn(operator, user, start, options.layers)
        if options.two:
            items = items + options.two * similar(near)
        for _ in range(options.hops - 1):
            near = similar(near)
        if self.near_users is not None:
            users = users + options.uu * self.near_users(user)
        return Embeddings(users, items + near)

    def pairs(self, embeddings: Embeddings, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns the scores of the positives ``(B,)`` and of the negatives ``(B, K)``."""
        positive, negative = pair_scores(embeddings, batch)
        if self.channel is not None:
            of_positive = self.channel[batch.user, batch.positive]
            of_negative = self.channel[batch.user.unsqueeze(1), batch.negative]
            if self.options.cdrop:
                kept = (torch.rand(len(of_positive)) > self.options.cdrop).float()
                of_positive, of_negative = of_positive * kept, of_negative * kept[:, None]
            positive, negative = positive + self.weight * of_positive, negative + self.weight * of_negative
        if self.bias is not None:
            positive, negative = positive + self.bias[batch.positive], negative + self.bias[batch.negative]
        return positive, negative

    def loss(self, batch: Batch) -> Tensor:
        """Returns the loss of a batch."""
        options = self.options
        embeddings = self.embed(self.interactions.pruned, self.user, self.item)
        positive, negative = self.pairs(embeddings, batch)
        if options.hard:
            loss = hard_bpr(positive, negative, batch, options.hard)
        elif options.loss == "bpr":
            loss = bpr(positive, negative, batch.known)
        else:
            loss = sampled_softmax(positive, negative, options.tau, batch.known)
        if options.l2:
            loss = loss + options.l2 * batch_l2(Embeddings(self.user, self.item), batch)
        if options.cl:
            loss = loss + options.cl * contrastive(embeddings, batch, options)
        return loss

    def scores(self, embeddings: Embeddings, users: Tensor) -> Tensor:
        """Returns the scores of all items ``(len(users), num_items)``."""
        total = embeddings.user[users] @ embeddings.item.T
        if self.channel is not None:
            total = total + self.weight * self.channel[users]
        return total if self.bias is None else total + self.bias


class Training:
    """Adam over the batches of a run, with the decay of the learning rate and the mean of the embeddings."""

    def __init__(self, model: Ideas, data: Dataset, options: Options) -> None:
        self.model, self.options = model, options
        self.loader = PairLoader(
            data.split.train, batch_size=options.batch, negatives=options.neg, shared=not options.own
        )
        free = [model.user, model.item] if model.bias is None else [model.user, model.item, model.bias]
        groups = [{"params": free, "lr": options.lr}]
        if model.channel is not None and options.learnw:
            groups.append({"params": [model.weight], "lr": options.lr * options.wlr})
        self.optimizer = torch.optim.Adam(groups, fused=True)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.step = 0
        self.average: Embeddings | None = None

    def epoch(self, epoch: int) -> float:
        """Trains on every pair once and returns the mean loss."""
        self.model.interactions.refresh(epoch)
        total = 0.0
        for batch in self.loader.epoch(generator(self.options.seed, epoch)):
            loss = self.model.loss(batch)
            self.optimizer.zero_grad()
            loss.backward()
            self._anneal()
            self.optimizer.step()
            self.step += 1
            total += loss.item()
            self._follow()
        return total / len(self.loader)

    def tables(self) -> Embeddings:
        """Returns the embeddings before propagation, or their running mean where there is one."""
        return self.average or Embeddings(self.model.user, self.model.item)

    def _anneal(self) -> None:
        if self.options.decay:
            factor = 0.5 * (1 + math.cos(math.pi * self.step / (self.options.epochs * len(self.loader))))
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor

    @torch.no_grad()
    def _follow(self) -> None:
        tables = Embeddings(self.model.user, self.model.item)
        if self.options.ema and self.average is None:
            self.average = Embeddings(*(table.clone() for table in tables))
        elif self.average is not None:
            for mean, table in zip(self.average, tables, strict=True):
                mean.lerp_(table, 1 - self.options.ema)


def run(data: Dataset, model: Ideas, options: Options) -> Best:
    """Trains until the patience ends, prints every evaluation and returns the best."""
    training = Training(model, data, options)
    best, waited, spent = Best(), 0, 0.0
    for epoch in range(1, options.epochs + 1):
        began = time.perf_counter()
        loss = training.epoch(epoch - 1)
        spent += time.perf_counter() - began
        if epoch % options.every:
            continue
        with torch.no_grad():
            embeddings = model.embed(model.interactions.full, *training.tables())
        recall, ndcg = validation(data, lambda users, found=embeddings: model.scores(found, users))
        weight = model.weight.item()
        print(f"{epoch} loss {loss:.4f} R {recall:.4f} N {ndcg:.4f} W {weight:.4f} t {spent:.0f}", flush=True)
        if recall > best.recall:
            best, waited = Best(recall, ndcg, epoch, spent), 0
            if options.save:
                save_file({**embeddings._asdict(), "weight": model.weight.detach()}, options.save)
            continue
        waited += 1
        if waited >= options.patience:
            break
    return best


def main() -> None:
    """Runs the options of the command line and prints the line of the log."""
    arguments = sys.argv[1:]
    options = Options.parse(arguments)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    data = load_dataset(options.data)
    graph = build_graph(data)
    channel = channel_of(graph, options) if options.w else None
    if channel is not None:
        recall, ndcg = validation(data, lambda users: channel[users].clone())
        print(f"channel alone {recall:.4f} {ndcg:.4f} std {float(channel[::50].std())}", flush=True)
    if not options.epochs:
        return
    torch.manual_seed(options.seed)
    best = run(data, Ideas(graph, channel, options), options)
    shown = " ".join(argument for argument in arguments if not argument.startswith("log="))
    line = f"{shown} => R {best.recall:.4f} N {best.ndcg:.4f} epoch {best.epoch} t {best.seconds:.0f}"
    print(line)
    if options.log:
        with Path(options.log).open("a") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main()
