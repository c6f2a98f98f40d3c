"""Who is who: what is merged, what never is, and that keys stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from dbt_lab import Lab

from lendloop.errors import ConfigurationError
from lendloop.identity import decide, events, read_decisions, review, undo, write_raw_decisions
from lendloop.settings import Settings, load_settings

MADE = datetime(2026, 1, 1, tzinfo=UTC)
BORN = date(1990, 5, 17)
SELECT = (
    "--indirect-selection",
    "cautious",
    "--select",
    "+map_customer_source",
    "+dim_customer",
    "+fct_suppression",
    "+dim_contact_permission",
    "+customer_contact",
)


def client(number: int, first: str, last: str, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "firstname": first,
        "lastname": last,
        "date_of_birth": BORN,
        "office_id": 1,
        "activation_date": date(2026, 1, 1),
        "created_on_utc": MADE,
        "last_modified_on_utc": MADE,
        **more,
    }


def contact(number: int, first: str, last: str, **more: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "first_name": first,
        "last_name": last,
        "market": "NG",
        "date_of_birth": BORN,
        "created_at": MADE,
        "updated_at": MADE,
        "is_archived": False,
        **more,
    }


def user(number: int, name: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "name": name, "role": "end-user", "created_at": MADE, "updated_at": MADE, **more}


def response(number: str, name: str | None, **more: Any) -> dict[str, Any]:
    return {"id": number, "file": "a", "full_name": name, "market": "NG", "answered_at": MADE, **more}


@pytest.fixture(scope="module")
def lab(make_lab: Callable[[str], Lab]) -> Lab:
    lab = make_lab("identity")
    lab.set_clock(date(2026, 3, 31))
    lab.load("raw_ledger.m_office", [{"id": 1, "name": "Lagos", "external_id": "NG"}])
    lab.load(
        "raw_ledger.m_client",
        [
            # one person, spelt differently, phone in a local format
            client(1, "Chinedu", "Okafor", mobile_no="0803 123 4567"),
            # twins with one phone
            client(2, "Taiwo", "Bello", mobile_no="08031234568"),
            client(3, "Kehinde", "Bello", mobile_no="08031234568"),
            # a recycled number: born on another day
            client(4, "Amina", "Musa", mobile_no="08031234569"),
            # whom a mistyped ledger id points at
            client(5, "Ngozi", "Eze", mobile_no="08031234570"),
            # found by support only through contact and name
            client(6, "Bola", "Ade", mobile_no="08031234571", email_address="Bola.Ade@Example.org"),
            # two people of one phone and one name
            client(7, "Sade", "Obi", mobile_no="08031234572"),
            client(8, "Sade", "Obi", mobile_no="08031234572", date_of_birth=date(1960, 1, 1)),
            # bridged by a contact that says too little
            client(9, "Ife", "Ojo", email_address="ojo@example.org"),
            client(10, "Tobi", "Ojo", email_address="ojo@example.org", date_of_birth=date(1999, 9, 9)),
        ],
    )
    lab.load(
        "raw_crm.contacts",
        [
            contact(101, "CHINEDU 🌟", "Okáfor", phone="+2348031234567"),
            contact(102, "Chindeu", "Okafor", phone="2348031234567", is_fraud=True),
            contact(103, "Taiwo", "Bello", phone="+234-803-1234568"),
            contact(104, "Amina", "Musa", phone="08031234569", date_of_birth=date(1980, 1, 1)),
            contact(105, "Ada", "Nwosu", phone="08039999999", date_of_birth=date(1970, 1, 1), ledger_client_id="5"),
            contact(106, "Ngozi", "Eze", ledger_client_id="5", date_of_birth=None),
            contact(107, "Emeka", "Uche", phone="08035555555", national_id="NG-123.456"),
            contact(108, "Emeka", "Uche", national_id="ng123456", date_of_birth=None),
            contact(109, "", "Ojo", email="ojo@example.org", ledger_client_id="9", date_of_birth=None),
            contact(110, "", "Ojo", email="ojo@example.org", ledger_client_id="10", date_of_birth=None),
            contact(111, "Not", "Aphone", phone="N/A", email="not an address"),
            contact(112, "Kwame", "Asante", market="GH", phone="055 123 4567"),
        ],
    )
    lab.load(
        "raw_support.users",
        [
            user(201, "Ngozi Eze", external_id="5"),
            user(202, "Bola Ade", email="bola.ade@example.org"),
            user(203, "Sade Obi", phone="+2348031234572"),
            user(204, "Somebody Else", phone="+2348031234571"),
            user(205, "An Agent", role="agent"),
        ],
    )
    lab.load(
        "raw_survey.response",
        [
            # a number that a sheet took for one, of somebody whom the ledger knows
            response("a#1", "Bola Ade", phone="8031234571", date_of_birth=BORN, wants_contact=True),
            # somebody whom only a file knows, and who would be written to
            response("a#2", "Ama Mensah", phone="08037777777", email="ama@example.org", wants_contact=True),
            # a no of nobody in particular, for the phone of two
            response("a#3", None, phone="2348031234568", wants_contact=False),
            # a plan whose numbers need the zero that the sheet dropped
            response("a#4", "Awa Koné", phone="701020304", market="CI"),
            # a no of no market, for what is a number of two
            response("a#5", None, phone="0551234567", market=None, wants_contact=False),
            # a no in digits of another script, and one for a mailbox by a tag of it
            response("a#6", None, phone="\u0660\u0668\u0660\u0663\u00a0" + "\u0669" * 7, wants_contact=False),
            response("a#7", None, email="Ojo+News@\u200bexample.org", wants_contact=False),
        ],
    )
    lab.build(*SELECT)
    return lab


def people(lab: Lab) -> list[set[str]]:
    """The records of each person."""
    return [
        set(records)
        for (records,) in lab.rows(
            "select list(source || ':' || source_id) from trusted.map_customer_source where valid_to is null group by person_key"
        )
    ]


def together(lab: Lab, *records: str) -> bool:
    return any(set(records) <= person for person in people(lab))


def test_spellings_and_phone_formats_of_one_person_are_one_person(lab: Lab) -> None:
    assert together(lab, "ledger:1", "crm:101", "crm:102")


def test_twins_who_share_phone_birthday_and_surname_stay_two(lab: Lab) -> None:
    assert together(lab, "ledger:2", "crm:103")
    assert not together(lab, "ledger:2", "ledger:3")


def test_a_phone_is_not_enough_when_the_birthday_is_another(lab: Lab) -> None:
    assert not together(lab, "ledger:4", "crm:104")


def test_a_ledger_id_counts_only_when_something_else_agrees(lab: Lab) -> None:
    assert not together(lab, "ledger:5", "crm:105")
    assert together(lab, "ledger:5", "crm:106", "support:201")


def test_a_national_id_joins_whatever_its_punctuation(lab: Lab) -> None:
    assert together(lab, "crm:107", "crm:108")


def test_a_support_user_joins_by_contact_and_whole_name_of_exactly_one_person(lab: Lab) -> None:
    assert together(lab, "ledger:6", "support:202")
    assert {"support:203"} in people(lab)
    assert {"support:204"} in people(lab)
    assert not any("support:205" in person for person in people(lab))


def test_people_of_two_birthdays_are_never_bridged(lab: Lab) -> None:
    assert not together(lab, "ledger:9", "ledger:10")
    assert not together(lab, "ledger:7", "ledger:8")


def test_invalid_contacts_are_no_contacts(lab: Lab) -> None:
    assert lab.one("select count(*) from contacts.customer_contact where source_id = '111'") == 0
    assert lab.one("select count(*) from gray.int_contact_point where value is null") == 2


def test_people_in_files_are_found_whatever_a_sheet_made_of_their_number(lab: Lab) -> None:
    assert together(lab, "ledger:6", "survey:a#1")
    assert lab.one("select value from gray.int_contact_point where raw_text = '701020304'") == "+2250701020304"


def test_who_is_in_a_file_only_is_shown_and_is_neither_customer_nor_reachable(lab: Lab) -> None:
    assert {"survey:a#2"} in people(lab)
    found = "select person_key from trusted.map_customer_source where source_id = 'a#2'"
    assert lab.one(f"select count(*) from trusted.dim_customer where person_key in ({found})") == 0
    assert lab.one(f"select count(*) from contacts.customer_contact where person_key in ({found})") == 0
    assert lab.one(f"select count(*) from trusted.dim_contact_permission where person_key in ({found})") == 0


def test_a_file_gives_a_customer_no_address_and_no_permission(lab: Lab) -> None:
    assert lab.one("select count(*) from contacts.customer_contact where source = 'survey'") == 0
    assert lab.one("select count(*) from trusted.dim_contact_permission where is_permitted") == 0


def test_a_no_in_a_file_reaches_everyone_who_has_the_phone(lab: Lab) -> None:
    assert lab.rows(
        "select distinct s.reason, s.via, m.source || ':' || m.source_id from trusted.fct_suppression s"
        " join trusted.map_customer_source m using (person_key) where s.source = 'survey' and s.source_id = 'a#3'"
        " order by all"
    ) == [
        ("opt_out", "own", "survey:a#3"),
        ("opt_out", "shared_phone", "crm:103"),
        ("opt_out", "shared_phone", "ledger:2"),
        ("opt_out", "shared_phone", "ledger:3"),
    ]


def test_a_no_for_what_may_be_one_of_several_numbers_reaches_who_has_any_and_joins_nobody(lab: Lab) -> None:
    assert lab.rows("select value, is_valid from gray.int_contact_point where raw_text = '0551234567' order by 1") == [
        ("+2250551234567", False),
        ("+233551234567", False),
    ]
    assert lab.rows(
        "select s.via, m.source_id from trusted.fct_suppression s join trusted.map_customer_source m using (person_key)"
        " where s.source_id = 'a#5' order by all"
    ) == [("own", "a#5"), ("shared_phone", "112")]


def test_a_no_reaches_a_number_in_any_digits_and_a_mailbox_by_any_tag(lab: Lab) -> None:
    reached = (
        "select s.via, m.source_id from trusted.fct_suppression s join trusted.map_customer_source m using (person_key)"
        " where s.source_id = '{}' and m.source <> 'survey' order by all"
    )
    assert lab.rows(reached.format("a#6")) == [("shared_phone", "105")]
    assert {source_id for _, source_id in lab.rows(reached.format("a#7"))} == {"9", "10", "109", "110"}
    assert lab.rows("select value, is_valid from gray.int_contact_point where raw_text like 'Ojo+%' order by 1") == [
        ("ojo+news@example.org", True),
        ("ojo@example.org", False),
    ]


def test_a_flag_on_one_record_reaches_the_whole_person_and_nobody_by_chance(lab: Lab) -> None:
    assert lab.rows(
        "select distinct s.reason, s.via, m.source_id from trusted.fct_suppression s"
        " join trusted.map_customer_source m using (person_key) where s.source = 'crm' order by all"
    ) == [("fraud", "own", "1"), ("fraud", "own", "101"), ("fraud", "own", "102")]


def test_hashes_are_keyed_and_the_same_for_every_spelling_of_a_number(lab: Lab) -> None:
    import hashlib
    import hmac

    from dbt_lab import HASH_KEY

    expected = hmac.new(HASH_KEY.encode(), b"+2348031234567", hashlib.sha256).hexdigest()
    assert lab.rows("select distinct value_hash from gray.int_contact_point where value = '+2348031234567'") == [
        (expected,)
    ]


@pytest.mark.slow
def test_keys_stay_when_records_join_closed_links_are_kept_and_a_no_outlives_its_file(lab: Lab) -> None:
    """The links are of a home that is older than their column `created_at`."""
    held = "select distinct person_key from trusted.fct_suppression where source = 'survey' order by 1"
    held_before = lab.rows(held)
    with lab.connect() as con:
        con.execute("alter table trusted.map_customer_source drop column created_at")
    (before,) = lab.rows("select person_key from trusted.map_customer_source where source_id = '107'")
    lab.set_clock(date(2026, 4, 1))
    lab.load("raw_ledger.m_client", [client(11, "Emeka", "Uche", mobile_no="+2348035555555")])
    lab.delete("raw_crm.contacts", ["108"])
    lab.delete("raw_survey.response", ["a#3"])
    lab.build(*SELECT)
    assert lab.rows(
        "select person_key from trusted.map_customer_source where source = 'ledger' and source_id = '11'"
    ) == [before]
    assert lab.rows("select valid_to, created_at is null from trusted.map_customer_source where source_id = '108'") == [
        (date(2026, 4, 1), False)
    ]
    assert lab.rows("select valid_to, valid_from from trusted.map_customer_source where source_id = '107'") == [
        (None, MADE.date())
    ]
    assert lab.rows("select valid_to from trusted.map_customer_source where source_id = 'a#3'") == [(date(2026, 4, 1),)]
    assert lab.rows(held) == held_before != []


@pytest.mark.slow
def test_contacts_forgotten_at_the_source_leave_no_text_behind(lab: Lab) -> None:
    lab.load("raw_crm.contacts", [contact(111, "Not", "Aphone")])
    lab.build(*SELECT)
    assert lab.one("select count(*) from gray.int_contact_point where raw_text in ('N/A', 'not an address')") == 0


PAIR = "crm:301,crm:302"


@dataclass
class Asked:
    """A warehouse with a question in it, the settings that lead there, and everyone's key as it was first."""

    lab: Lab
    settings: Settings
    keys: dict[str, str]

    def build(self) -> None:
        """The next pass, as far as it is about people."""
        with self.lab.connect() as con:
            write_raw_decisions(con, self.settings.home)
        self.lab.build(*SELECT, "int_identity_review", "int_identity_event")

    def now(self) -> dict[str, str]:
        return dict(
            self.lab.rows("select source_id, person_key from trusted.map_customer_source where valid_to is null")
        )

    def flagged(self) -> set[str]:
        return {key for (key,) in self.lab.rows("select person_key from trusted.fct_suppression")}


