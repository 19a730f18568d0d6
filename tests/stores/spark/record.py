"""Runs streaming queries of Spark on a Kafka (arguments: its address, Spark's version, the folder of the connector's jars,
the target folder). Each query leaves its checkpoint in the target folder; the offsets that Spark reports for them are
written to TARGET.json."""

import json
import pathlib
import shutil
import sys
import time

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

kafka, version, jars, target = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
LIMIT = 120
# The version is part of the names, so that each version has its own topics on the same broker.
ORDERS, PAYMENTS = f"orders-{version}", f"payments-{version}"

spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.jars", ",".join(str(jar) for jar in sorted(jars.glob("*.jar"))))
    .config("spark.sql.shuffle.partitions", "1")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.sql.streaming.forceDeleteTempCheckpointLocation", "true")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
expected = []


def produce(topic, partition, count):
    """Appends records to a partition."""
    rows = spark.range(count).select(
        f.lit(topic).alias("topic"), f.lit(partition).alias("partition"), f.col("id").cast("string").alias("value")
    )
    rows.write.format("kafka").option("kafka.bootstrap.servers", kafka).save()


def read(topics, name=None, **options):
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", kafka)
    reader = reader.name(name) if name else reader
    return reader.option("subscribe", topics).option("startingOffsets", "earliest").options(**options).load()


def start(name, rows, write=lambda writer: writer.format("noop"), **options):
    writer = write(rows.writeStream).option("checkpointLocation", str(target / name)).options(**options)
    return writer.queryName(name)


def wait(what, condition):
    until = time.time() + LIMIT
    while not condition():
        assert time.time() < until, f"waited for {what}"
        time.sleep(0.1)


def offsets(progress):
    """Returns the end offsets of a batch by topic and partition, as Spark reports them; of two sources, the lower."""
    ends = {}
    for source in progress["sources"]:
        end = source["endOffset"]
        end = json.loads(end) if isinstance(end, str) else end
        if source["description"].startswith("Kafka"):
            for topic, partitions in end.items():
                for partition, offset in partitions.items():
                    key = (topic, int(partition))
                    ends[key] = min(ends.get(key, offset), offset)
    return ends


def expect(name, committed, batch, planned=None, planned_batch=None):
    """Records what a reader of the checkpoint must find."""
    for (topic, partition), offset in sorted(committed.items()):
        expected.append(
            {
                "query": name,
                "topic": topic,
                "partition": partition,
                "committed_offset": offset,
                "batch": batch,
                "planned_batch": batch if planned_batch is None else planned_batch,
                "planned_offset": (planned or committed)[topic, partition],
            }
        )


def last(query):
    """Returns the progress of the last batch that was completed."""
    progress = query.recentProgress[-1]
    return progress if isinstance(progress, dict) else json.loads(progress.json)


def batch(query, number):
    """Returns the progress of a batch."""
    progress = [one if isinstance(one, dict) else json.loads(one.json) for one in query.recentProgress]
    return next(one for one in progress if one["batchId"] == number)


def numbers(name, log):
    """Returns the batch numbers in one of the logs of a checkpoint."""
    return sorted(int(file.name) for file in (target / name / log).glob("*") if file.name.isdigit())


def newest(name, log):
    return numbers(name, log)[-1]


def drain(name, rows, mode="append"):
    """Processes everything that there is, then stops."""
    query = start(name, rows).outputMode(mode).trigger(availableNow=True).start()
    assert query.awaitTermination(LIMIT)
    return last(query)


def fail_from(batch):
    """Returns a sink that fails from a batch on, so that the batch stays planned."""

    def process(rows, number):
        if number >= batch:
            raise RuntimeError("stopped on purpose")
        rows.count()

    return lambda writer: writer.foreachBatch(process)


def fail(name, rows, batch):
    """Runs a query that fails in a batch."""
    query = start(name, rows, fail_from(batch)).start()
    wait(f"{name} to fail", lambda: not query.isActive)
    return query


# Two topics with two partitions each.
for partition, count in [(0, 5), (1, 3)]:
    produce(ORDERS, partition, count)
    produce(PAYMENTS, partition, 2 * count)

