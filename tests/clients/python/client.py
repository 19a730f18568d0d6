"""Queries a demo server (argument: host:port) with ADBC and with plain pyarrow.flight; prints the number of passed
checks."""

import sys

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as dbapi
import adbc_driver_manager
import pyarrow as pa
import pyarrow.flight as flight

from checks import check, run

address = sys.argv[1]
NANOS = pa.timestamp("ns")


def connect(**options):
    return dbapi.connect(f"grpc://{address}", autocommit=True, **options)


def fetch(statement, parameters=None):
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetch_arrow_table()


def fails(statement, *words):
    try:
        fetch(statement)
    except adbc_driver_manager.Error as error:
        text = str(error)
        assert all(word in text for word in words), text
        return error
    raise AssertionError(f"no error: {statement}")


@check
def adbc_executes():
    table = fetch("SELECT group_id, partition, committed_offset, committed_at FROM offsets ORDER BY 1, 2")
    assert table.num_rows > 10, table.num_rows
    assert table.schema.types == [pa.string(), pa.int32(), pa.int64(), NANOS], table.schema
    assert [field.nullable for field in table.schema][:3] == [False] * 3
    assert table.schema.field("committed_offset").metadata[b"comment"]


@check
def adbc_sends_plain_types_whatever_the_engine_computes():
    table = fetch("SELECT CAST(1 AS VARCHAR) a, string_agg(group_id, ',') b, upper('x') c, "
                  "CAST('x' AS VARCHAR) d, '2026-01-02'::timestamp e FROM groups")
    assert table.schema.types == [pa.string()] * 4 + [NANOS], table.schema


@check
def adbc_binds_dollar_parameters():
    table = fetch("SELECT count(*) n FROM groups WHERE group_id = $1 AND topics >= $2", ("billing", 0))
    assert table.num_rows == 1
    table = fetch("SELECT $1 AS a, $2 AS b, $1 AS c", (7, "x"))
    assert table.to_pylist() == [{"a": 7, "b": "x", "c": 7}], table.to_pylist()


@check
def adbc_binds_question_marks_from_left_to_right():
    table = fetch("SELECT '?' AS q, ? AS a, ? AS b -- ?", ("left", "right"))
    assert table.to_pylist() == [{"q": "?", "a": "left", "b": "right"}], table.to_pylist()
    some = fetch("SELECT group_id, partition FROM offsets ORDER BY 1, 2 LIMIT 1").to_pylist()[0]
    table = fetch("SELECT group_id g, partition p FROM offsets WHERE partition = ? AND group_id = ?",
                  (some["partition"], some["group_id"]))
    assert table.num_rows >= 1 and set(table["g"].to_pylist()) == {some["group_id"]}


@check
def adbc_executes_a_prepared_statement_again():
    with connect() as connection, connection.cursor() as cursor:
        for value in (1, 2, 3):
            cursor.execute("SELECT ? + 1 AS n", (value,))
            assert cursor.fetchall() == [(value + 1,)]


@check
def adbc_lists_objects_at_every_depth():
    with connect() as connection:
        catalogs = connection.adbc_get_objects(depth="catalogs").read_all().to_pylist()
        assert [catalog["catalog_name"] for catalog in catalogs] == ["offsetd"]
        schemas = connection.adbc_get_objects(depth="db_schemas").read_all().to_pylist()
        assert [schema["db_schema_name"] for schema in schemas[0]["catalog_db_schemas"]] == ["public"]
        tables = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
        names = [table["table_name"] for table in tables[0]["catalog_db_schemas"][0]["db_schema_tables"]]
        assert {"offsets", "lag", "groups", "columns"} <= set(names), names
        objects = connection.adbc_get_objects(depth="all", table_name_filter="offset_").read_all().to_pylist()
        tables = objects[0]["catalog_db_schemas"][0]["db_schema_tables"]
        assert [table["table_name"] for table in tables] == ["offsets"]
        columns = {column["column_name"]: column for column in tables[0]["table_columns"]}
        assert columns["committed_offset"]["ordinal_position"] and "group_id" in columns
        other = connection.adbc_get_objects(depth="tables", catalog_filter="other").read_all().to_pylist()
        assert other == [], other


@check
def adbc_shows_comments():
    with connect() as connection:
        schema = connection.adbc_get_table_schema("offsets")
        assert schema.metadata[b"comment"]
        comment = schema.field("committed_offset").metadata[b"ARROW:FLIGHT:SQL:REMARKS"]
        assert comment == b"Offset of the next record that the group reads", comment


