import pytest

from graphrec.data.formats import HMOptions, read_hm

CUSTOMER = "000058a12d5b43e67d225668fa1f8d618c13dc232df0cad8ffe7ad4a1091e318"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "transactions_train.csv").write_text(
        "t_dat,customer_id,article_id,price,sales_channel_id\n"
        f"2018-09-20,{CUSTOMER},0108775015,0.0508,2\n"
        f"2018-09-20,{CUSTOMER},0108775015,0.0508,2\n"
        f"someday,{CUSTOMER},0108775015,0.0508,2\n"
    )
    (tmp_path / "articles.csv").write_text(
        "article_id,product_code,prod_name,product_type_name,colour_group_name,detail_desc\n"
        '0108775015,0108775,Strap top,Vest top,Black,"Jersey top, narrow straps."\n'
        "0999,0999,Never sold,,,\n"
    )
    (tmp_path / "customers.csv").write_text(
        "customer_id,FN,Active,club_member_status,fashion_news_frequency,age,postal_code\n"
        f"{CUSTOMER},,,ACTIVE,NONE,49,52043\nnobody,1,1,ACTIVE,Regularly,20,1\n"
    )
    return tmp_path


def test_purchases_articles_and_customers_come_together(folder):
    raw = read_hm(folder, HMOptions())
    assert raw.interactions.to_numpy().tolist() == [[CUSTOMER, "0108775015", 1537401600]] * 2
    assert raw.items.loc["0108775015"].to_dict() == {
        "title": "Strap top",
        "product_type": "Vest top",
        "colour": "Black",
        "description": "Jersey top, narrow straps.",
        "text": "Strap top\nVest top\nBlack\nJersey top, narrow straps.",
    }
    assert raw.items.index.tolist() == ["0108775015", "0999"]
    assert raw.people.to_dict("index") == {
        CUSTOMER: {
            "age": 49,
            "club_member_status": "ACTIVE",
            "fashion_news_frequency": "NONE",
            "postal_code": "52043",
        }
    }
    assert raw.skipped == {"transactions_train.csv: no time": 1}


def test_pictures_lie_in_folders_by_the_start_of_the_id(folder):
    path = folder / "images" / "010" / "0108775015.jpg"
    path.parent.mkdir(parents=True)
    path.touch()
    raw = read_hm(folder, HMOptions())
    assert raw.items.loc["0108775015", "image"] == str(path)


def test_tables_about_articles_and_customers_may_be_missing(folder):
    (folder / "articles.csv").unlink()
    (folder / "customers.csv").unlink()
    raw = read_hm(folder, HMOptions())
    assert raw.items.columns.empty
    assert raw.people.columns.empty
