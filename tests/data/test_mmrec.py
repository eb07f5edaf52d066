import numpy as np
import pytest
import scipy.sparse as sp

from graphrec.config import ConfigError
from graphrec.data.mmrec import MMRecOptions, read_mmrec
from graphrec.features.table import FeatureTable

ROWS = [(10, 0, 0), (10, 1, 0), (10, 3, 2), (20, 0, 0), (20, 2, 1), (30, 1, 0)]


def write(folder, rows=ROWS, header="userID\titemID\tx_label"):
    folder.mkdir(exist_ok=True)
    lines = [header, *("\t".join(map(str, row)) for row in rows)]
    (folder / "toy.inter").write_text("\n".join(lines) + "\n")
    return folder


def options(**settings):
    return MMRecOptions(inter="toy.inter", **settings)


def met(interactions):
    return interactions.to_frame()[["user", "item"]].to_numpy().tolist()


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "toy")


def test_parts_follow_the_labels(folder):
    data = read_mmrec(folder, options())
    assert data.name == "toy"
    assert met(data.split.train) == [[10, 0], [10, 1], [20, 0], [30, 1]]
    assert met(data.split.valid) == [[20, 2]]
    assert met(data.test) == [[10, 3]]
    assert data.test.weight is None


def test_feature_rows_belong_to_their_items_however_the_file_is_ordered(folder, tmp_path):
    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    shuffled = write(tmp_path / "shuffled", [ROWS[n] for n in (5, 2, 0, 4, 1, 3)])
    for place in (folder, shuffled):
        np.save(place / "text.npy", values)
        data = read_mmrec(place, options(features={"text": "text.npy"}), name="toy")
        table = FeatureTable.align(data.vectors["text"], data.split.items)
        for item in range(5):
            assert (table.dense()[data.split.items.rows([item])[0]] == values[item]).all()
        assert data.num_items == 5  # item 4 has features and no interaction
        assert data.fingerprint() == read_mmrec(folder, options(features={"text": "text.npy"})).fingerprint()


def test_given_neighbours_keep_item_row_order_and_add_items(folder):
    dense = np.triu(np.ones((6, 6)), 1)
    sp.save_npz(folder / "knn.npz", sp.csr_matrix(dense))
    data = read_mmrec(folder, options(neighbors={"image": "knn.npz"}))
    assert data.num_items == 6
    assert (data.neighbors["image"].toarray() == dense).all()
    assert data.modalities == ("image",)


def test_feature_rows_that_do_not_match(folder):
    np.save(folder / "text.npy", np.ones((2, 3)))
    with pytest.raises(
        ValueError, match=r"expected 4 feature rows \(items of 'toy', by its interactions\), got 2 text "
    ):
        read_mmrec(folder, options(features={"text": "text.npy"}))
    np.save(folder / "image.npy", np.ones((12, 3)))
    with pytest.raises(ValueError, match=r"expected 12 feature rows .* missing ids: 2, 3, 4, 5, 6, …"):
        read_mmrec(folder, options(features={"text": "text.npy", "image": "image.npy"}))


def test_feature_rows_need_row_ids(tmp_path):
    folder = write(tmp_path / "toy", [("u", "B01", 0), ("u", "B02", 1), ("u", "B03", 2)])
    np.save(folder / "text.npy", np.ones((3, 3)))
    assert met(read_mmrec(folder, options()).test) == [["u", "B03"]]
    with pytest.raises(ValueError, match="expected item ids 0, 1, … in 'toy'"):
        read_mmrec(folder, options(features={"text": "text.npy"}))


@pytest.mark.parametrize("center", [False, True])
def test_nan_in_features_is_reported_with_its_id(folder, center):
    values = np.ones((4, 2))
    values[2, 1] = np.nan
    np.save(folder / "text.npy", values)
    data = read_mmrec(folder, options(features={"text": {"file": "text.npy", "center": center}}))
    with pytest.raises(ValueError, match=r"NaN or infinity in 1 row\(s\) of 'given', ids: 2;"):
        FeatureTable.align(data.vectors["text"], data.split.items)


