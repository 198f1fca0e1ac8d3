"""What is collected from: the settings' templates, filled in for every host that they are for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from engine.app.declarations import own_names
from engine.config.inventory import Inventory, InventoryError
from engine.config.settings import Exposition, Settings
from engine.config.settings import Probe as ProbeSetting
from engine.controller import Paced
from engine.model.labels import Batch
from engine.model.runbook import Value
from engine.ports import Clock
from engine.sources.host import HostSource
from engine.templates import TemplateError, render_text

if TYPE_CHECKING:  # they bring aiohttp, which a project without pages and probes has no use for
    from engine.sources.exposition import Endpoint
    from engine.sources.probe import Probe

Trouble = Callable[[str], None]
Setting = TypeVar("Setting", Exposition, ProbeSetting)


class Following(Protocol):
    """A source whose endpoints follow the inventory."""

    def follow(self, inventory: Inventory) -> None:
        """Collect from the hosts of this inventory from now on."""
        ...

    def collect(self, at: float) -> Batch:
        """Return what there is to see now."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class Pages:
    """The metric pages of all hosts, as the settings name them."""

    def __init__(self, settings: tuple[Exposition, ...], trouble: Trouble) -> None:
        from engine.sources.exposition import ExpositionSource

        self.settings = settings
        self.trouble = trouble
        self.source = ExpositionSource()

    def follow(self, inventory: Inventory) -> None:
        """Collect from the pages of this inventory's hosts from now on."""
        self.source.set_endpoints(tuple(self.endpoints(inventory)))

    def endpoints(self, inventory: Inventory) -> Iterator[Endpoint]:
        """Yield the page of every host that a setting is for; a host whose address cannot be told is remarked upon."""
        from engine.sources.exposition import Endpoint

        for setting in self.settings:
            for name in hosts_of(setting.hosts, inventory, self.trouble):
                url = filled(setting.url, setting.job, name, inventory, self.trouble)
                if url is not None:
                    yield Endpoint(url, instance_of(name, inventory), setting.job, timeout=setting.timeout)

    def collect(self, at: float) -> Batch:
        """Return the samples of every page."""
        return self.source.collect(at)

    def close(self) -> None:
        """Let go of connections."""
        self.source.close()


class Probes:
    """The probes of all hosts, as the settings name them."""

    def __init__(self, settings: tuple[ProbeSetting, ...], trouble: Trouble) -> None:
        from engine.sources.probe import ProbeSource

        self.settings = settings
        self.trouble = trouble
        self.source = ProbeSource()

    def follow(self, inventory: Inventory) -> None:
        """Probe this inventory's hosts from now on."""
        self.source.set_probes(tuple(self.probes(inventory)))

    def probes(self, inventory: Inventory) -> Iterator[Probe]:
        """Yield the probe of every host that a setting is for."""
        for setting in self.settings:
            for name in hosts_of(setting.hosts, inventory, self.trouble):
                address = filled(setting.address, setting.job, name, inventory, self.trouble)
                probe = probe_of(setting, address, instance_of(name, inventory)) if address else None
                if probe is not None:
                    yield probe
                elif address:
                    self.trouble(f"probe {setting.job} of {name}: its address is not host:port")

    def collect(self, at: float) -> Batch:
        """Return how every probe went."""
        return self.source.collect(at)

    def close(self) -> None:
        """Let go of connections."""
        self.source.close()


def probe_of(setting: ProbeSetting, address: str, instance: str) -> Probe | None:
    """Return one probe; None when its address is none."""
    from engine.sources.probe import HttpProbe, TcpProbe

    if setting.kind == "http":
        return HttpProbe(address, instance, setting.job, frozenset(setting.status), timeout=setting.timeout)
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:  # noqa: PLR2004  there are no more ports
        return None
    banner = (setting.banner or "").encode()
    return TcpProbe(host.strip("[]"), int(port), instance, setting.job, banner, timeout=setting.timeout)


