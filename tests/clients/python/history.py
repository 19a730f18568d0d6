"""Runs demo servers (arguments: the binary, a folder) with a history store in a local folder and on a local S3, reads
the files with pyarrow and DuckDB, and compares them with the server's answers; prints the number of passed checks."""

import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.request
from datetime import datetime, timezone

import boto3
import duckdb
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet
import yaml
from moto.server import ThreadedMotoServer

from checks import check, run

program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
LIMIT = 120
QUICK = {
    "OFFSETD_LAG_SAMPLE_INTERVAL": "1s",
    "OFFSETD_HISTORY_STEP": "1s",
    "OFFSETD_HISTORY_STORE_STEP": "1s",
    "OFFSETD_HISTORY_MEMORY_FOR": "5s",
}


class Server:
    def __init__(self, name, **settings):
        self.address_file = folder / f"{name}.address"
        self.address_file.unlink(missing_ok=True)
        env = {**os.environ, **QUICK, **{f"OFFSETD_HISTORY_{key.upper()}": value for key, value in settings.items()}}
        command = [program, "demo", "--listen", "127.0.0.1:0", "--address-file", str(self.address_file)]
        log = open(folder / f"{name}.log", "wb")
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def __enter__(self):
        until("an address", self.address_file.exists)
        until("readiness", lambda: self.get("/readyz"))
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(60) == 0

    def get(self, path, body=None):
        request = urllib.request.Request(f"http://{self.address_file.read_text()}{path}", data=body)
        with urllib.request.urlopen(request) as answer:
            return answer.read().decode()

    def sql(self, statement):
        return json.loads(self.get("/v1/sql", statement.encode()))

    def metric(self, name):
        lines = (line.split(" ") for line in self.get("/metrics").splitlines())
        return next((float(line[1]) for line in lines if line[0] == name), None)


def until(what, condition):
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        try:
            if result := condition():
                return result
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"no {what} within {LIMIT} s")


def millis(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp() * 1000)


# The offsets of a group at the times for which a file has rows.
ROWS = "SELECT cluster, source, group_id, topic, partition, sampled_at, committed_offset, lag FROM history"
NAMES = ["cluster", "source", "group_id", "topic", "partition"]


@check
def any_reader_finds_in_a_folder_what_the_server_says():
    store = folder / "store"
    with Server("local", store=str(store)) as server:
        until("files", lambda: server.metric("offsetd_history_store_files_total") > 12)
        answers = server.sql(ROWS)
        known = {
            (*(row[name] for name in NAMES), millis(row["sampled_at"].rstrip("Z"))):
                (row["committed_offset"], row["lag"]) for row in answers
        }
    files = sorted(store.rglob("*.parquet"))
    assert len(files) > 12 and not [path for path in store.rglob("*") if path.is_file() and path not in files]
    table = pyarrow.dataset.dataset(store, partitioning="hive").to_table().to_pylist()
    compared = 0
    for row in table:
        assert row["cluster"] in ("demo", "demo-west") and row["date"] == row["sampled_at"].strftime("%Y-%m-%d"), row
        at = round(row["sampled_at"].timestamp() * 1000)
        if expected := known.get((*(row[name] for name in NAMES), at)):
            assert expected[0] == row["committed_offset"], (row, expected)
            compared += 1
    assert compared > 100, compared
    files = str(store / "**" / "*.parquet")
    (count, groups), = duckdb.sql(
        f"SELECT count(*), count(DISTINCT group_id) FROM read_parquet('{files}', hive_partitioning = true) "
        "WHERE cluster = 'demo' AND sampled_at > '2020-01-01'").fetchall()
    of_demo = [row["group_id"] for row in table if row["cluster"] == "demo"]
    assert count == len(of_demo) and groups == len(set(of_demo))


@check
def files_are_sorted_and_carry_what_readers_prune_by():
    path = max((folder / "store").rglob("*.parquet"), key=lambda path: path.stat().st_size)
    table = pyarrow.parquet.read_table(path)
    rows = [tuple(row[name].encode() for name in ["source", "group_id", "topic"]) for row in table.to_pylist()]
    assert rows == sorted(rows)
    column = pyarrow.parquet.ParquetFile(path).metadata.row_group(0).column(1)
    assert column.path_in_schema == "group_id" and column.compression == "ZSTD"
    assert column.has_column_index and column.has_offset_index and column.statistics.has_min_max
    blooms = duckdb.sql(f"SELECT bloom_filter_offset FROM parquet_metadata('{path}') "
                        "WHERE path_in_schema = 'group_id'").fetchall()
    assert all(offset is not None for offset, in blooms), blooms