def test_centring_subtracts_the_mean(folder):
    values = np.random.default_rng(0).integers(0, 256, (4, 3)).astype(np.float64)
    np.save(folder / "audio.npy", values)
    data = read_mmrec(folder, options(features={"audio": {"file": "audio.npy", "center": True}}))
    np.testing.assert_allclose(data.vectors["audio"].values, values - values.mean(axis=0), atol=1e-4)


def test_optional_features_are_read_only_when_asked_for(folder):
    np.save(folder / "text.npy", np.ones((4, 2)))
    files = {"text": {"file": "text.npy", "optional": True, "note": "a stand-in"}, "image": "absent.npy"}
    asked = options(features=files).choose(["text"])
    data = read_mmrec(folder, asked)
    assert tuple(data.vectors) == ("text",)
    assert data.notes == ("text vectors: a stand-in",)
    assert read_mmrec(folder, options(features={"text": files["text"]})).vectors == {}
    with pytest.raises(FileNotFoundError, match=r"'absent\.npy'"):
        read_mmrec(folder, options(features=files))
    with pytest.raises(ConfigError, match="did you mean 'text'"):
        options(features=files).choose(["txt"])


def test_ratings_times_and_thresholds(tmp_path):
    rows = [(*row[:2], 5 - row[0] // 30, 100 + row[1], row[2]) for row in ROWS]
    folder = write(tmp_path / "toy", rows, "userID\titemID\trating\ttimestamp\tx_label")
    data = read_mmrec(folder, options(threshold=5))
    assert len(data.split.train) == 3
    assert data.test.time.tolist() == [103]
    with pytest.raises(ValueError, match="got none; the highest is 5"):
        read_mmrec(folder, options(threshold=6))


def test_repeated_rows_are_merged_with_a_warning(tmp_path, caplog):
    data = read_mmrec(write(tmp_path / "toy", [*ROWS, ROWS[0]]), options())
    assert data.split.train.weight.max() == 2
    assert "toy: merged 1 repeated interactions" in caplog.text


def test_bad_files_are_one_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'toy.inter'"):
        read_mmrec(tmp_path, options())
    with pytest.raises(ValueError, match=r"missing \['x_label'\]"):
        read_mmrec(write(tmp_path, [row[:2] for row in ROWS], "userID\titemID"), options())
    with pytest.raises(ValueError, match="disjoint"):
        read_mmrec(write(tmp_path, [*ROWS, (10, 0, 2)]), options())
    with pytest.raises(ValueError, match="empty split: no test"):
        read_mmrec(write(tmp_path, [row for row in ROWS if row[2] < 2]), options())


def test_unseen_ids_are_kept_and_counted(folder):
    statistics = read_mmrec(folder, options()).statistics()
    assert (statistics["test_with_unseen_item"], statistics["valid_with_unseen_item"]) == (1, 1)


def test_content_is_keyed_by_item_directly_or_through_a_map(folder):
    (folder / "titles.csv").write_text("itemID,title,description\n0,Q&amp;A,long\n9,unknown,\n2,,\n")
    (folder / "map.csv").write_text("itemID,code\n0,x\n1,x\n3,y\n")
    (folder / "tags.tsv").write_text("code\ttags\nx\trock, pop\nz\tnone\n")
    content = {
        "text": {"file": "titles.csv", "columns": ["title", "description"]},
        "tags": {"file": "tags.tsv", "columns": ["tags"], "key": "code", "through": "map.csv"},
    }
    items = read_mmrec(folder, options(content=content)).items
    assert items.values("text") == ["Q&A\nlong", None, None, None]
    assert items.values("tags") == ["rock, pop", "rock, pop", None, None]
    with pytest.raises(ValueError, match=r"missing \['plot'\]"):
        read_mmrec(folder, options(content={"text": {"file": "titles.csv", "columns": ["plot"]}}))


@pytest.mark.parametrize("part", ["features", "neighbors", "content"])
def test_names_that_cannot_be_modalities_are_refused(part):
    value = {"file": "x.csv", "columns": ["title"]} if part == "content" else "x.npy"
    with pytest.raises(ValueError, match=r"expected a modality name .* got 'item'; choose another name"):
        MMRecOptions(inter="x.inter", **{part: {"item": value}})
