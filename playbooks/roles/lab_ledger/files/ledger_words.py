"""What the ledger is told: its settings, and what callers ask for. Nothing here needs a database."""

from __future__ import annotations

import configparser
import json
import uuid
from dataclasses import dataclass

AMOUNT_LIMIT = 10**12


class SettingsError(Exception):
    """The settings cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What stands in ledger.conf."""

    node: str
    address: str
    port: int
    threads: int
    queue: int
    hosts: tuple[str, ...]
    database_port: int
    database: str
    user: str
    password: str
    scan_interval: float


def read_settings(text: str) -> Settings:
    """Return the settings that the text holds. Raises SettingsError for anything that is missing, unknown or out of range."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
        server, database = dict(parser["server"]), dict(parser["database"])
        settings = Settings(
            node=server.pop("node"),
            address=server.pop("address", "127.0.0.1"),
            port=int(server.pop("port", "8000")),
            threads=int(server.pop("threads", "8")),
            queue=int(server.pop("queue", "32")),
            hosts=tuple(database.pop("hosts").split()),
            database_port=int(database.pop("port", "5432")),
            database=database.pop("name", "ledger"),
            user=database.pop("user", "ledger"),
            password=database.pop("password", ""),
            scan_interval=float(server.pop("scan_interval", "2")),
        )
    except KeyError as error:
        raise SettingsError(f"{error} is missing") from error
    except (configparser.Error, ValueError) as error:
        raise SettingsError(str(error).replace("\n", " ")) from error
    if unknown := [*server, *database]:
        raise SettingsError(f"unknown: {', '.join(unknown)}")
    if not (
        settings.hosts and 0 < settings.port < 1 << 16 and 0 < settings.threads <= 64 and 0 < settings.queue <= 1024
    ):
        raise SettingsError("hosts, port, threads (1 to 64) or queue (1 to 1024) cannot be used")
    if not 0.1 <= settings.scan_interval <= 3600:
        raise SettingsError("scan_interval must lie between 0.1 and 3600 seconds")
    return settings


class Refused(Exception):
    """The caller asked for something that cannot be; repeating it will not help."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Transfer:
    """An amount that moves from one account to another, once under its id."""

    id: str
    source: int
    destination: int
    amount: int


def read_transfer(body: bytes) -> Transfer:
    """Return the transfer that a request's body asks for. Raises Refused."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the body is not JSON") from error
    if not isinstance(asked, dict) or set(asked) != {"id", "source", "destination", "amount"}:
        raise Refused(400, "the body needs id, source, destination and amount, and nothing else")
    numbers = [asked["source"], asked["destination"], asked["amount"]]
    if any(type(number) is not int for number in numbers):
        raise Refused(400, "source, destination and amount are whole numbers")
    if not 1 <= asked["amount"] <= AMOUNT_LIMIT or asked["source"] == asked["destination"]:
        raise Refused(400, f"an amount from 1 to {AMOUNT_LIMIT} moves between two accounts")
    if not all(0 < number < 1 << 31 for number in numbers[:2]):
        raise Refused(404, "there is no such account")
    return Transfer(read_id(asked["id"]), *numbers)


def read_id(text: object) -> str:
    """Return a transfer's id in its one spelling. Raises Refused."""
    try:
        return str(uuid.UUID(text if isinstance(text, str) else ""))
    except ValueError as error:
        raise Refused(400, "an id is a UUID") from error
