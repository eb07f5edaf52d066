"""Times propagation and training against the message-passing form, as ratios within one run.

    python experiments/speed_training.py [--data amazon-baby] [--steps 12] [--repeats 5]

Propagation: two LightGCN layers, forward alone and with the backward pass, ours against ``MessagePassing`` on the same
edges and, where torch-scatter is installed, against ``torch_scatter.scatter``. Training: steps of batch 2048 at
dimension 64 with the same batches and the same Adam, ours against ``torch_geometric.nn.LightGCN`` with its
``edge_index`` form, and our FREEDOM against our LightGCN. The variants take turns and the medians are compared, since
machines are noisy.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch_geometric.nn import LightGCN as PyGLightGCN

from graphrec import build_graph, load_dataset
from graphrec.models.base import Batch, Recommender
from graphrec.models.freedom import FREEDOM, FREEDOMConfig
from graphrec.models.lightgcn import LightGCN, LightGCNConfig
from graphrec.models.pairwise import interactions_of
from graphrec.nn.propagation import light_gcn
from graphrec.nn.relation_conv import RelationConv, scatter_propagate
from graphrec.runtime import generator
from graphrec.training.sampling import PairLoader

DIM, LAYERS, BATCH = 64, 2, 2048


def medians(variants: Mapping[str, Callable[[], None]], repeats: int, calls: int = 1) -> dict[str, float]:
    """Returns the median seconds of a call of every variant, which take turns of some calls after one to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(repeats + 1):
        for name, variant in variants.items():
            began = time.perf_counter()
            for _ in range(calls):
                variant()
            if turn:
                seconds[name].append((time.perf_counter() - began) / calls)
    return {name: statistics.median(values) for name, values in seconds.items()}


def propagation_variants(model: LightGCN, *, backward: bool) -> dict[str, Callable[[], None]]:
    """Returns two layers in every form, with or without the backward pass, after checking that they agree."""
    operator = model.interactions
    matrix = operator.matrices()[0].to_sparse_coo().coalesce()
    edge_index, weight = matrix.indices().flip(0), matrix.values()
    conv = RelationConv()

    def ours(user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        return light_gcn(operator, user, item, LAYERS)

    def layered(step: Callable[[Tensor, Tensor, int], Tensor]) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        def forward(user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
            users, items = user, item
            for _ in range(LAYERS):
                user, item = step(item, edge_index, len(user)), step(user, edge_index.flip(0), len(item))
                users, items = users + user, items + item
            return users / (LAYERS + 1), items / (LAYERS + 1)

        return forward

    forms = {"ours": ours, "MessagePassing": layered(lambda x, edges, n: conv(x, edges, weight, n))}
    try:
        import torch_scatter  # noqa: F401

        forms["torch_scatter"] = layered(lambda x, edges, n: scatter_propagate(x, edges, weight, n))
    except ImportError:
        print("torch-scatter is not installed: left out")
    tables = [table.detach().clone().requires_grad_() for table in (model.user_embedding, model.item_embedding)]
    expected = ours(*tables)
    for forward in forms.values():
        torch.testing.assert_close(forward(*tables), expected, rtol=1e-4, atol=1e-6)

    grads = [torch.ones_like(table) for table in tables]

    def timed(forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Callable[[], None]:
        def run() -> None:
            if backward:
                torch.autograd.grad(forward(*tables), tables, grads)
            else:
                with torch.no_grad():
                    forward(*tables)

        return run

    return {name: timed(forward) for name, forward in forms.items()}


def our_steps(model: Recommender, batches: list[Batch]) -> Callable[[], None]:
    """Returns training steps of one of our models."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def run() -> None:
        for batch in batches:
            torch.stack(list(model(batch).values())).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


def pyg_steps(edges: Tensor, num_users: int, num_items: int, batches: list[Batch]) -> Callable[[], None]:
    """Returns the same training steps of PyG's LightGCN in its ``edge_index`` form."""
    model = PyGLightGCN(num_users + num_items, DIM, LAYERS)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    forward = torch.stack([edges[0], edges[1] + num_users])
    edge_index = torch.cat([forward, forward.flip(0)], dim=1)

    def run() -> None:
        for batch in batches:
            positive, negative = batch.positive + num_users, batch.negative.flatten() + num_users
            pairs = torch.stack([batch.user.repeat(2), torch.cat([positive, negative])])
            ranks = model(edge_index, pairs).chunk(2)
            nodes = torch.cat([batch.user, positive, negative])
            model.recommendation_loss(*ranks, node_id=nodes, lambda_reg=1e-4).backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


def main() -> None:
    """Runs the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="amazon-baby")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--calls", type=int, default=10, help="propagations in a row per turn; 1 for cold caches")
    options = parser.parse_args()
    data = load_dataset(options.data)
    graph = build_graph(data)
    model = LightGCN(graph, LightGCNConfig(embedding_dim=DIM, num_layers=LAYERS))
    print(f"{options.data}: {data.num_users} users, {data.num_items} items, {torch.get_num_threads()} threads")

    for backward, title in ((False, "forward"), (True, "forward + backward")):
        times = medians(propagation_variants(model, backward=backward), options.repeats, options.calls)
        for name, seconds in times.items():
            print(f"{LAYERS} layers, {title:18} {name:15} {seconds * 1e3:8.2f} ms  x {seconds / times['ours']:6.2f}")

    loader = PairLoader(data.split.train, batch_size=BATCH)
    batches = list(loader.epoch(generator(0)))
    freedom = FREEDOM(graph, FREEDOMConfig(embedding_dim=DIM, num_layers=LAYERS, feature_loss=0.0))
    freedom.refresh(0)
    chosen = batches[: options.steps]
    steps = {
        "LightGCN": our_steps(model, chosen),
        "FREEDOM": our_steps(freedom, chosen),
        "PyG LightGCN": pyg_steps(interactions_of(graph), data.num_users, data.num_items, chosen),
    }
    times = medians(steps, options.repeats)
    for name, seconds in times.items():
        epoch = seconds / len(chosen) * len(batches)
        print(f"training, {name:15} {epoch:8.2f} s/epoch  x {seconds / times['LightGCN']:6.2f}")


if __name__ == "__main__":
    main()
