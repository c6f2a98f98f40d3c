"""What people said in surveys, and whom partners list, in three files that nobody checked.

What belongs here: who answered what and when, and what is right or wrong of it in which file. What does not: the files
themselves (`survey_files`).

Partners list people before the lender knows them: those who arrive within `KNOWN_BEFORE` are only in their list.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from sandbox.world import markets, spelling
from sandbox.world.clients import Clients
from sandbox.world.draws import Bools, Draws, Ints
from sandbox.world.people import People
from sandbox.world.units import DAY, NEVER, dates, join, keep, pick, span, text, times

CUSTOMER_SURVEY, PARTNER_LIST, APP_FEEDBACK = range(3)
FILES = ("customer survey.xlsx", "partner-leads.csv", "app_feedback.parquet")
RECORD_PREFIXES = ("R-", "L", "f")
SHEET = "Responses"
KNOWN_BEFORE = 45 * DAY
_ANSWERS = (0.015, 0.015, 0.015)
"""Share of the people who are in each file."""
_ANSWERS_AGAIN = 0.25
"""Of those who answered the customer survey, how many gave feedback in the app too."""


@dataclass(frozen=True)
class Responses:
    """Every row of every file by the day of the view, file by file. Persons may be ones who have not arrived."""

    file: Ints
    number: Ints
    """The record's number in its file."""
    person: Ints
    answered: Ints
    phone: Ints
    phone_key: Ints
    """-1 where no number that works was given."""
    phone_style: Ints
    email_key: Ints
    email_style: Ints
    client: Ints
    """Id of the client that was named, -1 for none; some are mistyped."""
    opted_out: Bools


def people_of(everyone: People, count: int) -> People:
    """The first `count` people: those who have arrived."""
    return People(**{field.name: getattr(everyone, field.name)[:count] for field in fields(People)})


def make_responses(draws: Draws, everyone: People, clients: Clients, as_of: int) -> Responses:
    """Who is in which file. `everyone`: the people who have arrived, and then those who will within KNOWN_BEFORE."""
    answers = [draws.chance(f"survey {file}", share, everyone.id) for file, share in enumerate(_ANSWERS)]
    answers[APP_FEEDBACK] |= answers[CUSTOMER_SURVEY] & draws.chance("survey again", _ANSWERS_AGAIN, everyone.id)
    person = np.concatenate([np.flatnonzero(each) for each in answers])
    file = np.repeat(np.arange(len(FILES)), [int(each.sum()) for each in answers])
    answered = everyone.arrived[person] + span(3 + 240 * draws.uniform("survey answered", person, file))
    answered = np.where(file == PARTNER_LIST, everyone.arrived[person] - KNOWN_BEFORE, answered)
    asked = answered <= as_of
    file, person, answered = file[asked], person[asked], answered[asked]
    keys = (person, file)
    moved = everyone.phone_changed[person] <= answered
    phone = np.where(moved, everyone.later_phone[person], everyone.phone[person])
    phone_style = spelling.phone_styles(draws, "survey phone", *keys)
    phone_style = np.where(
        draws.chance("survey phone works", 0.7, *keys), phone_style % spelling.VALID_PHONE_STYLES, phone_style
    )
    email_style = draws.choice("survey e-mail", (70, 6, 3, 2, 19), *keys)
    email_style = np.where(file == PARTNER_LIST, spelling.NO_MAIL, email_style)
    row = np.where(
        person < len(clients.of_person), clients.of_person[np.minimum(person, len(clients.of_person) - 1)], -1
    )
    known = (row >= 0) & (file == CUSTOMER_SURVEY) & draws.chance("survey client", 0.6, *keys)
    known &= clients.created[np.maximum(row, 0)] <= answered
    right = clients.id[np.maximum(row, 0)]
    wrong = draws.chance("survey client wrong", 0.01, *keys)
    return Responses(
        file=file,
        number=1_000 + person,
        person=person,
        answered=answered,
        phone=phone,
        phone_key=np.where(phone_style < spelling.VALID_PHONE_STYLES, phone, -1),
        phone_style=phone_style,
        email_key=np.where(email_style < spelling.VALID_MAIL_STYLES, everyone.email[person], -1),
        email_style=email_style,
        client=np.where(known, np.where(wrong, np.where(right > 30, right - 20, right + 20), right), -1),
        opted_out=draws.chance("survey no", 0.05, *keys),
    )


def response_ids(responses: Responses) -> pa.Array:
    """The key that each row has where it is known by its file and record."""
    names = ("customer%20survey.xlsx#Responses#R-", "partner-leads.csv#L", "app_feedback.parquet#f")
    return join(pick(responses.file, *names), text(responses.number))


def response_table(draws: Draws, everyone: People, responses: Responses) -> pa.Table:
    """`survey_responses`: the rows as they are typed in; which columns a file has, says the file."""
    person, file = responses.person, responses.file
    keys = (person, file)
    odd = np.where(file == PARTNER_LIST, 0.25, 0.10)
    style = np.where(
        draws.uniform("survey name odd", *keys) < odd, spelling.name_styles(draws, "survey name", 1.0, *keys), 0
    )
    birth_known = draws.chance("survey birth", np.where(file == PARTNER_LIST, 0.5, 0.8), *keys)
    return pa.table(
        {
            "file": pa.array(file),
            "record": join(pick(file, *RECORD_PREFIXES), text(responses.number)),
            "market": pa.array(markets.MARKETS).take(pa.array(everyone.market[person])),
            "first_name": spelling.first_names(everyone, person, style),
            "last_name": spelling.last_names(
                everyone, person, spelling.name_styles(draws, "survey surname", 0.06, *keys)
            ),
            "phone": spelling.phones(everyone, person, responses.phone, responses.phone_style),
            "email": spelling.emails(everyone, person, responses.email_style),
            "date_of_birth": dates(np.where(birth_known, everyone.birth_day[person], NEVER // DAY)),
            "customer_id": keep(text(responses.client), responses.client >= 0),
            "answered_at": times(responses.answered),
            "score": pa.array(draws.integers("survey score", 0, 11, *keys)),
            "opted_out": pa.array(responses.opted_out),
        }
    )
