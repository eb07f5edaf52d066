"""The options of ``ideas.py``, each ``key=value`` on its command line; the last of a key counts.

data                the data set, by name
seed                of the initial embeddings, of pruning and of batches
dim, layers         length of the embeddings; layers of LightGCN
text, image, audio, vggish, whisper
                    weights of the modalities' item graphs; 0 leaves one out
hops                item graphs are applied so many times, and added to the items after LightGCN
early               weight of one hop added to the items before LightGCN
two                 weight of a second hop added beside the first
sym                 1: kNN edges both ways, without weights
hub                 exponent of a neighbour's degree in the item graphs; that of the item's own is 1 - hub
snn                 exponent of an edge's weight: the share of neighbours that its ends have in common
uu, uk              weight of a graph between users, of so many neighbours with the most similar channel scores,
                    added to the users after LightGCN
hard                temperature at which harder negatives weigh more in bpr; 0: all alike
snorm               1: item graphs are normalised by the degrees of both ends, else by rows
keep                share of interactions that degree-sensitive pruning keeps in an epoch
lr, batch, neg      learning rate, pairs per batch, negatives per batch (or per pair, see own)
own                 1: every pair has negatives of its own, else a batch shares them
loss, tau           bpr, or softmax at temperature tau
l2                  weight of the squared norms of the rows of a batch
cl, clt, eps        weight, temperature and noise of a contrastive loss of two noisy views (SimGCL)
decay               1: the learning rate falls to 0 along a cosine
ema                 decay of a running mean of the embeddings, which is what is evaluated; 0: none
bias                1: items have a bias
epochs, every, patience
                    at most so many epochs, an evaluation every few, and so many without a gain to stop;
                    epochs=0 evaluates the channel alone
w                   initial weight of the linear channel; 0: no channel
learnw, wlr         1: the weight is learnt, at wlr times the learning rate
lam, alpha, cmod    the channel's ridge, the weight of its features, and their modalities, such as text+image
loo                 1: a user is scored by weights solved without that user's row, else by those of all rows (EASE)
rank                rank of a truncated SVD of the channel; 0: the whole
cdrop               share of a batch's pairs whose channel is dropped
save                a safetensors file for the best embeddings and the channel's weight
log                 a file to append the last line to
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Options:
    """The options of a run; see the module."""

    data: str = "amazon-baby"
    seed: int = 0
    dim: int = 64
    layers: int = 3
    text: float = 0.9
    image: float = 0.1
    audio: float = 0.0
    vggish: float = 0.0
    whisper: float = 0.0
    hops: int = 1
    early: float = 0.0
    two: float = 0.0
    sym: int = 0
    snorm: int = 0
    snn: float = 0.0
    hub: float = 0.5
    uu: float = 0.0
    uk: int = 10
    hard: float = 0.0
    keep: float = 1.0
    lr: float = 0.01
    batch: int = 4096
    neg: int = 512
    own: int = 0
    loss: str = "bpr"
    tau: float = 0.5
    l2: float = 0.02
    cl: float = 0.0
    clt: float = 0.2
    eps: float = 0.1
    decay: int = 0
    ema: float = 0.0
    bias: int = 0
    epochs: int = 60
    every: int = 3
    patience: int = 4
    w: float = 0.0
    learnw: int = 1
    wlr: float = 1.0
    lam: float = 400.0
    alpha: float = 6.0
    cmod: str = "text"
    loo: int = 1
    rank: int = 0
    cdrop: float = 0.0
    save: str = ""
    log: str = ""

    @classmethod
    def parse(cls, arguments: list[str]) -> Options:
        """Returns the options that ``key=value`` arguments stand for; the last of a key counts."""
        kinds = {field.name: type(field.default) for field in fields(cls)}
        values = {}
        for argument in arguments:
            key, _, value = argument.partition("=")
            if key not in kinds:
                raise SystemExit(f"expected key=value with a key of {', '.join(kinds)}, got {argument!r}")
            values[key] = kinds[key](value)
        return cls(**values)
