"""One suite for every embedder: what datasets rely on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from embedding_server import DIMENSIONS, EmbeddingServer
from gristmill import vault
from gristmill.base.config import settings
from gristmill.base.db import Database
from gristmill.base.errors import Error, Invalid, PluginError
from gristmill.base.kinds import UnknownKind
from gristmill.datasets.embedders import EmbedderContext, Model, embedders, minilm, openai, parse_config

CONTEXT = EmbedderContext(settings(), 1)
TEXTS = ["A bakery in Rome", "Running shoes, size 42", "x", "日本語 and emoji 🦄", "word " * 400]


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    running = EmbeddingServer()
    yield running
    running.stop()


@pytest.fixture(params=sorted(set(embedders.all()) - {"quick"}))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def config(kind: str, server: EmbeddingServer, **more: Any) -> dict[str, Any]:
    if kind == "minilm":
        return {}
    if kind == "openai":
        return {"base_url": server.url, "model": "test", **more}
    pytest.fail(f"the embedder {kind} has no config in this suite")


def embed(kind: str, values: dict[str, Any], texts: list[str], context: EmbedderContext = CONTEXT) -> Any:
    embedder = embedders.get(kind)
    parsed = parse_config(embedder, values)
    embedder.check(parsed, context)

    async def go() -> Any:
        async with embedder.open(parsed, context) as encode:
            return await encode(texts)

    return asyncio.run(go())


def model_of(kind: str, values: dict[str, Any], context: EmbedderContext = CONTEXT) -> Model:
    embedder = embedders.get(kind)
    return embedder.model(parse_config(embedder, values), context)


def test_it_describes_itself(kind: str, server: EmbeddingServer) -> None:
    embedder = embedders.get(kind)
    assert embedder.kind == kind
    assert embedder.title
    assert embedder.summary
    assert embedder.Config.model_json_schema()["additionalProperties"] is False
    model = model_of(kind, config(kind, server))
    assert model.name
    assert model.window > 0
    assert model.texts_per_s > 0


def test_a_line_of_length_one_for_each_text(kind: str, server: EmbeddingServer) -> None:
    vectors = embed(kind, config(kind, server), TEXTS)
    assert vectors.shape == (len(TEXTS), model_of(kind, config(kind, server)).dimensions or DIMENSIONS)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)
    assert embed(kind, config(kind, server), []).shape[0] == 0


def test_a_text_has_one_vector_whatever_its_company(kind: str, server: EmbeddingServer) -> None:
    together = embed(kind, config(kind, server), TEXTS * 3)
    for index, text in enumerate(TEXTS):
        alone = embed(kind, config(kind, server), [text])[0]
        assert (alone == together[index]).all()
        assert (alone == together[index + len(TEXTS)]).all()


def test_counts_are_never_too_low(kind: str, server: EmbeddingServer) -> None:
    counts = embedders.get(kind).count(TEXTS)
    assert len(counts) == len(TEXTS)
    assert counts[-1] >= 400
    assert embedders.get(kind).count(["short"])[0] >= 1


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(UnknownKind, match="minilm, openai"):
        embedders.get("psychic")


# The embedded model


def test_near_meanings_are_near() -> None:
    cat, kitten, money = embed("minilm", {}, ["a cat on the sofa", "a kitten on the couch", "quarterly revenue"])
    assert cat @ kitten > 0.6 > cat @ money + 0.3


def test_damaged_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(minilm.WEIGHTS, "minilm.onnx", "0" * 64)
    with pytest.raises(PluginError, match="damaged"):
        minilm._Session()


# OpenAI-compatible servers


def test_many_texts_go_in_groups(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "GROUP_TEXTS", 10)
    vectors = embed("openai", config("openai", server), [f"text {number}" for number in range(35)])
    assert sorted(len(call["input"]) for call in server.calls) == [5, 10, 10, 10]
    assert {call["model"] for call in server.calls} == {"test"}
    assert (vectors[17] == embed("openai", config("openai", server), ["text 17"])[0]).all()
    server.calls.clear()
    monkeypatch.setattr(openai, "GROUP_TOKENS", 100)
    embed("openai", config("openai", server), ["x" * 200] * 3)
    assert [len(call["input"]) for call in server.calls] == [1, 1, 1]


def test_a_busy_server_is_asked_again_when_it_says(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(openai, "sleep", sleep)
    server.faults = [(429, {"Retry-After": "7"}, {}), (503, {}, {}), (500, {}, {})]
    assert embed("openai", config("openai", server), ["a"]).shape == (1, DIMENSIONS)
    assert waits == [7.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ((401, {}, {"error": "bad key"}), "answered 401"),
        ((200, {}, b"<html>"), "no list of embeddings"),
        ((200, {}, {"data": []}), "0 vectors for 1 texts|no list"),
        ((200, {}, {"data": [{"index": 0, "embedding": [0.0] * 4}]}), "without a direction"),
        ((200, {}, {"data": [{"index": 0, "embedding": [1.0] * 5_000}]}), "5000 dimensions"),
    ],
)
def test_answers_that_are_none(server: EmbeddingServer, fault: Any, message: str) -> None:
    server.faults = [fault]
    with pytest.raises(PluginError, match=message) as caught:
        embed("openai", config("openai", server), ["a"])
    assert caught.value.permanent


def test_fewer_dimensions_are_asked_for(server: EmbeddingServer) -> None:
    values = config("openai", server, dimensions=8)
    assert embed("openai", values, ["a"]).shape == (1, 8)
    assert server.calls[0]["dimensions"] == 8
    assert model_of("openai", values).name != model_of("openai", config("openai", server)).name


def test_the_operators_key_goes_to_the_operators_server_only(server: EmbeddingServer) -> None:
    operated = settings().model_copy(
        update={"embeddings_url": server.url, "embeddings_model": "house", "embeddings_api_key": SecretStr("sk-house")}
    )
    context = EmbedderContext(operated, 1)
    embed("openai", {}, ["a"], context)
    assert (server.calls[-1]["model"], server.keys[-1]) == ("house", "Bearer sk-house")
    embed("openai", config("openai", server), ["a"], context)
    assert server.keys[-1] is None


def test_a_secret_of_the_vault_opens_a_server(server: EmbeddingServer, database: Database, organization: int) -> None:
    with database.tx(organization) as tx:
        secret = vault.put(tx, organization, name="Embeddings", values={"api_key": "sk-mine-1234"})
    context = EmbedderContext(settings(), organization, database)
    embed("openai", config("openai", server, secret_ref=str(secret.id)), ["a"], context)
    assert server.keys[-1] == "Bearer sk-mine-1234"


@pytest.mark.parametrize("values", [{}, {"model": "x"}, {"base_url": "http://169.254.169.254/v1", "model": "x"}])
def test_what_can_not_work_is_refused(values: dict[str, Any]) -> None:
    embedder = embedders.get("openai")
    with pytest.raises(Error):
        embedder.check(parse_config(embedder, values), CONTEXT)
    with pytest.raises(Invalid):
        parse_config(embedder, {"surprise": 1})
