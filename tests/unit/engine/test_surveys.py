"""Asking many hosts at once."""

from __future__ import annotations

import threading
import time

import pytest
from modelfleet.adapters.surveys import WORKERS, WORKERS_OF_HOST, Question, Surveyor
from modelfleet.errors import ModelfleetError, SourceForbidden, SourceUnavailable

PATIENCE_S = 0.3


class Hosts:
    """Plays hosts, and counts how many questions each is asked at once."""

    def __init__(self):
        self.lock = threading.Lock()
        self.now, self.most, self.asked = {}, {}, {}
        self.hang = threading.Event()

    def question(self, host, answer, *, hangs=False, takes_s=0.0):
        def ask():
            with self.lock:
                self.now[host] = self.now.get(host, 0) + 1
                self.now[""] = self.now.get("", 0) + 1
                self.asked[host] = self.asked.get(host, 0) + 1
                for name in ("", host):
                    self.most[name] = max(self.most.get(name, 0), self.now[name])
            try:
                self.hang.wait() if hangs else time.sleep(takes_s)
                if isinstance(answer, Exception):
                    raise answer
                return answer
            finally:
                with self.lock:
                    self.now[host] -= 1
                    self.now[""] -= 1

        return Question(f"model of {host}", host, ask)


@pytest.fixture
def hosts():
    played = Hosts()
    yield played
    played.hang.set()
    ended(played)


def ended(played):
    deadline = time.monotonic() + 5
    while any(thread.name == "survey" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def unavailable(text="503"):
    return SourceUnavailable("model", text)


def test_every_question_gets_its_answer(hosts):
    questions = {str(number): hosts.question(f"host-{number % 7}", number) for number in range(200)}
    assert Surveyor().survey(questions) == {str(number): number for number in range(200)}
    assert Surveyor().survey({}) == {}


def test_questions_are_asked_in_parallel_within_bounds(hosts):
    questions = {str(number): hosts.question(f"host-{number % 3}", 1, takes_s=0.01) for number in range(90)}
    Surveyor(5).survey(questions)
    assert hosts.most["host-0"] <= WORKERS_OF_HOST
    assert WORKERS_OF_HOST < hosts.most[""] <= WORKERS


def test_an_error_is_the_answer_to_its_question_alone(hosts):
    defect = ValueError("odd")
    refused = SourceForbidden("model", "403")
    questions = {
        "refused": hosts.question("a", refused),
        "broken": hosts.question("a", unavailable()),
        "defect": hosts.question("a", defect),
        "fine": hosts.question("a", 1),
    }
    answers = Surveyor().survey(questions)
    assert (answers["refused"], answers["fine"]) == (refused, 1)
    assert answers["broken"].problem == "503"
    assert "defect of this program" in answers["defect"].problem


def test_a_host_that_hangs_holds_up_itself_alone(hosts):
    questions = {f"hung-{number}": hosts.question("hung", 1, hangs=True) for number in range(40)}
    questions |= {f"fine-{number}": hosts.question("fine", number, takes_s=0.01) for number in range(40)}
    surveyor, began = Surveyor(PATIENCE_S), time.monotonic()
    answers = surveyor.survey(questions)
    assert PATIENCE_S <= time.monotonic() - began < PATIENCE_S + 5
    assert all(answers[f"fine-{number}"] == number for number in range(40))
    assert {answers[f"hung-{number}"].one_line() for number in range(40)} == {
        "model of hung: hung has not answered for 0.3 s; it is tried again"
    }
    # One thread was lost to it, and none more before that one comes back; nobody waits for it again.
    assert hosts.asked["hung"] == 1
    began = time.monotonic()
    assert isinstance(surveyor.survey(questions)["hung-7"], SourceUnavailable)
    assert time.monotonic() - began < PATIENCE_S + 1
    assert hosts.asked["hung"] == 1
    hosts.hang.set()
    ended(hosts)
    assert surveyor.survey(questions)["hung-7"] == 1


def test_a_host_that_hangs_after_it_answered_costs_no_more_than_its_share(hosts):
    questions = {"first": hosts.question("a", 0)}
    questions |= {str(number): hosts.question("a", 1, hangs=True) for number in range(50)}
    answers = Surveyor(PATIENCE_S).survey(questions)
    assert sum(isinstance(answer, SourceUnavailable) for answer in answers.values()) >= 50
    assert hosts.most["a"] <= WORKERS_OF_HOST


def test_a_host_that_only_fails_is_given_up_with_its_own_words(hosts):
    questions = {str(number): hosts.question("a", unavailable("down for now"), takes_s=0.02) for number in range(500)}
    began = time.monotonic()
    answers = Surveyor(PATIENCE_S).survey(questions)
    assert time.monotonic() - began < PATIENCE_S + 5
    assert {answer.problem for answer in answers.values()} == {"down for now"}
    assert hosts.most["a"] == 1
    assert hosts.asked["a"] < 100


def test_few_that_always_fail_do_not_hide_the_others_for_ever(hosts):
    questions = {f"bad-{number}": hosts.question("a", unavailable(), takes_s=PATIENCE_S / 2) for number in range(3)}
    questions |= {f"good-{number}": hosts.question("a", 1) for number in range(3)}
    surveyor, seen = Surveyor(PATIENCE_S), set()
    for _ in range(30):
        seen |= {name for name, answer in surveyor.survey(questions).items() if not isinstance(answer, ModelfleetError)}
        ended(hosts)
        if len(seen) == 3:
            break
    assert seen == {"good-0", "good-1", "good-2"}
