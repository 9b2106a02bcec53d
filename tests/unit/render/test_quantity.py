from __future__ import annotations

import pytest

from deepseek_operator.render.quantity import byte_quantity, cpu_quantity, literal


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (1, "1"),
        (1500, "1500"),
        (2**10, "1Ki"),
        (3 * 2**20, "3Mi"),
        (64 * 2**30, "64Gi"),
        (2**40, "1Ti"),
        (2**40 + 1, "1099511627777"),
    ],
)
def test_bytes_are_written_exactly_and_short(count: int, text: str) -> None:
    assert byte_quantity(count) == text


@pytest.mark.parametrize(("millicores", "text"), [(32000, "32"), (1500, "1500m"), (100, "100m")])
def test_cpu_is_written_in_cores_where_it_is_whole(millicores: int, text: str) -> None:
    assert cpu_quantity(millicores) == text


def kubernetes_expansion(text: str) -> str:
    """What the kubelet makes of a text, as its expansion package does, with NAME known."""
    out, rest = "", text
    while "$" in rest:
        before, _, rest = rest.partition("$")
        out += before
        if rest.startswith("$"):
            out, rest = f"{out}$", rest[1:]
        elif rest.startswith("(") and ")" in rest:
            name, _, rest = rest[1:].partition(")")
            out += "value" if name == "NAME" else f"$({name})"
        else:
            out += "$"
    return out + rest


@pytest.mark.parametrize(
    "text", ["$(NAME)", "$$", "$$(NAME)", 'kill -TERM $$; x=$(date); echo "${x}" $1', "100 $", "plain", "$((1+1))"]
)
def test_kubernetes_leaves_a_literal_as_it_was_written(text: str) -> None:
    assert kubernetes_expansion(literal(text)) == text


def test_the_model_of_the_expansion_expands() -> None:
    assert kubernetes_expansion("$(NAME) $$ $(OTHER)") == "value $ $(OTHER)"
