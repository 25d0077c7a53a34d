"""Host lists of Slurm mean what `scontrol show hostnames` prints for them."""

import pytest

from migd_controller.slurm_hostlist import MOST_NODES, expanded

# As `scontrol show hostnames` of Slurm 22.05.8 writes them out.
LISTS = {
    "": (),
    "n1": ("n1",),
    "n[01-04,7]": ("n01", "n02", "n03", "n04", "n7"),
    "n[01-02],login1,gpu[9-11]": ("n01", "n02", "login1", "gpu9", "gpu10", "gpu11"),
    "n[098-101]": ("n098", "n099", "n100", "n101"),
    "rack[0-1]n[1-2]": ("rack0n1", "rack0n2", "rack1n1", "rack1n2"),
}


@pytest.mark.parametrize(("text", "names"), LISTS.items())
def test_a_list_is_written_out(text: str, names: tuple[str, ...]) -> None:
    assert expanded(text) == names


def test_a_name_that_stands_twice_is_one_node() -> None:
    assert expanded("n[1-2],n2,n1") == ("n1", "n2")


@pytest.mark.parametrize(
    "text",
    ["n[1-", "n1]", "n[]", "n[a]", "n[3-1]", "n[1-2-3]", ",n1", "n1,", "n1,,n2", "n 1", "n[1 ]", "n[-1]"],
)
def test_what_is_no_host_list_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        expanded(text)
    assert "found" in str(caught.value) or repr(text) in str(caught.value)


@pytest.mark.parametrize("text", [f"n[0-{MOST_NODES}]", "a[0-999]b[0-999]", "n[0-999999999999999999]"])
def test_a_list_of_too_many_is_refused_before_it_is_written_out(text: str) -> None:
    with pytest.raises(ValueError, match=str(MOST_NODES)):
        expanded(text)