class Watched:
    """All sources of a project; those that follow the inventory look it up before each collection."""

    def __init__(self, settings: Settings, inventory: Callable[[], Inventory], trouble: Trouble) -> None:
        self.settings = settings
        self.inventory = inventory
        self.trouble = trouble
        self._open: list[Following] = []

    def paced(self) -> tuple[Paced, ...]:
        """Return every source with its interval: this machine, and the pages and probes of each pace."""
        found: list[Paced] = []
        if self.settings.host:
            found.append(Paced(HostSource(own_instance(self.inventory())), self.settings.interval))
        for interval, pages in by_pace(self.settings.expositions, self.settings.interval).items():
            found.append(Paced(self.spread(Pages(pages, self.trouble)), interval))
        for interval, probes in by_pace(self.settings.probes, self.settings.interval).items():
            found.append(Paced(self.following(Probes(probes, self.trouble)), interval))
        return tuple(found)

    def following(self, source: Following) -> Follower:
        """Have a source follow the inventory."""
        self._open.append(source)
        return Follower(source, self.inventory)

    def spread(self, pages: Pages) -> SpreadFollower:
        """Have pages follow the inventory, each looked at in its own time."""
        self._open.append(pages)
        return SpreadFollower(pages, self.inventory)

    def close(self) -> None:
        """Let go of all connections."""
        for source in self._open:
            source.close()


class Follower:
    """A source that takes up hosts as the inventory gains them, and drops those that it loses."""

    def __init__(self, source: Following, inventory: Callable[[], Inventory]) -> None:
        self.source = source
        self.inventory = inventory
        self._known: Inventory | None = None

    def collect(self, at: float) -> Batch:
        """Return what there is to see now on the hosts that there are now."""
        self.look_up()
        return self.source.collect(at)

    def look_up(self) -> None:
        """Have the source take up the hosts that there are now."""
        inventory = self.inventory()
        if inventory is not self._known:
            self.source.follow(inventory)
            self._known = inventory


class SpreadFollower(Follower):
    """Pages that follow the inventory, and are looked at one after the other over each interval."""

    def __init__(self, pages: Pages, inventory: Callable[[], Inventory]) -> None:
        super().__init__(pages, inventory)
        self.pages = pages

    def feed(self, interval: float, clock: Clock, stop: threading.Event) -> Iterator[Batch]:
        """Yield samples until told to stop, of each host's pages once an interval."""
        return self.pages.source.feed(interval, clock, stop, self.look_up)


def by_pace(settings: Iterable[Setting], interval: float) -> Mapping[float, tuple[Setting, ...]]:
    """Return the settings by their interval."""
    paces: dict[float, list[Setting]] = {}
    for setting in settings:
        paces.setdefault(setting.interval or interval, []).append(setting)
    return {pace: tuple(together) for pace, together in paces.items()}


def hosts_of(pattern: str, inventory: Inventory, trouble: Trouble) -> tuple[str, ...]:
    """Return the hosts of a pattern; one that matches none is remarked upon."""
    try:
        names = inventory.resolve(pattern)
    except InventoryError as error:
        trouble(f"hosts {pattern!r}: {error}")
        return ()
    if not names:
        trouble(f"hosts {pattern!r} matches no host of the inventory")
    return names


def filled(template: str, job: str, name: str, inventory: Inventory, trouble: Trouble) -> str | None:
    """Return an address with the host's variables filled in; None, with a remark, when one is missing.

    No remark repeats an address: it may hold a password.
    """
    values: dict[str, Value | str] = {"inventory_hostname": name, "ansible_host": name, **inventory.hosts.get(name, {})}
    try:
        return render_text(template, values)
    except TemplateError as error:
        trouble(f"{job} of {name}: its address cannot be told: {error}")
        return None


def instance_of(name: str, inventory: Inventory) -> str:
    """Return the label `instance` of what a host exports."""
    known = inventory.hosts.get(name, {}).get("mendbook_instance")
    return known if isinstance(known, str) else name


def own_instance(inventory: Inventory) -> str:
    """Return the `instance` of this machine: the inventory's name for it, where it has one."""
    for target in inventory.fleet:
        if target.instances & own_names():
            return instance_of(target.name, inventory)
    return socket.gethostname()
