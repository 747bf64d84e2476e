"""Nobody waits to send, nobody is held up by another's full inbox, and no message is lost."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from carpool.errors import MailboxError, MailboxFull, MailboxTimeout, UnknownRecipient
from carpool.mailbox import CAPACITY, Inbox, Mailbox
from carpool.types import Message, MessageKind


def message(to: str, payload: Any = None, sender: str = "me") -> Message:
    return Message(sender=sender, to=to, kind=MessageKind.CUSTOM, payload=payload)


async def a_few_turns() -> None:
    """Enough for every other task to come to where it waits."""
    for _ in range(5):
        await checkpoint()


async def fill(mailbox: Mailbox, name: str, count: int = CAPACITY) -> None:
    for number in range(count):
        await mailbox.send(message(name, number))


def payloads(inbox: Inbox) -> list[Any]:
    """What is unread, without reading it."""
    return [each.payload for each in inbox._messages]


# Sending


async def test_messages_are_received_in_the_order_they_were_sent() -> None:
    mailbox = Mailbox()
    inbox = mailbox.register("a")

    await fill(mailbox, "a", 10)

    assert [(await inbox.receive()).payload for _ in range(10)] == list(range(10))
    assert len(inbox) == 0


async def test_a_message_arrives_as_it_was_sent() -> None:
    mailbox = Mailbox()
    inbox = mailbox.register("a")
    sent = message("a", {"n": [1, None, "é"]})

    await mailbox.send(sent)

    assert await inbox.receive() == sent


async def test_an_unknown_recipient_is_an_error_that_names_who_there_is() -> None:
    mailbox = Mailbox()
    mailbox.register("b")
    mailbox.admit("a")

    with pytest.raises(UnknownRecipient, match=r"'c'.*a, b") as refusal:
        await mailbox.send(message("c"))

    assert (refusal.value.name, refusal.value.known) == ("c", ["a", "b"])
    assert mailbox.names == ["a", "b"], "asking did not make it known"


async def test_with_nobody_there_everybody_is_unknown() -> None:
    with pytest.raises(UnknownRecipient, match="nobody"):
        await Mailbox().send(message("a"))


async def test_who_is_admitted_can_be_sent_to_before_it_has_an_inbox() -> None:
    mailbox = Mailbox()
    mailbox.admit("late")

    await mailbox.send(message("late", 1))

    assert (await mailbox.register("late").receive()).payload == 1


async def test_admitting_ten_thousand_makes_no_inbox() -> None:
    mailbox = Mailbox()
    for number in range(10_000):
        mailbox.admit(str(number))

    assert len(mailbox.names) == 10_000
    assert not mailbox._inboxes


def test_registering_a_name_again_gives_the_same_inbox() -> None:
    mailbox = Mailbox()

    assert mailbox.register("a") is mailbox.register("a")
    assert mailbox.register("a") is not mailbox.register("b")


async def test_one_may_send_to_oneself() -> None:
    mailbox = Mailbox()
    inbox = mailbox.register("me")

    await mailbox.send(message("me", 1, sender="me"))

    assert (await inbox.receive()).payload == 1


# Bounds


def test_an_inbox_holds_64_messages() -> None:
    assert CAPACITY == 64
    assert Mailbox().register("a").capacity == 64


async def test_a_full_inbox_refuses_the_65th_at_once_and_keeps_the_64() -> None:
    mailbox = Mailbox()
    inbox = mailbox.register("a")
    await fill(mailbox, "a")

    with anyio.fail_after(5), pytest.raises(MailboxFull, match=r"64 unread.*: a;") as refusal:
        await mailbox.send(message("a", "too many"))

    assert (refusal.value.names, refusal.value.capacity) == (["a"], 64)
    assert payloads(inbox) == list(range(64))


async def test_an_inbox_that_was_full_takes_messages_again_once_one_is_read() -> None:
    mailbox = Mailbox()
    inbox = mailbox.register("a")
    await fill(mailbox, "a")

    await inbox.receive()
    await mailbox.send(message("a", 64))

    assert payloads(inbox) == list(range(1, 65))


@pytest.mark.parametrize("capacity", [0, -1])
def test_an_inbox_that_holds_nothing_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match=str(capacity)):
        Mailbox(capacity)


async def test_a_slow_reader_blocks_neither_registration_nor_another_recipient() -> None:
    mailbox = Mailbox()
    mailbox.register("slow")
    quick = mailbox.register("quick")
    await fill(mailbox, "slow")

    with anyio.fail_after(5):
        await mailbox.send(message("quick", 1))
        new = mailbox.register("new")
        await mailbox.send(message("new", 2))

        assert (await quick.receive()).payload == 1
        assert (await new.receive()).payload == 2


@pytest.mark.parametrize("error", [UnknownRecipient("a", []), MailboxFull(["a"], 64), MailboxTimeout("a", 1.0)])
def test_every_error_of_the_mail_is_a_mailbox_error(error: Exception) -> None:
    assert isinstance(error, MailboxError)


# Broadcasting


async def test_a_broadcast_reaches_everyone_but_its_sender_by_name() -> None:
    mailbox = Mailbox()
    inboxes = {name: mailbox.register(name) for name in ("a", "b", "c")}

    await mailbox.broadcast(message("everyone", "hello", sender="b"))

    assert [len(inbox) for inbox in inboxes.values()] == [1, 0, 1]
    for name in ("a", "c"):
        received = await inboxes[name].receive()
        assert (received.to, received.sender, received.payload) == (name, "b", "hello")


async def test_a_broadcast_reaches_everyone_else_when_one_inbox_is_full() -> None:
    mailbox = Mailbox()
    inboxes = {name: mailbox.register(name) for name in "abcde"}
    await fill(mailbox, "a")
    await fill(mailbox, "c")

    with pytest.raises(MailboxFull) as refusal:
        await mailbox.broadcast(message("", "hello", sender="e"))

    assert refusal.value.names == ["a", "c"]
    assert [len(inbox) for inbox in inboxes.values()] == [64, 1, 64, 1, 0]


async def test_a_broadcast_reaches_who_is_admitted_and_has_no_inbox_yet() -> None:
    mailbox = Mailbox()
    mailbox.admit("a")

    await mailbox.broadcast(message(""))

    assert len(mailbox.register("a")) == 1


async def test_a_broadcast_by_somebody_from_outside_reaches_everyone() -> None:
    mailbox = Mailbox()
    inbox = mailbox.register("a")

    await mailbox.broadcast(message("", sender="the outside"))

    assert len(inbox) == 1


async def test_a_broadcast_to_nobody_is_no_error() -> None:
    mailbox = Mailbox()
    await mailbox.broadcast(message(""))
    mailbox.register("me")
    await mailbox.broadcast(message(""))

    assert len(mailbox.register("me")) == 0


# Receiving


async def test_a_receiver_waits_for_a_message() -> None:
    mailbox = Mailbox()
    inbox = mailbox.register("a")
    got: list[Any] = []

    async def receive() -> None:
        got.append((await inbox.receive()).payload)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(receive)
            await a_few_turns()
            assert got == []
            await mailbox.send(message("a", 1))

    assert got == [1]


@pytest.mark.parametrize("timeout_s", [0, 0.0, 0.001, -1])
async def test_a_timeout_is_an_error_that_says_whose_and_how_long(timeout_s: float) -> None:
    inbox = Mailbox().register("a")

    with anyio.fail_after(5), pytest.raises(MailboxTimeout, match="'a'") as timeout:
        await inbox.receive(timeout_s=timeout_s)

    assert (timeout.value.name, timeout.value.timeout_s) == ("a", timeout_s)


async def test_a_message_that_is_there_is_received_even_with_no_time_to_wait() -> None:
    mailbox = Mailbox()
    inbox = mailbox.register("a")
    await mailbox.send(message("a", 1))

    assert (await inbox.receive(timeout_s=0)).payload == 1


async def test_after_a_timeout_the_next_message_is_received() -> None:
    mailbox = Mailbox()
    inbox = mailbox.register("a")

    for number in range(3):
        with pytest.raises(MailboxTimeout):
            await inbox.receive(timeout_s=0)
        await mailbox.send(message("a", number))
        assert (await inbox.receive(timeout_s=0)).payload == number


@pytest.mark.parametrize("send_first", [True, False])
async def test_a_message_that_comes_together_with_a_cancellation_is_received_or_unread(send_first: bool) -> None:
    mailbox = Mailbox()
    inbox = mailbox.register("a")
    got: list[Any] = []

    async def receive() -> None:
        got.append((await inbox.receive()).payload)

    async with anyio.create_task_group() as group:
        group.start_soon(receive)
        await a_few_turns()
        if send_first:
            await mailbox.send(message("a", 1))
        group.cancel_scope.cancel()
        if not send_first:
            inbox.put(message("a", 1))

    assert got + payloads(inbox) == [1]
    await mailbox.send(message("a", 2))
    assert len(inbox) == 2 - len(got)
    with anyio.fail_after(5):
        assert (await inbox.receive()).payload == (2 if got else 1)


async def test_receivers_that_are_cancelled_at_random_lose_no_message_and_repeat_none() -> None:
    chance = random.Random(3)
    mailbox = Mailbox()
    inbox = mailbox.register("a")
    got: list[int] = []
    sent = 0

    async def receive() -> None:
        while True:
            got.append((await inbox.receive()).payload)

    with anyio.fail_after(20):
        for _ in range(300):
            async with anyio.create_task_group() as group:
                group.start_soon(receive)
                for _ in range(chance.randrange(4)):
                    await checkpoint()
                for _ in range(chance.randrange(3)):
                    inbox.put(message("a", sent))
                    sent += 1
                    if chance.random() < 0.5:
                        await checkpoint()
                group.cancel_scope.cancel()

    assert got + payloads(inbox) == list(range(sent))


async def test_an_inbox_can_be_iterated_and_left_and_iterated_again() -> None:
    mailbox = Mailbox()
    inbox = mailbox.register("a")
    await fill(mailbox, "a", 5)
    got: list[int] = []

    for stop in (2, 4):
        async for each in inbox:
            got.append(each.payload)
            if each.payload == stop:
                break
    await a_few_turns()

    assert got == [0, 1, 2, 3, 4]


async def test_iterating_waits_for_what_comes() -> None:
    mailbox = Mailbox()
    inbox = mailbox.register("a")
    got: list[int] = []

    async def read() -> None:
        async for each in inbox:
            got.append(each.payload)  # noqa: PERF401 - what was read is looked at while it goes on

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        for number in range(5):
            await a_few_turns()
            assert got == list(range(number))
            await mailbox.send(message("a", number))
        await a_few_turns()
        group.cancel_scope.cancel()

    assert got == [0, 1, 2, 3, 4]


async def test_two_agents_talk_a_thousand_times() -> None:
    mailbox = Mailbox()
    one, other = mailbox.register("one"), mailbox.register("other")

    async def answer(inbox: Inbox, name: str, to: str) -> None:
        for _ in range(500):
            received = await inbox.receive(timeout_s=5)
            await mailbox.send(message(to, received.payload + 1, sender=name))

    with anyio.fail_after(20):
        await mailbox.send(message("one", 0))
        async with anyio.create_task_group() as group:
            group.start_soon(answer, one, "one", "other")
            group.start_soon(answer, other, "other", "one")

    assert (await one.receive()).payload == 1_000
    assert len(other) == 0
