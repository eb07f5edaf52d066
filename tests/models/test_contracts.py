"""Every model of the registry keeps the contract."""

from typing import ClassVar

from graphrec.testing import ModelContract


class TestPopularity(ModelContract):
    model = "popularity"
    personalised = False


class TestItemKNN(ModelContract):
    model = "item-knn"


class TestContentItemKNN(ModelContract):
    model = "item-knn"
    config: ClassVar = {"content_weight": 0.5, "neighbors": 8}
    needs_content = True


class TestEASE(ModelContract):
    model = "ease"


class TestAddEASE(ModelContract):
    model = "add-ease"
    needs_content = True


class TestCollectiveEASE(ModelContract):
    model = "collective-ease"
    needs_content = True


class TestL3AE(ModelContract):
    model = "l3ae"
    needs_content = True


class TestMF(ModelContract):
    model = "mf"


class TestLightGCN(ModelContract):
    model = "lightgcn"


class TestSoftmaxLightGCN(ModelContract):
    model = "lightgcn"
    config: ClassVar = {"num_layers": 3, "objective": {"loss": "softmax", "temperature": 0.5}}


class TestVBPR(ModelContract):
    model = "vbpr"
    needs_content = True


class TestFREEDOM(ModelContract):
    model = "freedom"
    needs_content = True


class TestSoftmaxFREEDOM(ModelContract):
    model = "freedom"
    config: ClassVar = {"objective": {"loss": "softmax"}, "similar_layers": 2, "l2": 1e-3}
    needs_content = True


class TestHeteroLightGCN(ModelContract):
    model = "hetero-lightgcn"


class TestPrunedHeteroLightGCN(ModelContract):
    model = "hetero-lightgcn"
    config: ClassVar = {"edge_keep": 0.5, "learn_coupling": True}


class TestHeteroLightGCNWithoutAlignment(ModelContract):
    model = "hetero-lightgcn"
    config: ClassVar = {"alignment": {"weight": 0.0}}