def sampled_at(sample, at):
    """Returns a file in the server's format with the rows of a sample, but with another time."""
    column = sample.schema.get_field_index("sampled_at")
    field = sample.schema.field(column)
    moved = sample.set_column(column, field, pyarrow.array([at] * sample.num_rows, field.type))
    moved = moved.replace_schema_metadata({**moved.schema.metadata, b"offsetd.samples": str(at).encode()})
    file = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(moved, file)
    return file.getvalue().to_pybytes()


@check
def samples_are_kept_on_s3():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a",
                      aws_secret_access_key="s")
    credentials = folder / "credentials"
    credentials.write_text('access_key_id = "a"\nsecret_access_key = "s"\n')
    settings = dict(store="s3://offsets/kept/here", s3_endpoint=endpoint, s3_region="us-east-1",
                    s3_credentials=str(credentials))
    try:
        with Server("s3", **settings) as server:
            # The bucket does not exist: only history is affected.
            until("a failure", lambda: server.metric("offsetd_history_store_failures_total") > 0)
            assert server.metric("offsetd_history_store_up") == 0
            assert server.get("/readyz") and server.sql("SELECT count(*) AS n FROM lag")[0]["n"] > 0
            s3.create_bucket(Bucket="offsets")
            until("files", lambda: server.metric("offsetd_history_store_files_total") > 8)
            # Other failed operations are retried after a minute.
            until("success", lambda: server.metric("offsetd_history_store_up") == 1)
            # More samples than in memory.
            older = "SELECT count(DISTINCT sampled_at) AS n FROM history WHERE group_id = 'billing'"
            until("older samples", lambda: server.sql(older)[0]["n"] > 8)
        items = s3.list_objects_v2(Bucket="offsets")["Contents"]
        keys = [item["Key"] for item in items]
        form = re.compile(r"kept/here/cluster=demo(-west)?/date=.*\.parquet")
        assert all(form.fullmatch(key) for key in keys), keys
        # The first files may have the samples of few sources.
        largest = max((item for item in items if "/cluster=demo/" in item["Key"]), key=lambda item: item["Size"])
        body = s3.get_object(Bucket="offsets", Key=largest["Key"])["Body"].read()
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(body))
        # Sources may be sampled at different times: take the time with the most samples.
        times = table.group_by("sampled_at").aggregate([([], "count_all")]).sort_by([("count_all", "descending")])
        sample = table.filter(pyarrow.compute.equal(table["sampled_at"], times["sampled_at"][0]))
        rows = sample.num_rows
        assert rows > 10
        # Two files of yesterday: a server merges them when it starts.
        midnight = (int(time.time()) // 86400 - 1) * 86_400_000
        date = datetime.fromtimestamp(midnight / 1000, timezone.utc).date()
        yesterday = f"kept/here/cluster=demo/date={date}/"
        for at in (midnight, midnight + 60_000):
            s3.put_object(Bucket="offsets", Key=f"{yesterday}{at}-{at}.parquet", Body=sampled_at(sample, at))
        merged = f"{yesterday}{midnight}-{midnight + 60_000}.parquet"

        def keys_of_yesterday():
            return [item["Key"] for item in s3.list_objects_v2(Bucket="offsets", Prefix=yesterday)["Contents"]]

        with Server("s3-again", **settings) as server:
            until("one file of yesterday", lambda: merged in keys_of_yesterday())
            assert server.metric("offsetd_history_store_up") == 1
        body = s3.get_object(Bucket="offsets", Key=merged)["Body"].read()
        assert pyarrow.parquet.read_table(pyarrow.BufferReader(body)).num_rows == 2 * rows
    finally:
        moto.stop()


@check
def alert_rules_are_yaml_of_the_form_that_prometheus_reads():
    rules = yaml.safe_load((pathlib.Path(__file__).parents[3] / "clients" / "grafana" / "alerts.yaml").read_text())
    for group in rules["groups"]:
        assert set(group) == {"name", "rules"}
        for rule in group["rules"]:
            assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule


folder.mkdir(parents=True, exist_ok=True)
run()
