"""Starting a run: the output folder, processes."""

import os

import pytest

from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.distributed import on_every_rank
from speechbrain_lmac.utils.experiment import check_writable


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "taken").touch()
    for folder in (tmp_path / "taken", tmp_path / "taken" / "run"):
        with pytest.raises(UserError, match=f"output_folder.*{folder}"):
            check_writable(folder, "output_folder")
    check_writable(tmp_path / "new" / "run", "output_folder")
    assert list((tmp_path / "new" / "run").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        check_writable(tmp_path / "run", "output_folder")


def test_on_every_rank_runs_once_on_a_single_process():
    calls = []
    assert on_every_rank(lambda value: calls.append(value) or 7, value=1) == 7
    assert calls == [1]
