import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from mammo.storage.cells import neutralised, restored


def test_no_cell_begins_like_a_formula():
    outside = ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", "\tx", "\rx", "plain", ""]
    guarded = neutralised(pd.DataFrame({"path": outside, "n": range(8)}))
    assert guarded["path"].tolist()[:2] == ['\'=HYPERLINK("http://x")', "'+1"]
    assert not guarded["path"].str.startswith(("=", "+", "-", "@", "\t", "\r")).any()
    assert guarded["path"].tolist()[-2:] == ["plain", ""]
    assert guarded["n"].tolist() == list(range(8))


@given(st.lists(st.text(alphabet="='+-@\t\ra"), min_size=1))
def test_every_cell_comes_back_to_the_letter(cells):
    table = pd.DataFrame({"path": pd.Series(cells, dtype=object)})
    assert restored(neutralised(table))["path"].tolist() == cells
