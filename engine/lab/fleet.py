"""The nodes of the cluster, and what the node manager may be asked to do with them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from engine.lab import files, process
from engine.lab.desk import Refusal, Reply
from engine.lab.settings import MAX_WEB_NODES, MEMORY_LIMIT, STORE_NODES, WEB_NODES, Layout, Role
from engine.lab.units import Node, State, Unit

_OOM_EVERY = 0.2
_REMEMBERED = 10_000
_ID = 200
_LEAVE_SECONDS = 3.0  # out of the inventory first, so that whoever watches it does not take the end for a fault
_DRAIN_SECONDS = 0.4  # the balancer looks at its list every 0.1 s, and what it sent before that is answered by then


class Fleet:
    """The nodes, and what may be asked of them; each method is one command and converges."""

    def __init__(self, layout: Layout, seed: int) -> None:
        self.layout = layout
        self.ended = asyncio.Event()
        self.closing = False  # from now on nothing is started
        self._seed = seed
        self._once: OrderedDict[str, Reply] = OrderedDict()
        self._removed: set[str] = set()
        self._adding = asyncio.Lock()
        self.nodes: dict[str, Node] = {}
        for role, count in ((Role.STORE, STORE_NODES), (Role.WEB, WEB_NODES)):
            for number in range(1, count + 1):
                self._create(f"{role}-{number}", role)
        self._create("lb", Role.LB)
        self._traffic = Unit(
            "traffic", "engine.lab.traffic", [str(layout.root), self.nodes["lb"].address, str(seed)], layout.log
        )
        self._fills: dict[str, Unit] = {}

    @property
    def units(self) -> list[Unit]:
        """Every process of the cluster but the manager."""
        return [*self.nodes.values(), self._traffic, *self._fills.values()]

    async def begin(self) -> None:
        """Start every node, and the traffic once all of them answer."""
        self._write()
        for node in self.nodes.values():
            node.spawn()
        self._record()
        await asyncio.gather(*(node.answering() for node in self.nodes.values()))
        self._traffic.spawn()
        self._record()

    def kill(self) -> None:
        """Kill everything at once."""
        for unit in self.units:
            unit.kill()

    def reap(self) -> None:
        """Take notice of every process that has ended."""
        for unit in self.units:
            unit.reap()

    async def watch_memory(self) -> None:
        """Do what the kernel's out-of-memory killer does, for the limits that the nodes have here."""
        while True:
            await asyncio.sleep(_OOM_EVERY)
            self.reap()
            for node in self.nodes.values():
                node.punish(MEMORY_LIMIT)

    async def obey(self, request: Reply) -> Reply:
        """Obey one request of the control socket. Raises Refusal."""
        match request.get("command"):
            case "status":
                return {"changed": False, "nodes": {name: self._describe(node) for name, node in self.nodes.items()}}
            case "start":
                return await self._on_node(request, self._start)
            case "stop":
                return await self._on_node(request, self._stop)
            case "restart":
                return await self._restart(request)
            case "attach":
                return await self._on_node(request, lambda node: self._attach(node, True))
            case "detach":
                return await self._on_node(request, lambda node: self._attach(node, False))
            case "add":
                return await self._add(request)
            case "remove":
                return await self._remove(request)
            case "shutdown":
                self.ended.set()
                return {"changed": True}
            case unknown:
                raise Refusal(f"unknown command {_shown(unknown)}")

    async def obey_lab(self, request: Reply) -> Reply:
        """Obey one request of the private socket: start or end the process that fills a node's cache."""
        node = self._node(request)
        match request.get("command"):
            case "fill":
                running = self._fills.get(node.name)
                if running is not None and running.pid is not None:
                    return {"changed": False, "pid": running.pid}
                if self.closing:
                    raise Refusal("the cluster is ending")
                unit = Unit(f"fill {node.name}", "engine.lab.fill", [str(node.directory)], self.layout.log)
                self._fills[node.name] = unit
                unit.spawn()
                self._record()
                return {"changed": True, "pid": unit.pid}
            case "end_fill":
                ending = self._fills.pop(node.name, None)
                if ending is not None:
                    await ending.end()
                return {"changed": ending is not None}
            case unknown:
                raise Refusal(f"unknown command {_shown(unknown)}")

    def _create(self, name: str, role: Role) -> Node:
        node = Node(self.layout, name, role, self._seed)
        self.nodes[name] = node
        node.configure(tuple(store.address for store in self.nodes.values() if store.role is Role.STORE))
        return node

    def _describe(self, node: Node) -> Reply:
        known: Reply = {
            "role": node.role,
            "state": node.state,
            "pid": node.pid,
            "port": node.port,
            "directory": str(node.directory),
            "attached": node.attached,
        }
        if node.state is State.DEAD and node.death:
            known["reason"] = node.death
        return known

    def _node(self, request: Reply) -> Node:
        name = request.get("node")
        node = self.nodes.get(name) if isinstance(name, str) else None
        if node is None:
            raise Refusal(f"unknown node {_shown(name)}; there are {', '.join(sorted(self.nodes))}")
        return node

    async def _on_node(self, request: Reply, act: Callable[[Node], Awaitable[bool]]) -> Reply:
        node = self._node(request)
        async with node.lock:
            self._node(request)  # it may have been removed while we waited for its lock
            changed = await act(node)
            self._record()
            return {"changed": changed, **self._describe(node)}

    async def _start(self, node: Node) -> bool:
        if self.closing:
            raise Refusal("the cluster is ending")
        try:
            return await node.start()
        except TimeoutError:
            raise Refusal(f"{node.name} was started but does not answer") from None

    async def _stop(self, node: Node) -> bool:
        return await node.stop()

    async def _restart(self, request: Reply) -> Reply:
        node = self._node(request)
        once = _once(request)

        async def act(node: Node) -> bool:
            if once and f"restart {node.name} {once}" in self._once:
                return False
            await node.stop()
            await self._start(node)
            self._remember(f"restart {node.name}", once, {})
            return True

        return await self._on_node({"node": node.name}, act)

    async def _attach(self, node: Node, attached: bool) -> bool:
        if node.role is not Role.WEB:
            raise Refusal(f"{node.name} is a {node.role} node; the balancer takes web nodes")
        if node.attached is attached:
            return False
        node.attached = attached
        self._write()
        return True

    async def _add(self, request: Reply) -> Reply:
        """Start the next free web node, not attached yet; with a `once` that was used, tell again which it was."""
        if request.get("role") != Role.WEB:
            raise Refusal(f"only web nodes can be added, not {_shown(request.get('role'))}")
        once = _once(request)
        async with self._adding:
            known = self._once.get(f"add web {once}") if once else None
            if known is not None:
                return {**known, "changed": False}
            free = [name for number in range(1, MAX_WEB_NODES + 1) if (name := f"web-{number}") not in self.nodes]
            if not free:
                raise Refusal(f"there are {MAX_WEB_NODES} web nodes already, which is the most this cluster has")
            node = self._create(free[0], Role.WEB)
            node.attached = False
            async with node.lock:
                try:
                    await self._start(node)
                except Refusal:
                    await self._forget(node)
                    raise
            self._removed.discard(node.name)
            self._write()
            self._record()
            reply: Reply = {"node": node.name, "port": node.port}
            self._remember("add web", once, reply)
            return {**reply, "changed": True}

    async def _remove(self, request: Reply) -> Reply:
        """Take an added node out of the balancer, end it and delete its directory."""
        name = request.get("node")
        if isinstance(name, str) and name in self._removed:
            return {"changed": False}
        node = self._node(request)
        if node.role is not Role.WEB or int(node.name.removeprefix("web-")) <= WEB_NODES:
            raise Refusal(
                f"{node.name} is one of the nodes that the cluster began with; only added ones can be removed"
            )
        async with node.lock:
            if self.nodes.get(node.name) is node:
                if node.attached:
                    node.attached = False
                    self._write()
                    await asyncio.sleep(_DRAIN_SECONDS)
                node.leaving = True
                self._write()
                await asyncio.sleep(_LEAVE_SECONDS)
                await self._forget(node)
                self._removed.add(node.name)
                self._write()
                self._record()
        return {"changed": True}

    async def _forget(self, node: Node) -> None:
        await node.stop()
        node.release()
        del self.nodes[node.name]
        shutil.rmtree(node.directory, ignore_errors=True)

    def _remember(self, act: str, once: str, reply: Reply) -> None:
        if once:
            self._once[f"{act} {once}"] = reply
            if len(self._once) > _REMEMBERED:
                self._once.popitem(last=False)

    def _write(self) -> None:
        files.write_servers(self.layout, list(self.nodes.values()))
        files.write_inventory(self.layout, [node for node in self.nodes.values() if not node.leaving])

    def _record(self) -> None:
        pids = [os.getpid(), *(unit.pid for unit in self.units if unit.pid is not None)]
        files.write_pids(self.layout, [known for pid in pids if (known := process.identify(pid)) is not None])


def _shown(text: object) -> str:
    return repr(text)[:60]


def _once(request: Reply) -> str:
    once = request.get("once", "")
    if not isinstance(once, str) or len(once) > _ID:
        raise Refusal(f"'once' is a string of {_ID} characters at most")
    return once
