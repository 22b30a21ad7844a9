import pytest

from ftk_sdk.evidence import found_in

TEST = """
from ftk_sdk.evidence import checked

@checked(stage="dpo", loss=["sigmoid", "hinge"], against="a loop")
def test_losses():
    pass
"""


def test_claims_are_read_from_the_source_one_for_each_loss(tmp_path):
    folder = tmp_path / "plugins" / "x" / "tests"
    folder.mkdir(parents=True)
    (folder / "test_x.py").write_text(TEST)
    claims = found_in(tmp_path)
    assert [(c.stage, c.loss, c.against) for c in claims] == [("dpo", "hinge", "a loop"), ("dpo", "sigmoid", "a loop")]
    assert {c.test for c in claims} == {"plugins/x/tests/test_x.py::test_losses"}


def test_a_claim_that_is_computed_is_refused_with_its_line(tmp_path):
    folder = tmp_path / "plugins" / "x" / "tests"
    folder.mkdir(parents=True)
    (folder / "test_x.py").write_text(TEST.replace('"a loop"', "NAME"))
    with pytest.raises(ValueError, match="test_x.py:4: the arguments of checked"):
        found_in(tmp_path)
