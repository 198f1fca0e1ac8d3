from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.config.errors import ConfigError, Severity
from engine.config.settings import (
    Exposition,
    Heartbeat,
    Layers,
    Notify,
    Probe,
    Server,
    find_settings,
    load_settings,
    read_settings,
    shipped,
)
from engine.model.notice import NoticeKind
from engine.model.runbook import Approval, Condition, Limits, Mode, RecordingRule, Scope

FOLDER = Path(__file__).parent / "settings"

WHOLE = """\
inventory: [hosts.yml, more]
runbooks: [runbooks, shipped/disk-full.yml]
playbooks: books
rules:
  - {record: "instance:up:sum", expr: sum by (instance) (up), labels: {team: a}}
  - recording.yml
interval: 1s
retention: 2d
samples: {max_bytes: 500MiB}
state: var
environment: demo
sources:
  host: false
  exposition:
    - {job: web, hosts: web, url: "http://{{ mendbook_address }}/metrics", timeout: 2s, interval: 5s}
  probe:
    - {job: tcp, tcp: "{{ mendbook_address }}", banner: SSH-2.0, timeout: 1s}
    - {job: http, hosts: "web:&prod", http: "{{ mendbook_http_url }}", status: [200, 204]}
limits: {storm: 3, max_concurrent: 2, max_targets: 50%, shrink: 0.3, reopen: 10m, grace: 30s, remind: 2h}
approval: {expires: 30m, all: destructive, groups: {web: never}, hosts: {db1: always}}
modes:
  node-down: auto
  disk-full: {all: approve, groups: {web: auto}, hosts: {db1: shadow}}
params:
  disk-full: {all: {short: 0.2}, groups: {web: {short: 0.3}}, hosts: {db1: {settle: 5m}}}
protected: [db1, monitor]
canaries: ["up{job='canary'} == 1"]
"""
SERVER = """\
evaluator:
  prometheus: http://me:secret@127.0.0.1:9090/prometheus
  interval: 30s
  timeout: 3s
  headers: {X-Scope-OrgID: team}
  environment_proxy: true
"""
RULES = """\
groups:
  - name: node
    rules:
      - {record: "node:cpu:rate", expr: "rate(node_cpu_seconds_total[5m])"}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("more", "runbooks", "books"):
        (tmp_path / folder).mkdir()
    (tmp_path / "hosts.yml").write_text("all: {}\n")
    (tmp_path / "recording.yml").write_text(RULES)
    (tmp_path / "mendbook.yml").write_text(WHOLE)
    return tmp_path


def test_every_key_of_the_settings_arrives(project: Path) -> None:
    settings = load_settings(project / "mendbook.yml", project)
    assert settings.root == project
    assert settings.inventory == (project / "hosts.yml", project / "more")
    assert settings.runbooks == (project / "runbooks", shipped("runbooks") / "disk-full.yml")
    assert settings.playbooks == (project / "books", shipped("playbooks"))
    assert settings.recording == (
        RecordingRule("instance:up:sum", "sum by (instance) (up)", {"team": "a"}),
        RecordingRule("node:cpu:rate", "rate(node_cpu_seconds_total[5m])"),
    )
    assert (settings.interval, settings.retention, settings.environment) == (1.0, 172_800.0, "demo")
    assert settings.samples_bytes == 500 << 20
    assert settings.record == project / "var" / "record.sqlite3"
    assert settings.host is False
    web, tcp, http = (*settings.expositions, *settings.probes)
    page = "http://{{ mendbook_address }}/metrics"
    assert web == Exposition("web", "web", page, 2.0, 5.0, ("sources", "exposition", 0))
    key = ("sources", "probe", 0)
    assert tcp == Probe("tcp", "all", "tcp", "{{ mendbook_address }}", 1.0, None, (), "SSH-2.0", key)
    assert isinstance(http, Probe)
    assert (http.kind, http.hosts, http.status) == ("http", "web:&prod", (200, 204))
    assert settings.limits == Limits(1.0, 3, 2, 0.5, 0.3, 600.0, 30.0, 1800.0, 7200.0)
    assert settings.approvals == Layers(Approval.DESTRUCTIVE, {"web": Approval.NEVER}, {"db1": Approval.ALWAYS})
    assert settings.modes == {
        "node-down": Layers(Mode.AUTO),
        "disk-full": Layers(Mode.APPROVE, {"web": Mode.AUTO}, {"db1": Mode.SHADOW}),
    }
    assert settings.params == {"disk-full": Layers({"short": 0.2}, {"web": {"short": 0.3}}, {"db1": {"settle": "5m"}})}
    assert settings.protected == {"db1", "monitor"}
    assert settings.canaries == (Condition("up{job='canary'} == 1", Scope.FLEET),)


def test_every_key_of_the_server_that_evaluates_arrives(tmp_path: Path) -> None:
    path = tmp_path / "mendbook.yml"
    path.write_text(SERVER)
    address = "http://me:secret@127.0.0.1:9090/prometheus"
    server = Server(address, 30.0, 3.0, None, {"X-Scope-OrgID": "team"}, environment_proxy=True)
    assert load_settings(path, tmp_path).evaluator == server
    path.write_text("evaluator: {prometheus: https://x, token_file: secrets/token}")
    assert load_settings(path, tmp_path).evaluator == Server("https://x", token_file=tmp_path / "secrets" / "token")


def test_without_a_file_there_is_a_default_for_everything(tmp_path: Path) -> None:
    settings = load_settings(find_settings(tmp_path), tmp_path)
    assert settings.host
    assert settings.limits == Limits()
    assert settings.runbooks == (shipped("runbooks"),)
    assert settings.playbooks == (shipped("playbooks"),)
    assert settings.state == tmp_path / ".mendbook"
    assert [path.name for path in settings.inventory] == ["localhost.yml"]
    assert all(path.exists() for path in (*settings.inventory, *settings.runbooks, *settings.playbooks))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://x", "begins with http:// or https://"),
        ("x:9090", "did you mean 'http://x:9090'"),
        ("me:secret@x:9090", "begins with http:// or https://"),
        ("http://", "begins with http:// or https://"),
        ("http://me:secret@x:port", "'http://x:port' is no address"),
        ("http://[x", "is no address"),
        ("http://x/graph?g0.expr=up", "neither '?' nor '#'"),
    ],
)
def test_a_server_has_an_address_of_the_web(tmp_path: Path, address: str, words: str) -> None:
    (tmp_path / "mendbook.yml").write_text(f"evaluator: {{prometheus: '{address}'}}\n")
    _, (problem,) = read_settings(tmp_path / "mendbook.yml", tmp_path)
    sentence = f"{problem.message}; {problem.fix}"
    assert words in sentence
    assert "secret" not in sentence


def test_a_server_is_named_with_one_identity(tmp_path: Path) -> None:
    (tmp_path / "mendbook.yml").write_text("evaluator: {prometheus: 'http://me:secret@x', token_file: token}\n")
    _, (problem,) = read_settings(tmp_path / "mendbook.yml", tmp_path)
    assert "two identities" in problem.message


def test_rules_of_ours_that_a_server_does_not_see_are_remarked_upon(tmp_path: Path) -> None:
    rules = "rules: [{record: 'a:b', expr: up}]"
    (tmp_path / "mendbook.yml").write_text(f"evaluator: {{prometheus: 'http://x'}}\n{rules}\n")
    settings, (problem,) = read_settings(tmp_path / "mendbook.yml", tmp_path)
    assert (problem.code, problem.severity) == ("unseen-rules", Severity.WARNING)
    assert settings.evaluator == Server("http://x")


def test_a_password_is_not_shown_with_the_settings() -> None:
    assert "secret" not in repr(Server("http://me:secret@x", headers={"X-Key": "secret"}))


def test_an_empty_file_says_nothing_which_is_no_mistake(tmp_path: Path) -> None:
    for text in ("", "# later\n"):
        (tmp_path / "mendbook.yml").write_text(text)
        settings = load_settings(tmp_path / "mendbook.yml", tmp_path)
        assert settings.limits == Limits()


def test_a_projects_own_folders_come_before_what_is_shipped(tmp_path: Path) -> None:
    for kind in ("inventory", "runbooks", "playbooks", "rules"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "one.yml").write_text(RULES)
    settings = load_settings(None, tmp_path)
    assert settings.inventory == (tmp_path / "inventory",)
    assert settings.runbooks == (tmp_path / "runbooks",)
    assert settings.playbooks == (tmp_path / "playbooks", shipped("playbooks"))
    assert [rule.record for rule in settings.recording] == ["node:cpu:rate"]


def test_the_settings_of_a_project_are_found_from_below(project: Path) -> None:
    below = project / "runbooks" / "deep"
    below.mkdir()
    assert find_settings(below) == project / "mendbook.yml"
    assert find_settings(project) == project / "mendbook.yml"
    assert find_settings(Path("/")) is None


def test_paths_are_told_from_the_file_and_not_from_where_one_stands(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "more")
    assert load_settings(Path("../mendbook.yml"), Path()).state.resolve() == (project / "var").resolve()


def test_every_mistake_in_the_settings_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    _, problems = read_settings(Path("bad.yml"), FOLDER)
    text = "\n\n".join(map(str, problems)) + "\n"
    golden = FOLDER / "bad.txt"
    if os.environ.get("MENDBOOK_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()
    with pytest.raises(ConfigError, match="did you mean 'inventory'"):
        load_settings(Path("bad.yml"), FOLDER)


def test_a_mistake_in_a_file_of_rules_is_told_there(project: Path) -> None:
    broken = RULES.replace("rate(", "rte(").replace("name: node", "name: node\n    interval: 1m")
    (project / "recording.yml").write_text(broken)
    _, problems = read_settings(project / "mendbook.yml", project)
    told = [(problem.code, problem.place.line) for problem in problems if problem.place]
    assert told == [("not-yet", 3), ("bad-promql", 5)]


def test_whom_to_tell_and_where_to_beat_arrive_and_no_text_of_them_shows_an_address(tmp_path: Path) -> None:
    path = tmp_path / "mendbook.yml"
    (tmp_path / "told").write_text("json://127.0.0.1:1/hush\n")
    path.write_text(
        "heartbeat: {url: http://127.0.0.1:1/hush, every: 2m, timeout: 3s, post: true}\n"
        "notify: {urls: 'json://u:hush@127.0.0.1:1', urls_file: told, of: [escalated, approval]}\n"
        "listen: '127.0.0.1:9464'\n"
    )
    settings = load_settings(path, tmp_path)
    assert settings.heartbeat == Heartbeat("http://127.0.0.1:1/hush", 120.0, 3.0, post=True)
    kinds = frozenset({NoticeKind.ESCALATED, NoticeKind.APPROVAL})
    assert settings.notify == Notify(("json://u:hush@127.0.0.1:1",), tmp_path / "told", kinds)
    assert settings.listen == "127.0.0.1:9464"
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("heartbeat: ftp://x/hush", "begins with http:// or https://"),
        ("heartbeat: 'http://x:port/hush'", "no address of the web"),
        ("notify: {of: [escalated]}", "needs 'urls' or 'urls_file'"),
        ("notify: {urls_file: gone}", "no such file"),
        ("notify: {urls: 'json://x', of: [all]}", "expected one of escalated, approval, resolved, reminder, paused"),
        ("listen: ':9464'", "is not host:port"),
        ("listen: 'localhost:99999'", "did you mean '127.0.0.1:9464'"),
    ],
)
def test_what_cannot_be_told_to_anybody_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mendbook.yml").write_text(f"{text}\n")
    with pytest.raises(ConfigError, match=words) as caught:
        load_settings(tmp_path / "mendbook.yml", tmp_path)
    assert all("hush" not in problem.message for problem in caught.value.problems)


def test_the_record_is_a_file_unless_the_settings_or_the_environment_name_a_database(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MENDBOOK_DATABASE_URL", raising=False)
    file = project / "mendbook.yml"
    file.write_text("record: {keep_events: 2d}\n")
    settings = load_settings(file, project)
    assert (settings.database, settings.keep_events, settings.keep_alerts) == (None, 2 * 86_400.0, 180 * 86_400.0)
    assert settings.record_place == str(settings.record)
    file.write_text("record: {url: 'postgresql://ann:secret@db/mendbook'}\n")
    settings = load_settings(file, project)
    assert settings.database == "postgresql://ann:secret@db/mendbook"
    assert settings.record_place == "postgresql://db/mendbook"
    assert "secret" not in repr(settings)
    monkeypatch.setenv("MENDBOOK_DATABASE_URL", "postgresql://other/mendbook")
    assert load_settings(file, project).database == "postgresql://other/mendbook"


@pytest.mark.parametrize("url", ["mysql://db/mendbook", "db.sqlite3", "postgresql://db:port/x"])
def test_a_database_that_the_record_cannot_be_in_is_refused(project: Path, url: str) -> None:
    (project / "mendbook.yml").write_text(f"record: {{url: '{url}'}}\n")
    with pytest.raises(ConfigError, match="address"):
        load_settings(project / "mendbook.yml", project)
