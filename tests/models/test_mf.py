import pytest
import torch

from graphrec.models.mf import MF
from tests.reference.losses import slow_bpr, slow_l2
from tests.reference.models import batch, build


def test_the_score_of_a_pair_is_the_inner_product_of_its_rows():
    model = build(MF, embedding_dim=5)
    scores = model.score(torch.tensor([3]))
    by_hand = sum(
        a * b for a, b in zip(model.user_embedding[3].tolist(), model.item_embedding[7].tolist(), strict=True)
    )
    assert scores[0, 7].item() == pytest.approx(by_hand)


@pytest.mark.parametrize("negatives", [1, 3])
def test_the_loss_is_bpr_and_weighted_l2_of_the_batch(negatives):
    model = build(MF, embedding_dim=4, l2=0.3)
    pairs = batch(size=9, negatives=negatives)
    user, item = model.user_embedding.tolist(), model.item_embedding.tolist()
    rows = list(zip(pairs.user.tolist(), pairs.positive.tolist(), pairs.negative.tolist(), strict=True))
    positive = [_dot(user[u], item[p]) for u, p, _ in rows]
    negative = [[_dot(user[u], item[n]) for n in ns] for u, _, ns in rows]
    touched = [[user[u] for u, _, _ in rows], [item[p] for _, p, _ in rows], [item[n] for *_, ns in rows for n in ns]]
    terms = model(pairs)
    assert set(terms) == {"bpr", "l2"}
    assert terms["bpr"].item() == pytest.approx(slow_bpr(positive, negative), rel=1e-5)
    assert terms["l2"].item() == pytest.approx(0.3 * slow_l2(touched, 9), rel=1e-5)


def _dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))