# Two batches of one topic.
drain("orders", read(ORDERS))
produce(ORDERS, 0, 4)
progress = drain("orders", read(ORDERS))
expect("orders", offsets(progress), progress["batchId"])

# Two topics, in as many batches as the limit needs; all but the last two are deleted.
spark.conf.set("spark.sql.streaming.minBatchesToRetain", "2")
progress = drain("two-topics", read(f"{ORDERS},{PAYMENTS}", maxOffsetsPerTrigger=4))
assert progress["batchId"] > 4, progress
expect("two-topics", offsets(progress), progress["batchId"])
assert not (target / "two-topics/offsets/0").exists()
spark.conf.unset("spark.sql.streaming.minBatchesToRetain")

# A join with a source that is not Kafka.
ticks = spark.readStream.format("rate").option("rowsPerSecond", 1).load()
ticks = ticks.withWatermark("timestamp", "1 minute").withColumnRenamed("value", "tick")
orders = read(ORDERS).withWatermark("timestamp", "1 minute").withColumnRenamed("timestamp", "ordered")
number = "cast(cast(value as string) as bigint)"
within = "ordered >= timestamp and ordered <= timestamp + interval 1 minute"
joined = orders.join(ticks, f.expr(f"{number} = tick and {within}"))
query = start("join-rate", joined).start()
wait("two batches", lambda: len(query.recentProgress) > 1)
query.stop()
number, plan = newest("join-rate", "commits"), newest("join-rate", "offsets")
expect("join-rate", offsets(batch(query, number)), number, planned_batch=plan)
shutil.rmtree(target / "join-rate/state")

# The same topic in two sources of one query, one of which is behind.
behind = read(ORDERS, maxOffsetsPerTrigger=2)
query = start("self-union", read(ORDERS).union(behind), fail_from(2)).start()
wait("self-union to fail", lambda: not query.isActive)
expect("self-union", offsets(batch(query, 1)), 1, {(ORDERS, 0): 3, (ORDERS, 1): 3}, 2)

# A query that fails in its first batch, and one that fails in its second.
fail("never-committed", read(ORDERS), 0)
expect("never-committed", {(ORDERS, 0): 0, (ORDERS, 1): 0}, None, {(ORDERS, 0): 9, (ORDERS, 1): 3}, 0)
query = fail("planned", read(PAYMENTS, maxOffsetsPerTrigger=8), 1)
expect("planned", offsets(batch(query, 0)), 0, {(PAYMENTS, 0): 10, (PAYMENTS, 1): 6}, 1)

# Only some batches are written, once per checkpoint interval.
trailing = {"asyncProgressTrackingEnabled": "true", "asyncProgressTrackingCheckpointIntervalMs": "3000"}
query = start("async-progress", read(PAYMENTS), **trailing).trigger(processingTime="200 milliseconds").start()
until = time.time() + LIMIT
commits = []
while len(commits) < 3 or commits == list(range(commits[0], commits[-1] + 1)):
    assert time.time() < until, "waited for commits with a gap"
    produce(PAYMENTS, 0, 1)
    commits = numbers("async-progress", "commits")
query.stop()
commits = numbers("async-progress", "commits")
plan = newest("async-progress", "offsets")
expect("async-progress", offsets(batch(query, commits[-1])), commits[-1], offsets(batch(query, plan)), plan)

# The second version of the offset log, which names the sources, and that of the commit log, with a state.
if version.startswith("4."):
    spark.conf.set("spark.sql.streaming.queryEvolution.enableSourceEvolution", "true")
    spark.conf.set("spark.sql.streaming.offsetLog.formatVersion", "2")
    spark.conf.set("spark.sql.streaming.stateStore.checkpointFormatVersion", "2")
    provider = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    spark.conf.set("spark.sql.streaming.stateStore.providerClass", provider)
    orders, payments = read(ORDERS, name="ordered"), read(PAYMENTS, name="paid")
    progress = drain("named-sources", orders.union(payments).groupBy("topic").count(), mode="complete")
    expect("named-sources", offsets(progress), progress["batchId"])
    shutil.rmtree(target / "named-sources/state")

expected_file = target.parent / f"{target.name}.json"
expected_file.write_text(json.dumps(expected, indent=1) + "\n")
spark.stop()
