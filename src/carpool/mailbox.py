"""Messages between the agents of one run, in bounded inboxes.

Sending never waits: a full inbox is the sender's error at once, and nobody else's. A name costs an entry in a
set; its inbox is made when somebody first sends to it or reads from it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator

import anyio
from msgspec.structs import replace

from .errors import MailboxFull, MailboxTimeout, UnknownRecipient
from .types import Message
from .wakeup import Wakeup

__all__ = ["CAPACITY", "Inbox", "Mailbox"]

CAPACITY = 64
"""Unread messages that an inbox holds."""


class Inbox:
    """The messages for one name, oldest first. Read by one task at a time; iterating never ends by itself."""

    def __init__(self, name: str, capacity: int = CAPACITY) -> None:
        self.name = name
        self.capacity = capacity
        self._messages: deque[Message] = deque()
        self._arrived: Wakeup | None = None

    async def receive(self, timeout_s: float | None = None) -> Message:
        """The oldest unread message; waits for one.

        :raises MailboxTimeout: when none comes within ``timeout_s`` seconds. No message is lost by that, nor
            by a cancellation.
        """
        with anyio.move_on_after(timeout_s):
            while not self._messages:
                if self._arrived is None:
                    self._arrived = Wakeup()
                await self._arrived.wait()
        if not self._messages:
            raise MailboxTimeout(self.name, timeout_s or 0.0)
        return self._messages.popleft()

    def __len__(self) -> int:
        return len(self._messages)

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            yield await self.receive()

    def put(self, message: Message) -> bool:
        """Add ``message``; ``False`` if there is no room."""
        if len(self._messages) >= self.capacity:
            return False
        self._messages.append(message)
        if self._arrived is not None:
            self._arrived.set()
        return True


class Mailbox:
    """The inboxes of one run. Agents are registered by the run when they are asked for, until it ends."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        if capacity < 1:
            raise ValueError(f"an inbox holds at least 1 message, not {capacity!r}")
        self._capacity = capacity
        self._names: set[str] = set()
        self._inboxes: dict[str, Inbox] = {}

    def register(self, name: str) -> Inbox:
        """The inbox of ``name``, which from now on can be sent to; the same one every time."""
        self._names.add(name)
        inbox = self._inboxes.get(name)
        if inbox is None:
            inbox = self._inboxes[name] = Inbox(name, self._capacity)
        return inbox

    def admit(self, name: str) -> None:
        """Let ``name`` be sent to, without making it an inbox yet."""
        self._names.add(name)

    @property
    def names(self) -> list[str]:
        """Who can be sent to, sorted."""
        return sorted(self._names)

    async def send(self, message: Message) -> None:
        """Put ``message`` into its recipient's inbox. Does not wait.

        :raises UnknownRecipient: when nobody of that name takes part in this run.
        :raises MailboxFull: when the recipient has not read for too long; the message is not delivered.
        """
        if message.to not in self._names:
            raise UnknownRecipient(message.to, self.names)
        if not self.register(message.to).put(message):
            raise MailboxFull([message.to], self._capacity)

    async def broadcast(self, message: Message) -> None:
        """Send to everyone but the sender, each addressed by name. Does not wait.

        :raises MailboxFull: naming those who did not get it; everyone else did.
        """
        others = [name for name in self.names if name != message.sender]
        full = [name for name in others if not self.register(name).put(replace(message, to=name))]
        if full:
            raise MailboxFull(full, self._capacity)