@pytest.fixture(scope="module")
def asked(make_lab: Callable[[str], Lab]) -> Asked:
    """A person of two contacts, and a contact that may be theirs: the same day of birth, names nearly, another phone."""
    lab = make_lab("asked")
    lab.set_clock(date(2026, 3, 31))
    lab.load(
        "raw_crm.contacts",
        [
            contact(301, "Amaka", "Nnamdi", phone="08031110001", is_fraud=True),
            contact(302, "Amakka", "Nnamddi", phone="08031110002"),
            contact(303, "Amakka", "Nnamddi", phone="08031110002"),
        ],
    )
    settings = load_settings(_env_file=None, LENDLOOP_HOME=lab.folder)
    settings.home.prepare()
    asked = Asked(lab, settings, {})
    asked.build()
    asked.keys = asked.now()
    return asked


@pytest.mark.slow
def test_who_is_probably_but_not_surely_one_person_is_asked_about_and_not_joined(asked: Asked) -> None:
    questions = {question.pair: question for question in review(asked.settings)}
    assert set(questions) == {PAIR, "crm:301,crm:303"}
    assert Decimal("0.80") <= questions[PAIR].probability < Decimal("0.95")
    assert questions[PAIR].one_shown == "A… N…, phone …01, e-mail none, NG"
    assert "date_of_birth +" in questions[PAIR].because
    assert asked.keys["302"] == asked.keys["303"] != asked.keys["301"]
    assert asked.flagged() == {asked.keys["301"], asked.keys["302"]}


