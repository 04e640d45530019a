"""Rows that an interrupted evaluation left in another order."""

import pytest

from speechbrain_lmac.evaluation.journal import gather_rows
from speechbrain_lmac.metrics.comparison import compare_with
from speechbrain_lmac.metrics.stats import ClipStats

COLUMNS = ("AI", "AD", "AG", "FF", "Fid-In")


def scored(ids, offset=0.0):
    stats = ClipStats()
    values = [float(i) * (1 + offset) for i in ids]
    stats.append(list(ids), {name: values for name in COLUMNS})
    return stats


def test_rows_come_in_the_order_of_the_clips():
    rows = gather_rows({"lmac": scored("3142")}, list("1234"))
    assert rows["lmac"].ids == list("1234")
    assert rows["lmac"].values("AD").tolist() == [1.0, 2.0, 3.0, 4.0]


def test_clips_are_paired_whatever_the_order_they_were_scored_in():
    def compared(order):
        rows = {"lmac": scored("123456"), "random": scored(order, 0.1)}
        return compare_with("lmac", {}, gather_rows(rows, list("123456")))

    assert compared("654321") == compared("123456")


def test_rows_of_another_order_are_not_compared():
    with pytest.raises(ValueError, match="in one order"):
        compare_with("lmac", {}, {"lmac": scored("12"), "random": scored("21")})