@check
def adbc_gets_the_schema_of_a_table():
    with connect() as connection:
        for arguments in ({}, {"catalog_filter": "offsetd", "db_schema_filter": "public"}):
            schema = connection.adbc_get_table_schema("offsets", **arguments)
            assert schema.field("committed_at").type == NANOS
            assert schema.field("group_id").type == pa.string()
        declared = fetch("SELECT * FROM offsets").schema
        assert schema.remove_metadata().equals(declared.remove_metadata())


@check
def adbc_lists_table_types():
    with connect() as connection:
        assert connection.adbc_get_table_types() == ["TABLE", "VIEW"]


@check
def adbc_gets_info():
    with connect() as connection:
        info = connection.adbc_get_info()
        assert info["vendor_name"] == "offsetd" and info["vendor_version"], info


@check
def adbc_executes_the_schema_only():
    with connect() as connection, connection.cursor() as cursor:
        schema = cursor.adbc_execute_schema("SELECT group_id, lag FROM lag")
        assert schema.names == ["group_id", "lag"] and schema.types == [pa.string(), pa.int64()]


@check
def adbc_reports_errors_with_their_kind():
    assert isinstance(fails("SELECT nothing FROM lag", "nothing"), adbc_driver_manager.ProgrammingError)
    fails("SELEC 1", "syntax error")
    for statement in ("INSERT INTO offsets VALUES (1)", "DROP TABLE offsets", "CREATE TABLE x (a INT)", "BEGIN"):
        fails(statement, "read-only")


@check
def adbc_refuses_ingest():
    with connect() as connection, connection.cursor() as cursor:
        try:
            cursor.adbc_ingest("x", pa.table({"a": [1]}), mode="create")
        except adbc_driver_manager.Error as error:
            assert "read-only" in str(error), error
            return
    raise AssertionError("ingested")


@check
def adbc_accepts_credentials():
    keys = adbc_driver_flightsql.DatabaseOptions
    for options in ({"username": "u", "password": "p"}, {keys.AUTHORIZATION_HEADER.value: "Bearer t"}):
        with connect(db_kwargs=options) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)


@check
def adbc_cancels():
    endless = ("SELECT count(*) FROM columns a, columns b, columns c, (SELECT * FROM columns LIMIT 20) d "
               "WHERE a.position + b.position + c.position + d.position < 0")
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(endless)
        cursor.adbc_cancel()
        try:
            cursor.fetchall()
        except adbc_driver_manager.Error as error:
            assert "ancel" in str(error), error
        else:
            raise AssertionError("not cancelled")
    assert fetch("SELECT 1").num_rows == 1


@check
def adbc_ends_with_its_deadline():
    keys = adbc_driver_flightsql.ConnectionOptions
    options = {keys.TIMEOUT_FETCH.value: "0.5"}
    with connect(conn_kwargs=options) as connection, connection.cursor() as cursor:
        try:
            cursor.execute("SELECT sum(a.position * b.position * c.position * d.position) "
                           "FROM columns a, columns b, columns c, (SELECT * FROM columns LIMIT 20) d")
            cursor.fetchall()
        except adbc_driver_manager.Error as error:
            assert "eadline" in str(error) or "timeout" in str(error).lower(), error
        else:
            raise AssertionError("no deadline")


def varint(number):
    out = b""
    while number >= 0x80:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def command(name, query):
    """Returns a google.protobuf.Any with a command that has the query as its first field."""
    field = lambda number, value: bytes([number << 3 | 2]) + varint(len(value)) + value
    url = f"type.googleapis.com/arrow.flight.protocol.sql.{name}".encode()
    return field(1, url) + field(2, field(1, query.encode()))


@check
def flight_executes_without_any_driver():
    client = flight.connect(f"grpc://{address}")
    descriptor = flight.FlightDescriptor.for_command(command("CommandStatementQuery", "SELECT * FROM groups"))
    info = client.get_flight_info(descriptor)
    assert len(info.endpoints) == 1 and info.endpoints[0].locations == []
    reader = client.do_get(info.endpoints[0].ticket)
    assert reader.schema.equals(info.schema, check_metadata=True)
    assert client.get_schema(descriptor).schema.equals(info.schema, check_metadata=True)
    table = reader.read_all()
    assert table.num_rows > 5 and table.schema.field("last_committed_at").type == NANOS
    assert client.do_get(info.endpoints[0].ticket).read_all().num_rows > 5, "a ticket can be redeemed again"


@check
def flight_gives_its_errors_their_codes():
    client = flight.connect(f"grpc://{address}")
    for bad in (b"", b"SELECT 1", command("CommandStatementQuery", "SELEC"), command("Nothing", "x")):
        try:
            client.get_flight_info(flight.FlightDescriptor.for_command(bad))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        raise AssertionError(bad)
    try:
        client.do_get(flight.Ticket(b"\xff\xff")).read_all()
    except pa.ArrowInvalid:
        return
    raise AssertionError("an invalid ticket was accepted")


run()