@pytest.mark.slow
def test_a_decision_needs_known_records_a_name_and_a_reason(asked: Asked) -> None:
    for pair, by, because in (
        ("crm:301", "Ada", "seen"),
        ("crm:301,crm:999", "Ada", "seen"),
        (PAIR, " ", "seen"),
        (PAIR, "Ada", ""),
    ):
        with pytest.raises(ConfigurationError):
            decide(asked.settings, pair, "same", by=by, because=because)
    assert read_decisions(asked.settings.home) == []


@pytest.mark.slow
def test_decisions_join_and_part_people_and_what_they_did_can_be_undone(asked: Asked) -> None:
    asked.lab.set_clock(date(2026, 4, 1))
    decide(asked.settings, PAIR, "same", by="Ada", because="called both numbers")
    asked.build()
    merged = asked.now()
    assert len(set(merged.values())) == 1
    assert review(asked.settings) == []
    [merge] = events(asked.settings)
    assert (merge.kind, merge.to_person) == ("merge", merged["301"])

    asked.lab.set_clock(date(2026, 4, 2))
    undo(asked.settings, merge.event[:8], by="Bo", because="a sister")
    asked.build()
    assert asked.now() == asked.keys
    assert review(asked.settings) == []
    assert asked.flagged() == {asked.keys["301"]}
    split, undone = events(asked.settings)
    assert (split.kind, undone) == ("split", merge), "what was undone is told as it was"

    asked.lab.set_clock(date(2026, 4, 3))
    undo(asked.settings, split.event, by="Ada", because="one person after all")
    asked.build()
    assert asked.now() == merged
    assert asked.settings.home.decisions.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_a_record_that_says_something_else_is_compared_again_and_one_that_is_gone_forgotten(asked: Asked) -> None:
    asked.lab.load("raw_crm.contacts", [contact(303, "Zainab", "Bello", phone="08031110003")])
    asked.lab.load("raw_survey.response", [response("a%2Cb.csv#1", "Zainab Belo", phone="08031119999")])
    asked.build()
    assert (
        asked.lab.rows("select one, other from gray.int_identity_match where one <> other and other = 'crm:303'") == []
    )
    incremental = asked.lab.rows("select * from gray.int_identity_match order by all")
    asked.lab.build("--full-refresh", "--select", "int_identity_match")
    assert asked.lab.rows("select * from gray.int_identity_match order by all") == incremental


@pytest.mark.slow
def test_decisions_about_people_in_files_hold_and_can_be_undone(asked: Asked) -> None:
    record, customer = "survey:a%2Cb.csv#1", "crm:303"
    before = asked.now()
    assert before["a%2Cb.csv#1"] != before["303"]
    with asked.lab.connect() as con:
        con.execute("update gray.int_person_founder set founded_on = '2020-01-01' where record_key = ?", [record])
    asked.lab.set_clock(date(2026, 4, 4))
    decide(asked.settings, f"{record},{customer}", "same", by="Ada", because="called")
    asked.build()
    assert asked.now()["a%2Cb.csv#1"] == asked.now()["303"] == before["303"], "a customer's key is not a file's"
    merge = next(event for event in events(asked.settings) if event.kind == "merge" and event.records == [record])
    asked.lab.set_clock(date(2026, 4, 5))
    undo(asked.settings, merge.event, by="Bo", because="another Zainab")
    asked.build()
    assert asked.now() == before
