"""What names say: units, which way is worse, what is not watched."""

from __future__ import annotations

import pytest

from engine.core.watching.nature import Worse, counted_by_kernel, nature_of


@pytest.mark.parametrize(
    "name",
    [
        "node_boot_time_seconds",
        "mendbook_anomaly",
        "node_uname_info",
        "http_request_duration_seconds_bucket",
        "process_start_time_seconds",
        "probe_ssl_earliest_cert_expiry",
        "mendbook_backup_verified_timestamp_seconds",
        "go_memstats_last_gc_time_seconds",
        "requests_created",
    ],
)
def test_moments_constants_buckets_and_own_series_are_not_watched(name: str) -> None:
    assert nature_of(name) is None


@pytest.mark.parametrize(
    ("name", "worse"),
    [
        ("node_memory_MemAvailable_bytes", Worse.DOWN),
        ("node_filesystem_avail_bytes", Worse.DOWN),
        ("node_load1", Worse.UP),
        ("http_request_duration_seconds", Worse.UP),
        ("haproxy_server_up", Worse.DOWN),
        ("http_requests_total", Worse.BOTH),
        ("process_resident_memory_bytes", Worse.UP),
        ("node_network_receive_errs_total", Worse.BOTH),
        ("http_errors_total", Worse.UP),
    ],
)
def test_the_name_says_which_way_is_worse(name: str, worse: Worse) -> None:
    nature = nature_of(name)
    assert nature is not None
    assert nature.worse is worse


@pytest.mark.parametrize(
    ("name", "floor"),
    [
        ("http_request_duration_seconds", 0.01),
        ("probe_success_ratio", 0.005),
        ("cpu_usage_percent", 1.0),
        ("process_resident_memory_bytes", 1 << 20),
        ("node_cpu_seconds_total", 0.01),
        ("http_requests_total", 0.2),
        ("queue_items", 0.0),
    ],
)
def test_the_unit_brings_the_floor(name: str, floor: float) -> None:
    nature = nature_of(name)
    assert nature is not None
    assert nature.floor == pytest.approx(floor)


@pytest.mark.parametrize(
    ("name", "limit"), [("cpu_usage_ratio", 1.0), ("memory_used_percent", 100.0), ("queue_items", None)]
)
def test_shares_have_a_limit(name: str, limit: float | None) -> None:
    nature = nature_of(name)
    assert nature is not None
    assert nature.limit == limit


def test_shares_of_success_have_no_limit_to_run_into_and_no_relative_floor() -> None:
    nature = nature_of("http_success_ratio")
    assert nature is not None
    assert nature.limit is None
    assert not nature.relative


def test_counters_are_known_by_their_end() -> None:
    assert [bool(nature and nature.counter) for nature in map(nature_of, ("a_total", "a_seconds_sum", "a_bytes"))] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("name", "part", "worse"),
    [
        ("node_cpu_seconds_total", "idle", Worse.DOWN),
        ("node_cpu_seconds_total", "iowait", Worse.UP),
        ("node_cpu_seconds_total", "", Worse.UP),
        ("haproxy_server_status", "UP", Worse.DOWN),
        ("haproxy_server_status", "DOWN", Worse.BOTH),
    ],
)
def test_which_part_of_a_metric_a_series_is_about_says_which_way_is_worse(name: str, part: str, worse: Worse) -> None:
    nature = nature_of(name, part)
    assert nature is not None
    assert nature.worse is worse


@pytest.mark.parametrize(
    ("name", "counter"),
    [
        ("node_netstat_Icmp_InErrors", True),
        ("node_netstat_TcpExt_ListenDrops", True),
        ("node_netstat_Udp6_RcvbufErrors", True),
        ("node_netstat_Tcp_CurrEstab", False),
        ("node_netstat_Ip_Forwarding", False),
        ("node_vmstat_pgmajfault", True),
        ("node_vmstat_pswpin", True),
        ("node_vmstat_nr_free_pages", False),
        ("node_vmstat_oom_kill", False),
        ("node_sockstat_TCP_alloc", False),
        ("node_nf_conntrack_stat_drop", True),
        ("node_nf_conntrack_entries", False),
    ],
)
def test_the_kernels_counters_are_known_without_an_end_that_says_so(name: str, counter: bool) -> None:
    nature = nature_of(name)
    assert nature is not None
    assert (nature.counter, counted_by_kernel(name)) == (counter, counter)
