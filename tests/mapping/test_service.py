"""What is kept in the database: versions, whose mapping counts, and that a person's choice stays."""

from __future__ import annotations

import pytest

from conftest import make_agent, make_organization
from gristmill import mapping
from gristmill.base.db import Database
from gristmill.base.errors import Invalid
from gristmill.mapping import Mapping, MappingNotFound, StoredMapping, propose_mapping
from gristmill.mapping.model import AgentNotFound
from gristmill.tables import Table, read_table

TEXT = "Kunde;Code;Anschluss\nAcme GmbH;K-1;030 1234567\nBolt AG;K-2;+49 40 7654321\n"
DATES = "Kunde;Code;Anschluss\nAcme GmbH;K-1;2024-01-05\nBolt AG;K-2;2024-02-05\n"


def table(text: str = TEXT) -> Table:
    return read_table(text.encode())


def propose(database: Database, organization: int, text: str = TEXT, *, agent_id: int | None = None) -> Mapping:
    """As every user of this room does it: recall, propose, remember."""
    read = table(text)
    with database.tx(organization) as tx:
        known = mapping.recall(tx, organization, read.fingerprint, agent_id=agent_id)
    found = propose_mapping(read, cache=known)
    with database.tx(organization) as tx:
        mapping.remember(tx, organization, found, agent_id=agent_id)
    return found


def edit(
    database: Database, organization: int, found: Mapping, columns: dict[str, list[int]], agent_id: int | None = None
) -> StoredMapping:
    with database.tx(organization) as tx:
        return mapping.edit(tx, organization, found.fingerprint, "lead", columns, None, agent_id=agent_id)


def stored(database: Database, organization: int, *, agent_id: int | None = None) -> StoredMapping:
    with database.tx(organization) as tx:
        return mapping.get(tx, organization, table().fingerprint, agent_id=agent_id)


def test_a_proposal_is_kept_once(database: Database, organization: int) -> None:
    found = propose(database, organization)
    assert propose(database, organization).fields["company"].evidence.stage == "cache"
    kept = stored(database, organization)
    assert (kept.version, kept.edited, kept.agent_id) == (1, False, None)
    assert kept.mapping == found


def test_other_shapes_are_the_next_version(database: Database, organization: int) -> None:
    propose(database, organization)
    propose(database, organization, DATES)
    assert stored(database, organization).version == 2
    assert stored(database, organization).mapping.fields["number1"].columns == ()


def test_a_persons_choice_stays_whatever_comes(database: Database, organization: int) -> None:
    found = propose(database, organization)
    kept = edit(database, organization, found, {"company": [1]})
    assert (kept.version, kept.edited) == (2, True)
    for text in (TEXT, DATES, TEXT):
        again = propose(database, organization, text)
        assert again.fields["company"].columns == (1,)
        assert again.fields["company"].evidence.stage == "person"
    assert stored(database, organization).version == 2
    assert edit(database, organization, found, {"company": [0]}).version == 3


def test_an_agents_own_comes_before_the_organizations(database: Database, organization: int) -> None:
    one, other = make_agent(database, organization).id, make_agent(database, organization).id
    found = propose(database, organization)
    edit(database, organization, found, {"company": [1]})
    kept = edit(database, organization, found, {"company": [2]}, one)
    assert (kept.version, kept.agent_id) == (1, one)
    assert propose(database, organization, agent_id=one).fields["company"].columns == (2,)
    assert propose(database, organization, agent_id=other).fields["company"].columns == (1,)
    assert stored(database, organization, agent_id=other).mapping.fields["company"].columns == (1,)


def test_the_organizations_edit_comes_before_an_agents_proposal(database: Database, organization: int) -> None:
    agent = make_agent(database, organization).id
    found = propose(database, organization, agent_id=agent)
    propose(database, organization)
    edit(database, organization, found, {"company": [1]})
    assert propose(database, organization, agent_id=agent).fields["company"].columns == (1,)


def test_samples_are_not_copied_to_another_owner(database: Database, organization: int) -> None:
    agent = make_agent(database, organization).id
    found = propose(database, organization)
    assert found.fields["company"].evidence.samples
    kept = edit(database, organization, found, {"city": [1]}, agent)
    assert kept.mapping.fields["company"].columns == (0,)
    assert not kept.mapping.fields["company"].evidence.samples


def test_organizations_share_nothing(database: Database, organization: int) -> None:
    found = propose(database, organization)
    edit(database, organization, found, {"company": [1]})
    stranger = make_organization(database)
    assert propose(database, stranger).fields["company"].columns == (0,)
    with pytest.raises(MappingNotFound):
        stored(database, make_organization(database))


def test_other_fields_are_kept_apart(database: Database, organization: int) -> None:
    found = propose_mapping(table(), ["company"])
    with database.tx(organization) as tx:
        mapping.remember(tx, organization, found)
        assert mapping.get(tx, organization, found.fingerprint, found.fieldset).mapping == found
        with pytest.raises(MappingNotFound):
            mapping.get(tx, organization, found.fingerprint)


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"company": [3]}, "company"),
        ({"company": [-1]}, "company"),
        ({"firm": [0]}, "firm"),
        ({"city": [0, 0]}, "city"),
    ],
)
def test_an_edit_that_cannot_be(
    database: Database, organization: int, columns: dict[str, list[int]], field: str
) -> None:
    found = propose(database, organization)
    with pytest.raises(Invalid) as caught:
        edit(database, organization, found, columns)
    assert [item.field for item in caught.value.errors] == [f"fields.{field}"]
    assert stored(database, organization).version == 1


def test_an_edit_of_an_agent_that_is_not_there(database: Database, organization: int) -> None:
    found = propose(database, organization)
    foreign = make_agent(database, make_organization(database)).id
    with pytest.raises(AgentNotFound):
        edit(database, organization, found, {"company": [1]}, foreign)


def test_an_edit_settles_what_can_be_searched() -> None:
    found = propose_mapping(read_table(b"colour;size\nred;4\n"))
    assert found.problem
    chosen = mapping.edited(found, {"company": [0]}, [1])
    assert not chosen.problem
    assert chosen.variants == (1,)
    assert chosen.fields["company"].confidence == 1.0
    assert mapping.edited(chosen, {"company": []}, None).problem


def test_an_edit_of_a_combined_column_takes_it_apart() -> None:
    found = propose_mapping(read_table(b"a;b\nTampa, FL 33602;x\n"))
    chosen = mapping.edited(found, {"city": [0], "state": [0], "zip": [0]}, None)
    assert mapping.apply(chosen, ["Tampa, FL 33602", "x"]) | {"city": "Tampa", "state": "FL", "zip": "33602"} == (
        mapping.apply(chosen, ["Tampa, FL 33602", "x"])
    )
